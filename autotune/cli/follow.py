"""The live view of a study that another process runs, read from its ledger alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from autotune.cli.options import next_command, next_step
from autotune.cli.reading import open_ledger
from autotune.errors import EmptyLedgerError, Interrupted, LedgerError, NothingFeasible

if TYPE_CHECKING:
    from autotune.analysis.study_view import StudyView
    from autotune.ledger import StudyRow
    from autotune.report.view import View

POLL_S = 1.0
"""Seconds between two looks at the ledger: each takes some processor time from what is measured."""

_TRIES = 5  # looks at a ledger that cannot be read now, as on a shared disk that is away for a moment


def follow(study: str | None, store: Path, view: View, *, pause: Callable[[float], None] = time.sleep) -> int:
    """Show a study until nobody runs it any more, and return the exit code of its run.

    The ledger is opened for reading only, its lock is never tried: the run notices nothing. Ctrl-C ends the
    view alone.

    Args:
        study: Name of the study; that of the only one when not given.
        store: Folder of the ledger.
        view: View on which it is shown.
        pause: Function that waits some seconds between two looks.

    Raises:
        StudyError: There is no such study.
        LedgerError: The ledger cannot be read, look after look.
    """
    try:
        return _follow(study, store, view, pause)
    except KeyboardInterrupt:
        view.close()
        command = next_command("status", study, "--follow", store=store)
        view.message(f"the study goes on; `{command}` shows it again")
        return 0
    finally:
        view.close()


def _follow(study: str | None, store: Path, view: View, pause: Callable[[float], None]) -> int:
    from autotune.ledger.lock import study_holder

    row, holder, now = _look(study, store)
    if holder:
        view.message(f"study {row.name} is run by {holder}; Ctrl-C ends this view, not the study")
        view.start(now)
    told = set(_failures(now))
    seen: list[tuple[int, int]] = []
    failed = 0
    files = Path(now.ledger)
    while holder and not view.closed:
        view.update(now)
        for key, text in _failures(now).items():
            if key not in told:
                told.add(key)
                view.message(text)
        pause(POLL_S)
        try:
            found = _written(files)  # before it is read: what is written meanwhile is read next time
            if found == seen and holder == study_holder(files, row.name):
                now = replace(
                    now, now_ns=time.time_ns()
                )  # reading all trials takes time from what is measured
                continue
            row, holder, now = _look(row.name, store)
            seen, failed = found, 0
        except EmptyLedgerError:
            raise
        except LedgerError:
            failed += 1
            if failed >= _TRIES:
                raise
    return 0 if holder else _end(row, now, store, view)


def _failures(now: StudyView) -> dict[tuple[int, int], str]:
    """Return a line about each failed trial, by its number and attempt."""
    return {
        (t.number, t.attempts): f"trial {t.number}: {t.failure.cause.value}: {t.failure.message}"
        for t in now.trials
        if t.failure is not None and t.state.finished
    }


def _written(ledger: Path) -> list[tuple[int, int]]:
    """Return when the ledger and its log were last written, and their sizes."""
    found = []
    for path in (ledger, ledger.with_name(f"{ledger.name}-wal")):
        try:
            status = path.stat()
        except OSError:  # there is no log, or the disk is away: reading says so
            continue
        found.append((status.st_mtime_ns, status.st_size))
    return found


def _look(study: str | None, store: Path) -> tuple[StudyRow, str, StudyView]:
    """Return a study, who runs it (empty: nobody), and its view; while somebody does, it is running.

    A study that was created and never run by a command is taken to be somebody's own.
    """
    from autotune.ledger.lock import study_holder
    from autotune.spec.stored import StoredSpec
    from autotune.study.reading import read_view
    from autotune.study.study import find_study

    with open_ledger(store) as ledger:
        holder = ""
        row = find_study(ledger, study)
        if ledger.path is not None:
            holder = study_holder(ledger.path, row.name)
            row = find_study(ledger, row.name)  # what it wrote before it let go
        # `Study.ask` and `tell` hold the study for each call only; one with a system is run from its file
        if row.state == "CREATED" and not StoredSpec(row.spec).has_system:
            holder = holder or "a program that asks and tells itself; whether it still does is not known"
        view = read_view(ledger, row, live=bool(holder))
    return row, holder, replace(view, started_ns=_since_ns(holder) or view.started_ns)


def _since_ns(holder: str) -> int:
    """Return when the run of who holds a study began, nanoseconds since the epoch; 0 where it is not said."""
    try:
        return int(datetime.fromisoformat(holder.rpartition(" since ")[2]).timestamp() * 1e9)
    except ValueError:
        return 0


def _end(row: StudyRow, now: StudyView, store: Path, view: View) -> int:
    from autotune.report.summary import summary
    from autotune.report.text import terminal_width
    from autotune.study.reading import options_of

    if row.state == "RUNNING":  # by its row; the view has looked for a process
        view.message(
            f"the run of study {row.name} has died: no process holds the study, and none has ended it"
        )
    lines = ["", summary(now, width=terminal_width()), next_step(now, store, options_of(row))]
    view.finish(now, "\n".join(lines))
    if now.state == "interrupted":
        return Interrupted.exit_code
    return 0 if now.best is not None else NothingFeasible.exit_code
