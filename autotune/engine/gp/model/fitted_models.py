"""The models of one moment of a study: a surrogate per goal, one per limit, one of failures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autotune.core import ranking
from autotune.core.measurement import Estimate
from autotune.core.objective import Objective
from autotune.core.trial import Trial, TrialState
from autotune.engine.gp.model.conditioning import Believed
from autotune.engine.gp.model.contract import Moments, Surrogate
from autotune.engine.gp.model.data import Data, Series, read_history
from autotune.engine.gp.model.encode import Encoder
from autotune.engine.gp.model.feasibility import Feasibility
from autotune.engine.gp.model.outliers import discounted
from autotune.engine.gp.model.posterior import leading
from autotune.engine.gp.model.surrogates import surrogate_named
from autotune.engine.gp.problem import Problem


@dataclass(frozen=True)
class Modelled:
    """One modelled quantity: its surrogate and the data it was fitted to."""

    surrogate: Surrogate
    series: Series

    @property
    def spread(self) -> float:
        """Standard deviation of one more launch beside the noise-free value, standardized."""
        learned = self.surrogate.mean_noise
        known = self.series.Yvar[np.isfinite(self.series.Yvar)]
        return math.sqrt(learned + (float(np.median(known)) if len(known) else 0.0))

    def border(self, margin: float) -> float:
        """Return the highest noise-free value at which a limit is kept by a margin, standardized.

        Args:
            margin: Margin in standard deviations of one launch.
        """
        return self.series.standardize(0.0) - margin * self.spread

    def log_probability_kept(self, moments: Moments, margin: float = 0.0) -> Tensor:
        """Return the log probability that a limit is kept by a margin, from moments by process."""
        return self.surrogate.log_probability_below(moments, self.border(margin))

    def estimate(self, mean: float, variance: float, sign: float, base: float, unit: str) -> Estimate | None:
        """Return what one more measurement is expected to give, in the metric's own unit.

        Args:
            mean: Mean of the standardized value.
            variance: Variance of the same; that of a measurement beside it is added.
            sign: -1 where the series falls when the metric rises.
            base: Base that the series is counted from: a limit's bound, or nothing for a goal.
            unit: Unit of the metric.

        Returns:
            ``None`` where a number has no finite value.
        """
        series, noise = self.series, self.surrogate.mean_noise
        raw, spread = sign * (mean * series.scale + series.shift), math.sqrt(variance + noise) * series.scale
        if series.logarithm:
            middle = (base or 1.0) * math.exp(min(max(raw, -700.0), 700.0))
            spread = middle * spread
        else:
            middle = base + raw
        if not (math.isfinite(middle) and math.isfinite(spread)):
            return None
        return Estimate(middle, spread, 1, unit)


class FittedModels:
    """The models fitted to a history: a surrogate per goal and limit, and a feasibility model.

    Args:
        problem: Problem to propose for, with at least two measured trials.
        rng: Random generator of the weights of several goals.

    Attributes:
        X: Encoded configurations that ended by their own doing, ``n x d``.
        goals: One model per goal, more being better.
        limits: One model per limit, of its violation; the limit is kept at 0 and below.
        limited: The limits that these are of.
        feasibility: Model of getting a measurement at all.
        spoiled: Mask of trials with a measurement that nothing around it explains, shape ``n``.
        seeking_feasible: Whether no configuration is known that keeps every limit, by measurement and by the
            models.
        least_kept: Log probability to keep the limits below which a candidate is left alone: it rises with
            the share of broken limits among the last trials, as the threshold of failures does.

    Raises:
        ValueError: No trial has all goals measured.
    """

    def __init__(self, problem: Problem, rng: np.random.Generator) -> None:
        config, objective, history = problem.config, problem.objective, problem.history
        self.config, self.objective, self.rng = config, objective, rng
        self.make = surrogate_named(config)
        self.margin = NormalDist().inv_cdf(objective.confidence) / math.sqrt(config.limit_launches)
        self.encoder = Encoder(problem.space)
        self.data: Data = read_history(_leading(history, objective, config.trials), objective, config.history)
        self.X = tensor(self.encoder.configs(self.data.configs))
        self.rows = _common_rows(self.data.goals)
        if not len(self.rows):
            raise ValueError("no trial has all goals measured")
        self.spoiled = torch.zeros(len(self.X), dtype=torch.bool)
        self.goals = [self._fit(series) for series in self.data.goals]
        known = [pair for pair in zip(objective.limits, self.data.limits, strict=True) if len(pair[1].Y) > 1]
        self.limited = [limit for limit, _ in known]
        self.limits = [self._fit(series, bad=1) for _, series in known]
        self.feasibility = Feasibility(self.X, tensor(self.data.labels), self.encoder.groups, config)
        default = tensor(self.encoder.configs([problem.space.default_config]))
        self.default_rows = (self.measured == default).all(1)
        feasible = any(contender.feasible for contender in ranking.contenders(history, objective))
        self.seeking_feasible = not (feasible and bool(self.observed.any()))
        recent = problem.completed[-config.recent :]
        broken = [bool(objective.score(trial.metrics).violations) for trial in recent]
        share = sum(broken) / len(broken) if broken else 0.0
        rising = config.limit_threshold + config.limit_threshold_rise * share
        self.least_kept = math.log(min(config.limit_threshold_most, rising))

    def _fit(self, series: Series, bad: int = -1) -> Modelled:
        X = self.X[torch.from_numpy(series.rows)]
        raised = discounted(X, series.Y, series.Yvar, self.encoder.groups, bad, self.config)
        spoiled = np.nan_to_num(raised) > np.nan_to_num(series.Yvar)
        self.spoiled[torch.from_numpy(series.rows[spoiled])] = True
        Y, Yvar = tensor(series.Y).unsqueeze(-1), tensor(raised).unsqueeze(-1)
        return Modelled(self.make(X, Y, Yvar, self.encoder.groups), series)

    @cached_property
    def goal(self) -> Modelled:
        """The model of the one goal; of several, that of a random trade-off between them."""
        if len(self.goals) == 1:
            return self.goals[0]
        return self._fit(_scalarize(self.data.goals, self.rng, self.config.augment))

    @cached_property
    def measured(self) -> Tensor:
        """Encoded configurations of the trials with all goals measured, ``m x k``."""
        return self.X[torch.from_numpy(self.rows)]

    @cached_property
    def observed(self) -> Tensor:
        """Which of them keep every limit as far as the models know, shape ``m``.

        What a spoiled measurement should have been is no value to improve upon: it was not measured.
        """
        usable = ~self.spoiled[torch.from_numpy(self.rows)]
        shown = self.kept(self.measured) & usable
        return shown if bool(shown.any()) else self.kept(self.measured, 0.0) & usable

    def kept(self, X: Tensor, margin: float | None = None) -> Tensor:
        """Return which points keep every limit and can be measured, as far as the models know.

        Args:
            X: Points, ``n x k``.
            margin: Margin as of :meth:`log_limits`.
        """
        margin = self.margin if margin is None else margin
        kept = self.feasibility.log_probability(X) > math.log(0.5)
        for limit in self.limits:
            mean, _ = limit.surrogate.predict(X)
            kept &= mean <= limit.border(margin)
        return kept

    def log_limits(
        self, X: Tensor, X_pending: Tensor | None = None, *, margin: float | None = None
    ) -> Tensor:
        """Return the log probability that every limit is kept at ``X`` (``n x k``), shape ``n``.

        Args:
            X: Candidates.
            X_pending: Points taken to measure what is expected of them, ``m x k``; none by default.
            margin: Margin in standard deviations of one launch; by default as much as has to be shown.
        """
        margin = self.margin if margin is None else margin
        total = torch.zeros(len(X), dtype=X.dtype)
        for limit in self.limits:
            posterior = limit.surrogate if X_pending is None else Believed(limit.surrogate, X_pending)
            moments = posterior.each(X)
            total += limit.log_probability_kept(moments, margin)
        return total


def _leading(history: Sequence[Trial], objective: Objective, most: int) -> Sequence[Trial]:
    """Return at most that many trials in their order: the better half, and an even part of the others.

    Feasible ones are better than others. Of several goals every trial counts: any may be on the front.
    """
    if len(history) <= most or len(objective.goals) > 1:
        return history
    goal = objective.goals[0]

    def rank(at: int) -> tuple[bool, bool, float]:
        trial = history[at]
        found = trial.metrics.get(goal.metric) if trial.state is TrialState.COMPLETED else None
        value = None if found is None else objective.value_of(goal.metric, found)
        if value is None:
            return True, True, 0.0
        return False, not objective.score(trial.metrics).feasible, -goal.sign * value

    places = torch.empty(len(history), dtype=torch.float64)
    places[sorted(range(len(history)), key=rank)] = -torch.arange(len(history), dtype=torch.float64)
    return [history[at] for at in leading(places, most).tolist()]


def _common_rows(goals: Sequence[Series]) -> npt.NDArray[np.int64]:
    rows = set.intersection(*(set(series.rows.tolist()) for series in goals))
    return np.array(sorted(rows), dtype=np.int64)


def _scalarize(goals: Sequence[Series], rng: np.random.Generator, augment: float) -> Series:
    """Return one series from several goals: an augmented Chebyshev scalarization with random weights.

    Reference: J. Knowles, "ParEGO", IEEE Transactions on Evolutionary Computation 10 (2006).
    """
    rows = _common_rows(goals)
    values = np.array([[dict(zip(s.rows.tolist(), s.Y, strict=True))[row] for s in goals] for row in rows])
    weights = rng.dirichlet(np.ones(len(goals)))
    low, high = values.min(0), values.max(0)
    unit = (values - low) / np.where(high > low, high - low, 1.0)
    y = (weights * unit).min(1) + augment * (weights * unit).sum(1)
    scale = (float(y.std(ddof=1)) if len(y) > 1 else 0.0) or 1.0
    Y = (y - y.mean()) / scale
    return Series(rows, Y, np.full(len(Y), np.nan), float(y.mean()), scale, False)


def tensor(array: np.ndarray) -> Tensor:
    """Return an array as a tensor in double precision."""
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))
