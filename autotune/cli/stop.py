"""The command that stops a study which runs elsewhere: stop."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autotune.cli.options import json_option, ledger_option, next_command
from autotune.cli.output import echo, echo_json, wait_for_end
from autotune.cli.reading import open_ledger
from autotune.cli.remote import reachable
from autotune.errors import EnvironmentProblem, StudyError, did_you_mean

if TYPE_CHECKING:
    from autotune.ledger import Ledger, StudyRow

SLACK_S = 30.0
"""Time that a run takes to end beside its servers' grace: Ray, the mirror, the report."""

_CAUGHT = re.compile(r"^SigCgt:\s*([0-9a-f]+)$", re.MULTILINE)


@click.command()
@click.argument("study", required=False)
@ledger_option
@json_option
@reachable
def stop(study: str | None, store: Path, as_json: bool) -> None:
    """Stop STUDY, which runs in another terminal, under systemd or on a cluster.

    As Ctrl-C would: trials that run are put back, everything measured is kept, and the study can be gone on
    with. Waits until it has ended. A second time, servers are not waited for.
    """
    from autotune.study.study import find_study

    with open_ledger(store) as ledger:
        row, others = _named(ledger, study)
        file = ledger.path
    assert file is not None  # noqa: S101 - it was opened by its path
    stopped = end_run(file, row, say=(lambda text: None) if as_json else echo)
    with open_ledger(store) as ledger:
        row = find_study(ledger, row.name)
        measured = sum(trial.state.finished for trial in ledger.trials(row.name))
    if as_json:
        echo_json({"study": row.name, "stopped": stopped, "state": row.state.lower(), "finished": measured})
        return
    what = "has stopped" if stopped else f"is not running: {row.state.lower()}"
    echo(f"study {row.label} {what}; {measured} finished trials are kept")
    if others and not stopped:
        echo(f"running: {', '.join(others)}")
    if row.state == "INTERRUPTED" or (row.state == "RUNNING" and not stopped):
        echo(f"`{next_command('resume', row.name, store=store)}` goes on with it")


def _named(ledger: Ledger, study: str | None) -> tuple[StudyRow, list[str]]:
    """Return the study that is to be stopped, or the only one that runs; and the names of those that run.

    Raises:
        StudyError: There is no such study, or no name was given and not exactly one runs.
    """
    from autotune.ledger.lock import study_is_held
    from autotune.study.study import find_study

    assert ledger.path is not None  # noqa: S101 - it was opened by its path
    names = [row.name for row in ledger.studies()]
    running = [name for name in names if study_is_held(ledger.path, name)]
    if study in names or (study is None and not running):
        return find_study(ledger, study), running
    if study is None and len(running) == 1:
        return find_study(ledger, running[0]), running
    raise not_running(study, running)


def not_running(study: str | None, running: Sequence[str]) -> StudyError:
    """Return the error that a study to be stopped does not run, with the nearest name of one that does.

    Args:
        study: Name that was given, if any.
        running: Names of the studies that run, with their owners where they have some.
    """
    shown = ", ".join(sorted(running)) or "none"
    if study is None:
        return StudyError(f"name a study; running: {shown}")
    near = [name for label in running for name in {label, label.rpartition("/")[2]}]  # without its owner too
    return StudyError(f"no study {study!r} is running; running: {shown}", hint=did_you_mean(study, near))


def end_run(file: Path, row: StudyRow, *, say: Callable[[str], None]) -> bool:
    """Ask the process that runs a study to end and wait until it has; return whether there was one.

    Args:
        file: The ledger.
        row: The study.
        say: Callable that takes lines that say what is waited for.

    Raises:
        EnvironmentProblem: It runs where it cannot be signalled from, or does not end in time.
    """
    from autotune.executor.proc import send, start_time
    from autotune.ledger.lock import study_holder, study_process

    pid = study_process(file, row.name)
    holder = study_holder(file, row.name)
    if not pid:
        if holder:
            raise EnvironmentProblem(
                f"study {row.name!r} is run by {holder}, which cannot be reached from here",
                hint="give the same command on that machine, in the same container",
            )
        return False
    began = start_time(pid)
    if began is not None and not _catches(pid, signal.SIGTERM):
        raise EnvironmentProblem(
            f"study {row.name!r} is held by process {pid}, which SIGTERM would end at once",
            hint="end it there",
        )
    if began is not None and not send(pid, began, signal.SIGTERM) and study_process(file, row.name) == pid:
        raise EnvironmentProblem(f"study {row.name!r} is run by process {pid}, which is not ours to stop")
    grace = _grace_s(row)
    say(f"asked process {pid} to stop study {row.name}; its servers have {grace:g} s to end")
    most = grace + SLACK_S
    waited = wait_for_end(
        lambda: study_process(file, row.name) == pid,
        most,
        lambda seconds: say(f"still ending after {seconds:.0f} s, of at most {most:.0f} s"),
    )
    if waited is not None:
        raise EnvironmentProblem(
            f"study {row.name!r} has not ended {waited:.0f} s after process {pid} was asked to",
            hint="the same command again does not wait for its servers",
        )
    return True


def _grace_s(row: StudyRow) -> float:
    """Return how long the servers of a study may take to end, in seconds."""
    from autotune.spec.stored import StoredSpec

    return StoredSpec(row.spec).deadlines.stop_s


def _catches(pid: int, number: signal.Signals) -> bool:
    """Return whether a process has a handler for a signal; so too where it cannot be told."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:  # it has ended, or there is no such file here
        return True
    found = _CAUGHT.search(status)
    return found is None or bool(int(found[1], 16) & (1 << (number - 1)))
