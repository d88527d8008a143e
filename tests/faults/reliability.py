"""Rows of the reliability table: what was injected, what must hold, what was measured; and its page."""

import os
import platform
import sqlite3
from dataclasses import dataclass
from pathlib import Path

HEAD = """# Reliability

What was broken on purpose, what must hold all the same, and what was measured. `make test-faults` runs
every injection below (`tests/faults/`) and writes this page from what the tests recorded; a test that
fails leaves the page as it was. The fast ones run in every `make test`. P1 to P12 are the promises:

P1 an acknowledged measurement is never lost · P2 it enters the history exactly once · P3 after any crash
`resume` continues and repeats at most the attempts in flight · P4 a resumed study proposes what the
uninterrupted one would · P5 nothing we started outlives us · P6 no failure of tracking or report touches
the study · P7 a damaged ledger is noticed when it is opened, named by row, never silently used, and what
is good can be exported · P8 what is no finite number never reaches the engine · P9 a study always ends ·
P10 a file from a stranger runs no command · P11 secrets leave the process in no output · P12 a number we
report was valid by rules written beside it.

Next: [how to stop a study](stopping.md) by hand, under systemd, Slurm, Docker and Kubernetes.
"""


@dataclass(frozen=True, order=True)
class Row:
    """One injection: the test that made it, the promise that it tries, the figure."""

    group: str
    injection: str
    promise: str
    figure: str


def heading(doc: str | None, module: str) -> str:
    """Return the title of a module's rows: the first sentence of its docstring, up to a colon."""
    first = (doc or module).strip().splitlines()[0]
    return first.split(":")[0].rstrip(".")


def cell(text: str) -> str:
    """Return text that stays inside one cell of a Markdown table."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def page(rows: list[Row]) -> str:
    """Return the page, rows in the order of their groups and then of the tests."""
    lines = [HEAD, f"{len(rows)} injections, {_machine()}."]
    for group in dict.fromkeys(row.group for row in sorted(rows, key=lambda row: row.group)):
        lines += ["", f"## {group}", "", "| Injected | Promise | Measured |", "| --- | --- | --- |"]
        found = [row for row in rows if row.group == group]
        lines += [f"| {cell(r.injection)} | {cell(r.promise)} | {cell(r.figure)} |" for r in found]
    return "\n".join(lines) + "\n"


def write(rows: list[Row], path: Path) -> None:
    """Write the page whole or not at all."""
    draft = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft.write_text(page(rows), encoding="utf-8")
    draft.replace(path)


def _machine() -> str:
    cores = os.cpu_count()
    python, sqlite = platform.python_version(), sqlite3.sqlite_version
    return f"measured with {cores} cores, {platform.system()}, Python {python}, SQLite {sqlite}"
