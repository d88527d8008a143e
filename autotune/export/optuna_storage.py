"""A study as a storage of Optuna, which its dashboard opens: all trials, not one configuration."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as Theirs
from sqlalchemy.pool import StaticPool

from autotune.analysis.study_view import StudyView
from autotune.core.output_file import write_whole
from autotune.core.redact import redact
from autotune.core.trial import Trial, TrialState
from autotune.core.version import VERSION
from autotune.engine.optuna import quiet
from autotune.engine.optuna_space import Params, coordinate
from autotune.errors import SpecError, words_of

_SQLITE = b"SQLite format 3\0"  # how such a file begins
_TABLES = {"studies", "trials", "version_info"}
_WAIT_S = 60.0  # for another process that writes to a database
_STATES = {
    TrialState.WAITING: Theirs.WAITING,
    TrialState.RUNNING: Theirs.RUNNING,
    TrialState.COMPLETED: Theirs.COMPLETE,
}


def storage_of(view: StudyView, *, database: bool = False) -> bytes:
    """Return a study as the content of a journal file, or of a SQLite database.

    Args:
        view: Study.
        database: Whether it is a database.
    """
    with TemporaryDirectory(prefix="autotune-") as folder, quiet():
        file = Path(folder) / "storage"
        if database:
            storage = RDBStorage(f"sqlite:///{file}")
            _fill(storage, view)
            storage.remove_session()
            storage.engine.dispose()
        else:
            _fill(JournalStorage(JournalFileBackend(str(file))), view)
        return file.read_bytes()


def add_to(file: Path, view: StudyView) -> None:
    """Add a study to a storage that is there: wholly or not at all, and nothing else in it changes.

    A process that uses the storage at the same time waits.

    Args:
        file: SQLite database or journal of Optuna's, whatever its name says.
        view: Study.

    Raises:
        SpecError: The file is no storage of Optuna's, or has a study of that name.
    """
    try:
        with file.open("rb") as stream:
            database = stream.read(len(_SQLITE)) == _SQLITE
        with quiet():
            (_add_to_database if database else _add_to_journal)(file, view)
    except SpecError:
        raise
    except DuplicatedStudyError:
        raise SpecError(
            f"{file} has a study {view.name!r} already",
            hint="write to another file, or remove that study first with `optuna delete-study`",
        ) from None
    except Exception as error:  # noqa: BLE001 - a storage fails in as many ways as Optuna and SQLAlchemy have
        said = words_of(error).splitlines()[0]
        raise SpecError(f"{file}: nothing was added to this Optuna storage: {said}") from None


class _OneTransaction(sqlite3.Connection):
    """A connection whose statements become one transaction, whatever its user thinks is ended."""

    def commit(self) -> None:
        """Do nothing yet."""

    def rollback(self) -> None:
        """Do nothing: closing it without :meth:`settle` undoes everything."""

    def settle(self) -> None:
        """Commit everything."""
        super().commit()


def _add_to_database(file: Path, view: StudyView) -> None:
    uri = f"{file.resolve().as_uri()}?mode=rw"
    connection = sqlite3.connect(
        uri, uri=True, timeout=_WAIT_S, isolation_level=None, check_same_thread=False, factory=_OneTransaction
    )
    with closing(connection):
        try:
            connection.execute("BEGIN IMMEDIATE")
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        except sqlite3.DatabaseError as error:
            raise SpecError(f"{file}: nothing was added to this database: {error}") from None
        if not tables >= _TABLES:
            raise SpecError(f"{file} is there and is no Optuna storage", hint="write to another file")
        same = {"creator": lambda: connection, "poolclass": StaticPool}
        storage = RDBStorage("sqlite://", engine_kwargs=same)
        _fill(storage, view)
        storage.remove_session()
        connection.settle()


class _Entries(BaseJournalBackend):
    """A journal in memory."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self.entries = entries

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Return the entries from a number on."""
        return iter(self.entries[log_number_from:])

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add entries."""
        self.entries.extend(logs)


