"""The command that writes what a study found as a file to show or to go on with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from autotune.cli.options import json_option, ledger_option
from autotune.cli.output import echo, echo_json
from autotune.cli.reading import open_ledger
from autotune.cli.remote import reachable
from autotune.cli.written import check_output
from autotune.core.output_file import output_file
from autotune.errors import EnvironmentProblem, SpecError, did_you_mean

if TYPE_CHECKING:
    from autotune.analysis.study_view import StudyView

FORMATS = ("html", "md", "json", "csv", "parquet")
_SUFFIXES = {".html": "html", ".htm": "html", ".md": "md", ".markdown": "md"} | {
    f".{name}": name for name in ("json", "csv", "parquet")
}


@click.command()
@click.argument("study", required=False)
@click.option(
    "-o", "--output", metavar="FILE", help="File to write, or - for standard output; beside the ledger."
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMATS),
    help="By the ending of the file, or html. csv and parquet have one row per trial.",
)
@ledger_option
@json_option
@reachable
def report(
    study: str | None, output: str | None, format_name: str | None, store: Path, as_json: bool
) -> None:
    """Write the report of STUDY.

    The HTML file has everything inside and needs no network. In CSV, a text that a spreadsheet would take
    for a formula has an apostrophe before it.
    """
    from autotune.study.report import report_path, report_view
    from autotune.study.study import find_study

    kind = format_name or _by_ending(output)
    if output == "-" and as_json:
        raise SpecError("--json and -o - would both write to standard output", hint="leave one of them out")
    if output == "-" and kind == "parquet":
        raise SpecError("parquet is no text: -o names a file for it")
    if output not in (None, "-"):
        check_output(Path(output))
    with open_ledger(store) as ledger:
        row = find_study(ledger, study)
        view = report_view(ledger, row)
        beside = report_path(Path(ledger.path or store), row.name, kind)
    if output == "-":
        echo(_text(view, kind).rstrip("\n"))
        return
    target = beside if output is None else Path(output)
    _write(view, kind, target if output is None else output_file(target))
    size = target.stat().st_size
    if as_json:
        echo_json({"study": row.name, "format": kind, "report": str(target), "bytes": size})
    else:
        echo(f"{target}")


def _by_ending(output: str | None) -> str:
    """Return the format that the name of a file means; HTML without one.

    Raises:
        SpecError: It has another ending.
    """
    if output is None or output == "-":
        return "html"
    ending = Path(output).suffix.lower()
    if ending in _SUFFIXES:
        return _SUFFIXES[ending]
    raise SpecError(
        f"-o {output}: the ending {ending!r} names no format; allowed: {', '.join(_SUFFIXES)}",
        hint=did_you_mean(ending, _SUFFIXES) or "--format says which one",
    )


def _write(view: StudyView, kind: str, target: Path) -> None:
    """Write a report whole or not at all.

    Raises:
        EnvironmentProblem: It cannot be written.
    """
    from autotune.core.output_file import check_writable, write_whole
    from autotune.report.html import write_report

    try:
        check_writable(target)  # before what takes seconds
        if kind == "html":
            write_report(view, target)
        elif kind == "parquet":
            write_whole(target, _parquet(view))
        else:
            write_whole(target, _text(view, kind).encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise EnvironmentProblem(
            f"{target} cannot be written: {error.strerror or error}", hint="-o names another file"
        ) from None


def _text(view: StudyView, kind: str) -> str:
    """Return a report as text."""
    import json

    if kind == "html":
        from autotune.report.html import render_report

        return render_report(view)
    if kind == "md":
        from autotune.report.markdown import markdown_report

        return markdown_report(view)
    if kind == "json":
        from autotune.core.redact import redacted
        from autotune.report.summary import summary_json

        return json.dumps(redacted(summary_json(view)), allow_nan=False, indent=2) + "\n"
    from autotune.report.files import csv_text

    return csv_text(view)


def _parquet(view: StudyView) -> bytes:
    from autotune.report.files import frame_of

    data = frame_of(view, typed=True).to_parquet(index=False, engine="pyarrow")
    assert isinstance(data, bytes)  # noqa: S101 - no path was given
    return data
