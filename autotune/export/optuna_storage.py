"""A study as a storage of Optuna, which its dashboard opens: all trials, not one configuration."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as Theirs

from autotune.analysis.study_view import StudyView
from autotune.core.redact import redact
from autotune.core.trial import Trial, TrialState
from autotune.core.version import VERSION
from autotune.engine.optuna import quiet
from autotune.engine.optuna_space import Params, coordinate

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


__all__ = ["storage_of"]
