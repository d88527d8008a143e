"""The trials of a study as one table of data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autotune.core.objective import Objective
from autotune.core.ranking import judged
from autotune.core.surprise import surprises
from autotune.core.trial import Trial, TrialState

if TYPE_CHECKING:
    import pandas as pd


def trial_frame(trials: Sequence[Trial], objective: Objective, names: Sequence[str] = ()) -> pd.DataFrame:
    """Return one row per trial: state, parameters, metrics with ``.sem``, surprises, failure, reason.

    Args:
        trials: Trials of the study.
        objective: Its objective, limits relative to the default bound.
        names: Names of its parameters, which are columns also where there is no trial.

    Returns:
        ``feasible`` is missing where nothing was measured, or where a limit cannot be judged.
    """
    import pandas as pd

    rows = []
    for trial in trials:
        row: dict[str, object] = {"number": trial.number, "state": trial.state.value}
        row |= {f"params.{name}": value for name, value in trial.config.items()}
        for name, estimate in trial.metrics.items():
            row |= {f"metrics.{name}": estimate.value, f"metrics.{name}.sem": estimate.sem}
        row |= {f"surprise.{name}": score for name, score in surprises(trial).items()}
        done = trial.state is TrialState.COMPLETED
        row["feasible"] = judged(objective.score(trial.metrics).feasible, objective) if done else None
        row["failure"] = trial.failure.cause.value if trial.failure else None
        row["reason"] = trial.suggestion.reason.value
        rows.append(row)
    columns = (
        None
        if rows
        else ["number", "state", *(f"params.{n}" for n in names), "feasible", "failure", "reason"]
    )
    return pd.DataFrame(rows, columns=columns).astype({"feasible": "boolean"})
