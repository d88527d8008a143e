"""The report of a study as Markdown: verdict, winner against default, limits, trials."""

from __future__ import annotations

import re
from collections.abc import Sequence

from autotune.analysis.comparison import comparison
from autotune.analysis.study_view import StudyView
from autotune.core.estimate_text import INTERVAL
from autotune.core.redact import redact, visible
from autotune.core.version import VERSION
from autotune.report import document
from autotune.report.document import Table

_MARKUP = re.compile(r"([\\`*\[\]<>|])")


def markdown_report(view: StudyView) -> str:
    """Return the report of a study as Markdown; text of others is shown as it is and becomes no markup."""
    lines = [f"# {_text(view.name)}", "", _text(f"{document.heading_of(view)}. {view.stated}."), ""]
    said = [f"> {_text(sentence)}" for sentence in document.verdict_sentences(view) if sentence]
    lines += ["\n>\n".join(said), ""]
    found, unjudged = comparison(view), document.unjudged_limits(view)
    if found is not None:
        lines += [f"## {document.comparison_title(view)}", ""]
        for table in document.comparison_tables(found):
            if not table.folded:
                lines += _table(table)
        lines += [f"{INTERVAL}.", ""]
        limits = document.limit_table(found)
        lines += ["## Limits", "", *_table(limits)] if limits and not unjudged else []
    if unjudged:
        lines += ["## Limits", "", *map(_text, unjudged), ""]
    failures = document.failure_table(view)
    lines += ["## Failures", "", *_table(failures)] if failures else []
    rows = document.trial_rows(view)
    if rows:
        head = tuple(column.name for column in document.trial_columns(view))
        cells = tuple(tuple(cell[0] for cell in row.cells) for row in rows)
        lines += ["## Trials", "", *_table(Table("Trials", head, cells))]
    pairs = document.conditions(view)
    lines += ["## Versions and hardware", "", *(f"- {_text(key)}: {_text(text)}" for key, text in pairs), ""]
    if view.deploy:
        fence = "~~~~~~~~~~"  # no line of a command begins with it
        lines += ["## Deploy", "", fence, *(visible(redact(line)) for line in view.deploy), fence, ""]
    return "\n".join([*lines, f"Made by autotune {VERSION}.", ""])


def _table(table: Table) -> list[str]:
    lines = [_row(table.head), _row(["---"] * len(table.head))]
    return [*lines, *(_row([_text(cell) for cell in row]) for row in table.rows), ""]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(text: str) -> str:
    return _MARKUP.sub(r"\\\1", " ".join(visible(redact(text)).split()))
