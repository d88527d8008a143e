"""What the models are fitted to, drawn from the history."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autotune.core.decision import excess
from autotune.core.measurement import LARGEST, Estimate
from autotune.core.objective import Goal, Limit, Objective
from autotune.core.trial import Config, Trial, TrialState
from autotune.engine.gp.choices import HistoryConfig
from autotune.engine.gp.config import DEFAULT

Array = npt.NDArray[np.float64]

_LEAST_VARIANCE = 2e-6  # of standardized values: keeps the covariance invertible without noise


@dataclass(frozen=True)
class Series:
    """One modelled quantity, standardized.

    Args:
        rows: Trials it was observed in, as indices into the observed configurations; shape ``n``.
        Y: Standardized values, shape ``n``.
        Yvar: Variances of their measuring errors, same scale; nan where unknown; shape ``n``.
        shift: Value subtracted before ``scale`` divided.
        scale: Standard deviation, 1 for constant values.
        logarithm: Whether the values are logarithms.
    """

    rows: npt.NDArray[np.int64]
    Y: Array
    Yvar: Array
    shift: float
    scale: float
    logarithm: bool

    def standardize(self, value: float) -> float:
        """Return a value of the original scale (after the logarithm) on the models' scale."""
        return (value - self.shift) / self.scale


@dataclass(frozen=True)
class Data:
    """Training data of the models.

    Args:
        configs: Distinct trials that ended by their own doing, in number order.
        labels: +1 where a trial gave a measurement, -1 where it failed; nearer to 0 where it is known that
            little memory was missing, further from it where it was much; shape ``n``.
        goals: One series per goal, more being better.
        limits: One series per limit: the violation, at most 0 where the limit is kept.
    """

    configs: list[Config]
    labels: Array
    goals: list[Series]
    limits: list[Series]


def read_history(
    history: Sequence[Trial], objective: Objective, choices: HistoryConfig = DEFAULT.history
) -> Data:
    """Draw the models' data from the finished trials; environment faults teach nothing."""
    used = [t for t in history if t.state in (TrialState.COMPLETED, TrialState.INFEASIBLE)]
    goals = [_goal_series(used, goal, objective, choices) for goal in objective.goals]
    limits = [_limit_series(used, limit, objective, choices) for limit in objective.limits]
    labels = np.array([_label(t, choices) for t in used], dtype=float)
    return Data([t.config for t in used], labels, goals, limits)


def _label(trial: Trial, choices: HistoryConfig) -> float:
    if trial.state is TrialState.COMPLETED:
        return 1.0
    missing = trial.failure.shortfall if trial.failure is not None else None
    if missing is None:
        return -1.0
    return -min(choices.furthest, max(choices.nearest, math.log2(missing)))


def _goal_series(trials: Sequence[Trial], goal: Goal, objective: Objective, choices: HistoryConfig) -> Series:
    rows, found = _observed(trials, goal.metric, objective)
    values = np.array([e.value for e in found])
    logarithm = bool(len(values)) and bool((values > 0).all())
    y = goal.sign * (np.log(values) if logarithm else np.clip(values, -LARGEST, LARGEST))
    projected = np.array([e.projected for e in found], dtype=bool)
    if projected.any() and not projected.all():
        y[projected] = np.maximum(y[projected], y[~projected].min())
    if len(y) >= 4:  # one terrible value must not flatten the differences between the good ones
        low, high = np.quantile(y, [0.25, 0.75])
        y = np.maximum(y, low - choices.bad_tail * (high - low))
    return _series(rows, y, _variances(found, logarithm), logarithm)


def _limit_series(
    trials: Sequence[Trial], limit: Limit, objective: Objective, choices: HistoryConfig
) -> Series:
    rows, found = _observed(trials, limit.metric, objective)
    logarithm = limit.bound > 0 and all(e.value > 0 for e in found)
    values = np.array([excess(limit, e.value, logarithm=logarithm) for e in found])  # one scale for all
    least = math.log(choices.projected) if logarithm else (choices.projected - 1) * abs(limit.bound)
    projected = np.array([e.projected for e in found], dtype=bool)
    values[projected] = np.minimum(values[projected], max(least, values[~projected].max(initial=-math.inf)))
    return _series(rows, values, _variances(found, logarithm), logarithm)


def _observed(
    trials: Sequence[Trial], metric: str, objective: Objective
) -> tuple[npt.NDArray[np.int64], list[Estimate]]:
    """Return what was measured of a metric in a unit that the objective can compare, and in which trials."""
    pairs = [
        (i, found)
        for i, t in enumerate(trials)
        if t.state is TrialState.COMPLETED
        and (found := t.metrics.get(metric)) is not None
        and objective.value_of(metric, found) is not None
    ]
    return np.array([i for i, _ in pairs], dtype=np.int64), [e for _, e in pairs]


def _variances(found: Sequence[Estimate], logarithm: bool) -> Array:
    """Return the variance of each value on the models' scale before standardizing; nan where unknown."""
    errors = [
        np.nan if e.sem is None else min(e.sem / abs(e.value) if logarithm else e.sem, LARGEST) for e in found
    ]
    return np.square(errors)


def _series(rows: npt.NDArray[np.int64], y: Array, variances: Array, logarithm: bool) -> Series:
    shift = float(y.mean()) if len(y) else 0.0
    scale = float(y.std(ddof=1)) if len(y) > 1 else 1.0
    scale = scale if scale > 1e-12 else 1.0
    variances = variances / scale**2
    known = variances[np.isfinite(variances)]
    if len(known):  # the error of an error from few batches is large: shrink half-way to the pooled one
        pooled = float(known.mean())
        variances = np.where(np.isfinite(variances), 0.5 * (variances + pooled), pooled)
        variances = np.maximum(variances, _LEAST_VARIANCE)
    return Series(rows, (y - shift) / scale, variances, shift, scale, logarithm)
