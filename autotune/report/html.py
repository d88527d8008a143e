"""The report of a study: one HTML file with everything inside, which loads nothing from anywhere.

Whatever a study says may come from strangers: names, messages, logs. Text is escaped by the template, data of
figures is JSON in which no ``<`` stands as itself, and the policy of the page runs no script but the two that
are in it, by their digests.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from autotune.analysis.study_view import StudyView
from autotune.core.output_file import write_whole
from autotune.core.redact import visible
from autotune.core.version import VERSION
from autotune.report import document
from autotune.report.mask import masked
from autotune.report.sections import sections


def write_report(view: StudyView, path: Path | str, *, seconds: float | None = None) -> Path:
    """Write the report of a study as one HTML file, whole or not at all.

    Args:
        view: The study.
        path: Path of the file; its folder is made.
        seconds: Time after which no further figure is begun; ``None`` for no bound.

    Returns:
        The path.

    Raises:
        OSError: The file cannot be written.
    """
    target = Path(path)
    text = render_report(view, seconds=seconds)
    write_whole(target, text.encode("utf-8", "backslashreplace"))
    return target


def render_report(view: StudyView, *, seconds: float | None = None) -> str:
    """Return the report of a study as the text of an HTML file.

    Args:
        view: The study.
        seconds: Time after which no further figure is begun; ``None`` for no bound.
    """
    from jinja2 import Environment

    deadline = float("inf") if seconds is None else time.monotonic() + seconds
    made = sections(view, deadline)
    rows = document.trial_rows(view)
    content = masked(
        {
            "name": view.name,
            "heading": document.heading_of(view),
            "objective": str(view.stated),
            "verdict": document.verdict_sentences(view),
            "sections": [_plain(section) for section in made],
            "trials": {
                "columns": [_plain(column) for column in document.trial_columns(view)],
                "rows": [_plain(row) for row in rows],
                "states": list(dict.fromkeys(row.state for row in rows)),
            },
        }
    )
    figures = {f.id: f.json for section in made for f in section.figures}
    for section in content["sections"]:
        for shown in section["figures"]:
            shown["json"] = figures[shown["id"]]
    scripts = {"plotly": _plotly(), "script": _page("report.js")}
    hashes = " ".join(f"'sha256-{_digest(text)}'" for text in scripts.values())
    environment = Environment(autoescape=True, trim_blocks=True, finalize=_finalized)
    environment.filters["joints"] = _joints
    return environment.from_string(_page("report.html.j2")).render(
        **content,
        **scripts,
        css=_page("report.css"),
        script_hashes=hashes,
        version=VERSION,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _finalized(value: Any) -> Any:
    """Return a value of the template without characters that nobody sees."""
    return visible(value) if type(value) is str else value


def _joints(name: str) -> list[str]:
    """Return the parts of a name between which a line may be broken."""
    return re.findall(r"[^_.]*[_.]+|[^_.]+", name)


def _plain(part: Any) -> dict[str, Any]:
    """Return a part of the report as plain data; of figures without their own, which are escaped already."""
    result = {}
    for name in part.__dataclass_fields__:
        value = getattr(part, name)
        if name == "json":
            continue
        if isinstance(value, list | tuple) and value and hasattr(value[0], "__dataclass_fields__"):
            value = [_plain(one) for one in value]
        result[name] = value
    return result


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs()).replace("</script", "<\\/script")


@cache
def _page(name: str) -> str:
    return resources.files("autotune.report").joinpath("page", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