def _add_to_journal(file: Path, view: StudyView) -> None:
    file = file.resolve()
    _entries_of(file.read_bytes(), file)  # no lock beside a file that is something else
    lock = JournalFileSymlinkLock(str(file))
    lock.acquire()
    try:
        data = file.read_bytes()
        journal = _Entries(_entries_of(data, file))
        known = len(journal.entries)
        _fill(JournalStorage(journal), view)
        lines = [f"{json.dumps(one, separators=(',', ':'))}\n" for one in journal.entries[known:]]
        write_whole(file, data + "".join(lines).encode())
    finally:
        lock.release()


def _entries_of(data: bytes, file: Path) -> list[dict[str, Any]]:
    try:
        entries = [json.loads(line) for line in data.splitlines()]
    except ValueError:
        entries = [None]
    if not data.endswith(b"\n") or not all(isinstance(e, dict) and "op_code" in e for e in entries):
        raise SpecError(f"{file} is there and is no Optuna storage", hint="write to another file")
    return entries


def _fill(storage: Any, view: StudyView) -> None:
    goals = view.objective.goals
    study = optuna.create_study(
        study_name=view.name,
        storage=storage,
        directions=["maximize" if goal.maximize else "minimize" for goal in goals],
    )
    study.set_metric_names([goal.metric for goal in goals])
    facts = {"space": view.space.to_dict(), "objective": view.objective.to_dict(), "autotune": VERSION}
    for name, fact in facts.items():
        study.set_user_attr(name, fact)
    study.add_trials([_trial(trial, view) for trial in view.trials])


def _trial(trial: Trial, view: StudyView) -> FrozenTrial:
    coordinates = {p.name: coordinate(p, for_people=True) for p in view.space if p.name in trial.config}
    params = {name: one.theirs(trial.config[name]) for name, one in coordinates.items()}
    values = _values(trial, view)
    state = _STATES.get(trial.state, Theirs.FAIL)
    if state is Theirs.COMPLETE and not values:  # measured for another objective
        state = Theirs.FAIL
    found = create_trial(
        state=state,
        values=values if state is Theirs.COMPLETE else None,
        params=params,
        distributions={name: one.distribution for name, one in coordinates.items()},
        user_attrs=_attributes(trial),
        system_attrs=_system_attributes(trial, view, params, state),
    )
    measured = trial.measurement
    if measured is not None and measured.started_ns and state.is_finished():
        found.datetime_start = datetime.fromtimestamp(measured.started_ns / 1e9)
        found.datetime_complete = datetime.fromtimestamp((measured.ended_ns or measured.started_ns) / 1e9)
    return found


def _values(trial: Trial, view: StudyView) -> list[float]:
    """Return the values of the goals in base units; empty unless all were measured."""
    goals = view.objective.goals
    signed = view.objective.score(trial.metrics).values
    known = [value for value in signed if value is not None]
    return (
        [goal.sign * value for goal, value in zip(goals, known, strict=True)]
        if len(known) == len(goals)
        else []
    )


def _attributes(trial: Trial) -> Params:
    """Return what else is known: every metric with its standard error, the failure, why it was tried."""
    found: Params = {"reason": str(trial.suggestion.reason)}
    for name, e in trial.metrics.items():
        found[name] = e.value
        found |= {} if e.sem is None else {f"{name} sem": e.sem}
        found |= {} if e.unit == "1" else {f"{name} unit": e.unit}
    if trial.failure is not None:
        found |= {"failure": trial.failure.cause.value, "failure message": redact(trial.failure.message)}
    if trial.state is TrialState.ABANDONED:
        found["failure message"] = "given up"
    return found


def _system_attributes(trial: Trial, view: StudyView, params: Mapping[str, object], state: Theirs) -> Params:
    """Return the limits as constraints of Optuna's, and what a waiting trial is to try."""
    if state is Theirs.WAITING:
        return {"fixed_params": dict(params)}
    violations = {}
    for limit in view.objective.limits:
        e = trial.metrics.get(limit.metric)
        value = None if e is None or limit.relative else view.objective.value_of(limit.metric, e)
        if value is not None:
            violations[str(limit)] = limit.violation(value)
    if hasattr(FrozenTrial, "set_constraint"):
        return {f"constraints:{text}": value for text, value in violations.items()}
    return {"constraints": list(violations.values())} if violations else {}


__all__ = ["add_to", "storage_of"]
