"""The trials of a study as one table of data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autotune.core.objective import Objective
from autotune.core.surprise import surprises
from autotune.core.trial import Trial, TrialState

if TYPE_CHECKING:
    import pandas as pd


def trial_frame(trials: Sequence[Trial], objective: Objective) -> pd.DataFrame:
    """Return one row per trial: state, parameters, metrics with ``.sem``, surprises, failure, reason.

    Args:
        trials: Trials of the study.
        objective: Its objective, limits relative to the default bound.
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
        row["feasible"] = done and objective.score(trial.metrics).feasible
        row["failure"] = trial.failure.cause.value if trial.failure else None
        row["reason"] = trial.suggestion.reason.value
        rows.append(row)
    return pd.DataFrame(rows)
