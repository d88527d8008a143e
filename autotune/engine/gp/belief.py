"""What is believed at one moment of a study: a surrogate of the goal, one per limit, one of failures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import torch
from torch import Tensor

from autotune.core.measurement import Estimate
from autotune.core.metric import metric_info
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Trial
from autotune.engine.gp.data import Data, Series, read_history
from autotune.engine.gp.encode import Encoder
from autotune.engine.gp.feasibility import Feasibility
from autotune.engine.gp.options import SURROGATES
from autotune.engine.gp.surface import Surface

_AUGMENT = 0.05  # share of the sum in the scalarization of several goals (ParEGO's rho)


@dataclass(frozen=True)
class Modelled:
    """Hold one modelled quantity: its surrogate and the data it was fitted to."""

    surrogate: Surface
    series: Series

    def log_probability_kept(self, moments: tuple[Tensor, Tensor]) -> Tensor:
        """Return the log probability that a limit is kept, from moments by process."""
        return self.surrogate.log_probability_below(moments, self.series.standardize(0.0))

    def estimate(self, mean: float, variance: float, metric: str, sign: float) -> Estimate:
        """Return a prediction in the metric's own unit.

        Args:
            mean: Of the standardized value.
            variance: Of the same.
            metric: Whose unit is taken.
            sign: -1 where the series is the metric's negative.
        """
        series = self.series
        raw, spread = sign * (mean * series.scale + series.shift), math.sqrt(variance) * series.scale
        info = metric_info(metric)
        unit = info.unit if info is not None else "1"
        if series.logarithm:
            middle = math.exp(min(max(raw, -700.0), 700.0))
            return Estimate(middle, min(middle * spread, 1e300), 1, unit)
        return Estimate(raw, spread, 1, unit)


def surface_named(name: str) -> Callable[..., Surface]:
    """Return what builds a surface from ``X``, ``Y``, ``Yvar`` and the columns of each parameter."""
    module, _, attribute = SURROGATES[name].partition(":")
    made: Callable[..., Surface] = getattr(import_module(module), attribute)
    return made


class Belief:
    """Fit the models of one moment.

    Args:
        space: What may vary.
        objective: What is wanted.
        history: Finished trials, at least two of them completed.
        rng: Draws the weights of several goals.
        surrogate: Name of the surface that goals and limits are modelled by.

    Attributes:
        X: Encoded configurations that ended by their own doing, ``n x k``.
        goal: Of the goal, more being better.
        limits: Of each limit's violation; the limit is kept at 0 and below.
        feasibility: Of getting a measurement at all.
    """

    def __init__(
        self,
        space: Space,
        objective: Objective,
        history: Sequence[Trial],
        rng: np.random.Generator,
        surrogate: str = "auto",
    ) -> None:
        self.make = surface_named(surrogate)
        self.objective = objective
        self.encoder = Encoder(space)
        self.data: Data = read_history(history, objective)
        self.X = tensor(self.encoder.configs(self.data.configs))
        goals = self.data.goals
        self.goal = self._fit(goals[0] if len(goals) == 1 else _scalarize(goals, rng))
        self.limits = [self._fit(series) for series in self.data.limits if len(series.Y) > 1]
        completed = torch.from_numpy(self.data.completed)
        self.feasibility = Feasibility(self.X, completed, self.encoder.groups)

    def _fit(self, series: Series) -> Modelled:
        rows = torch.from_numpy(series.rows)
        Y, Yvar = tensor(series.Y).unsqueeze(-1), tensor(series.Yvar).unsqueeze(-1)
        return Modelled(self.make(self.X[rows], Y, Yvar, self.encoder.groups), series)

    @property
    def measured(self) -> Tensor:
        """Encoded configurations whose goal was measured, ``m x k``."""
        return self.X[torch.from_numpy(self.goal.series.rows)]

    def kept(self, X: Tensor) -> Tensor:
        """Return which points keep every limit and can be measured, as far as the models know."""
        kept = self.feasibility.log_probability(X) > math.log(0.5)
        for limit in self.limits:
            mean, _ = limit.surrogate.predict(X)
            kept &= mean <= limit.series.standardize(0.0)
        return kept

    def log_limits(self, X: Tensor) -> Tensor:
        """Return the log probability that every limit is kept at ``X`` (``n x k``), shape ``n``."""
        total = torch.zeros(len(X), dtype=X.dtype)
        for limit in self.limits:
            total += limit.log_probability_kept(limit.surrogate.each(X))
        return total


def _scalarize(goals: Sequence[Series], rng: np.random.Generator) -> Series:
    """Return one series from several goals: an augmented Chebyshev scalarization with random weights.

    Reference: J. Knowles, "ParEGO", IEEE Transactions on Evolutionary Computation 10 (2006).
    """
    rows = sorted(set.intersection(*(set(series.rows.tolist()) for series in goals)))
    values = np.array([[dict(zip(s.rows.tolist(), s.Y, strict=True))[row] for s in goals] for row in rows])
    weights = rng.dirichlet(np.ones(len(goals)))
    low, high = values.min(0), values.max(0)
    unit = (values - low) / np.where(high > low, high - low, 1.0)
    y = (weights * unit).min(1) + _AUGMENT * (weights * unit).sum(1)
    scale = float(y.std(ddof=1)) or 1.0
    Y = (y - y.mean()) / scale
    return Series(np.array(rows, dtype=np.int64), Y, np.full(len(Y), np.nan), float(y.mean()), scale, False)


def tensor(array: np.ndarray) -> Tensor:
    """Return an array as a tensor in double precision."""
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))
