"""A study of a ledger as a view: all that reports, figures and the commands that only look are made of."""

from __future__ import annotations

import time
from collections.abc import Sequence

from autotune.analysis.study_view import StudyView
from autotune.core import ranking
from autotune.core.decision import PREDICTIONS, Predictions, restored
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Trial, TrialState
from autotune.engine.base import predictions
from autotune.engine.registry import build_engine
from autotune.ledger import Ledger, StudyRow


def read_view(ledger: Ledger, row: StudyRow) -> StudyView:
    """Return a study of the ledger as it stands."""
    trials = ledger.trials(row.name)
    space = Space.from_dict(row.spec["space"])
    wanted = Objective.from_dict(row.spec["objective"])
    anchored = ranking.anchored(trials, wanted, space)
    running = []
    for trial in trials:
        if trial.state is TrialState.RUNNING:
            last = ledger.attempts(row.name, trial.number)[-1]
            running.append((trial.number, last.attempt, last.started_ns))
    budget = row.spec.get("budget") or {}
    tracking = row.spec.get("tracking") or {}
    return StudyView(
        name=row.name,
        space=space,
        objective=anchored,
        trials=tuple(trials),
        state=row.state.lower(),
        budget_trials=_count(budget.get("trials")),
        confirm=_count(budget.get("confirm")) or 0,
        predictions=_predictions(row, trials, wanted, anchored, space),
        started_ns=row.created_ns,
        now_ns=time.time_ns(),
        running=tuple(running),
        ledger=str(ledger.path or ""),
        tracking=str(tracking.get("mlflow") or ""),
        stopped=str((row.notes.get("stopped") or {}).get("reason", "")),
        spec=row.spec,
    )


def _predictions(
    row: StudyRow, trials: Sequence[Trial], wanted: Objective, anchored: Objective, space: Space
) -> Predictions | None:
    """Return what the ledger holds of a model's predictions, else what the study's engine says now."""
    if row.state == "RUNNING":  # nothing is decided yet
        return None
    try:
        return restored(row.notes.get(PREDICTIONS) or {}, trials, wanted)
    except LookupError:  # of an earlier version, or killed: the model is fitted again
        return predictions(build_engine(row.spec["engine"]), space, anchored, trials)


def _count(raw: object) -> int | None:
    return int(raw) if isinstance(raw, int | str) and str(raw).isdigit() else None
