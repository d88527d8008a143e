"""A problem: a space, a goal, and the truth of every configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Config

Truth = Mapping[str, float] | Cause
"""Noise-free metrics of a configuration, or why it fails."""

_STALLED = 4.0


@dataclass(frozen=True)
class Problem:
    """A problem.

    Args:
        name: Of the problem, for reports.
        space: What may vary; its default configuration is every method's first trial.
        objective: One goal, and limits.
        truth: Noise-free metrics of a configuration of the space, or the cause of its failure.
        noise: Relative standard deviation of a measured metric.
        stalls: Share of measurements that something else on the machine spoils: four times as bad.
        known_optimum: Best feasible value of the goal, where it is known without enumerating.
    """

    name: str
    space: Space
    objective: Objective
    truth: Callable[[Config], Truth]
    noise: float
    stalls: float = 0.0
    known_optimum: float | None = None

    def measure(self, config: Config, rng: np.random.Generator) -> Measurement:
        """Return a noisy measurement; the errors of the metrics are independent and log-normal."""
        exact = self.truth(config)
        if isinstance(exact, Cause):
            return Measurement(failure=Failure(exact, "replayed"))
        values = {name: value * math.exp(self.noise * rng.standard_normal()) for name, value in exact.items()}
        if self.stalls and rng.random() < self.stalls:
            grows = {goal.metric: not goal.maximize for goal in self.objective.goals}
            grows |= {limit.metric: limit.upper for limit in self.objective.limits}
            values = {name: v * (_STALLED if grows.get(name) else 1 / _STALLED) for name, v in values.items()}
        return Measurement(metrics={name: Estimate(value, None, 1) for name, value in values.items()})

    def value(self, config: Config) -> float | None:
        """Return the true goal of a configuration, or ``None`` where it fails or breaks a limit."""
        exact = self.truth(config)
        if isinstance(exact, Cause) or not self.objective.score(exact).feasible:
            return None
        return exact[self.objective.goals[0].metric]

    @cached_property
    def optimum(self) -> float:
        """The best feasible value of the goal.

        Raises:
            ValueError: The space is too large to enumerate and no optimum is known.
        """
        if self.known_optimum is not None:
            return self.known_optimum
        table = self.space.table()
        if table is None:
            raise ValueError(f"{self.name}: too many configurations to find the best by trying all")
        values = [v for v in map(self.value, table.configs(range(len(table)))) if v is not None]
        return max(values) if self.objective.goals[0].maximize else min(values)

    def quality(self, config: Config) -> float:
        """Return how good a configuration is: 1 is the best possible, 0 fails or breaks a limit.

        Both goals are ratios: value / best of a maximum, best / value of a minimum.
        """
        value = self.value(config)
        if value is None:
            return 0.0
        return value / self.optimum if self.objective.goals[0].maximize else self.optimum / value
