"""The contract of a method, and what the adapters of all peers share.

Each peer sees a space as coordinates (see :class:`Coordinate`) and a goal as a cost. Whatever it does not
support natively is treated alike for all of them here: a proposal outside the space is refused at no cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from autotune.core.allowed import keeps_residual
from autotune.core.measurement import Measurement
from autotune.core.parameter import Float, Parameter
from autotune.core.space import Space
from autotune.core.table import INACTIVE
from autotune.core.trial import Config, Value, config_key
from autotune.errors import SpecError
from benchmarks.problems.base import Problem

RETRIES = 50
"""Refused proposals in a row after which the nearest allowed configuration is measured."""

Point = dict[str, Any]
"""What a peer proposes: coordinates by name; those of inactive parameters may be there or not."""


class Session(Protocol):
    """One run of a method. Several asks may come before a tell."""

    def ask(self) -> Config | None:
        """Return the configuration to measure next, or ``None`` when nothing is left to try."""

    def tell(self, config: Config, measurement: Measurement) -> None:
        """Learn what came of a configuration that was asked for."""

    def close(self) -> None:
        """Let go of processes and files."""


class Method(Protocol):
    """A way to search.

    Attributes:
        name: For reports; names its options too.
    """

    name: str

    def start(self, problem: Problem, seed: int, budget: int) -> Session:
        """Begin a run of ``budget`` trials; only space and objective of the problem may be looked at."""


@dataclass(frozen=True)
class Coordinate:
    """Show one parameter to a peer: ranks of ordered levels, a choice of unordered ones, or a real number.

    Args:
        parameter: That it stands for.
    """

    parameter: Parameter

    @property
    def name(self) -> str:
        """Of the parameter."""
        return self.parameter.name

    @property
    def real(self) -> bool:
        """Whether it is a real number between ``low`` and ``high`` of the parameter."""
        return isinstance(self.parameter, Float) and not self.parameter.discrete

    @property
    def logarithmic(self) -> bool:
        """Whether a real number varies by factors."""
        return isinstance(self.parameter, Float) and self.parameter.scale != "linear"

    @property
    def ordered(self) -> bool:
        """Whether ranks mean something."""
        return self.parameter.ordered

    @property
    def size(self) -> int:
        """How many levels there are."""
        return len(self.parameter.levels)

    def value(self, coordinate: Any) -> Value:
        """Return the parameter's value for a rank or a real number."""
        if self.real:
            assert isinstance(self.parameter, Float)
            return min(max(float(coordinate), self.parameter.low), self.parameter.high)
        return self.parameter.levels[int(coordinate)]

    def coordinate(self, value: Value) -> int | float:
        """Return the rank or the real number of a value."""
        return float(value) if self.real else self.parameter.level_of(value)


class Adapter:
    """Share what every peer is given: the default first, refusals, the nearest allowed, costs.

    A subclass defines :meth:`propose` and :meth:`learn`, and :meth:`refused` where it can be told.

    Args:
        problem: Its space and objective.
        seed: Of the run.
        budget: Trials of the run.
    """

    def __init__(self, problem: Problem, seed: int, budget: int) -> None:
        self.space, self.objective = problem.space, problem.objective
        self.seed, self.budget = seed, budget
        every = {p.name: Coordinate(p) for p in self.space}
        self.coordinates = {name: c for name, c in every.items() if c.size > 1}
        self.fixed = {name: c.parameter.levels[0] for name, c in every.items() if c.size == 1}
        self.pending: list[Config] = []
        self.tickets: dict[str, list[Any]] = {}
        self.refusals = 0
        self._begun = False

    def propose(self) -> tuple[Point, Any]:
        """Return the peer's next point and its handle of it."""
        raise NotImplementedError

    def learn(self, config: Config, measurement: Measurement, ticket: Any) -> None:
        """Tell the peer; ``ticket`` is its handle, or ``None`` where it did not propose this one."""
        raise NotImplementedError

    def refused(self, point: Point, ticket: Any) -> None:
        """Tell the peer that a point is not in the space."""

    def close(self) -> None:
        """Let go of nothing by default."""

    def ask(self) -> Config:
        """Return the default configuration, then what the peer proposes."""
        config, ticket = (self.space.default_config, None) if not self._begun else self._proposed()
        self._begun = True
        self.pending.append(config)
        self.tickets.setdefault(config_key(config), []).append(ticket)
        return config

    def _proposed(self) -> tuple[Config, Any]:
        last: Point | None = None
        for _ in range(RETRIES):
            point, ticket = self.propose()
            config = self.config_of(point)
            if config is not None:
                return config, ticket
            self.refusals += 1
            self.refused(point, ticket)
            if point == last:  # it cannot be told, and would say the same again and again
                break
            last = point
        return self.nearest(point), None

    def tell(self, config: Config, measurement: Measurement) -> None:
        """Pass on what came of a configuration."""
        self.pending.remove(config)
        self.learn(config, measurement, self.tickets[config_key(config)].pop(0))

    def config_of(self, point: Mapping[str, Any]) -> Config | None:
        """Return the configuration of a point, or ``None`` where it is not in the space."""
        values = self._values(point)
        try:
            return self.space.validate(values)
        except SpecError:
            return None  # a refusal, not an error: the peer is told

    def point_of(self, config: Config) -> Point:
        """Return the coordinates of a configuration; inactive parameters are left out."""
        return {n: c.coordinate(config[n]) for n, c in self.coordinates.items() if n in config}

    def full_point_of(self, config: Config) -> Point:
        """Return the coordinates of a configuration, inactive parameters at their defaults."""
        return {n: c.coordinate(config.get(n, c.parameter.fallback)) for n, c in self.coordinates.items()}

    def nearest(self, point: Mapping[str, Any]) -> Config:
        """Return the allowed configuration with the least sum of relative distances in ranks."""
        return nearest_config(self.space, self._values(point))

    def _values(self, point: Mapping[str, Any]) -> Config:
        return self.fixed | {name: self.coordinates[name].value(at) for name, at in point.items()}

    @cached_property
    def sign(self) -> float:
        """What turns the goal into a cost."""
        return -self.objective.goals[0].sign

    def cost(self, measurement: Measurement) -> float:
        """Return the goal as a cost, by its logarithm where it is positive, as our own engines see it."""
        value = measurement.metrics[self.objective.goals[0].metric].value
        return self.sign * (math.log(value) if value > 0 else value)

    def violations(self, measurement: Measurement) -> list[float]:
        """Return for each limit by how much it is broken; at most 0 where it is kept."""
        return [limit.violation(measurement.metrics[limit.metric].value) for limit in self.objective.limits]


class Penalty:
    """Turn failures and broken limits into costs, for peers that know neither.

    What fails costs as much as the worst seen; what breaks a limit costs the worst seen that keeps all, plus
    by how much it breaks them. Failures before the first success are held back until there is a worst.
    """

    def __init__(self) -> None:
        self.costs: list[float] = []
        self.held: list[Any] = []

    def weigh(self, cost: float, violations: list[float]) -> float:
        """Return the cost of a completed trial."""
        excess = sum(v for v in violations if v > 0)
        worst = max(self.costs, default=cost)
        paid = cost if excess == 0 else max(cost, worst) + excess
        self.costs.append(paid)
        return paid

    @property
    def worst(self) -> float | None:
        """The highest cost so far, or ``None`` before the first."""
        return max(self.costs, default=None)


def nearest_config(space: Space, values: Mapping[str, Value]) -> Config:
    """Return the allowed configuration nearest to ``values``: in ranks, a whole step for another category."""
    parameters = space.parameters
    wished = np.array(
        [p.level_of(values[p.name]) if p.name in values else INACTIVE for p in parameters], dtype=np.int32
    )
    costs = {}
    for i, (p, at) in enumerate(zip(parameters, wished, strict=True)):
        levels = np.arange(len(p.levels))
        far = np.abs(levels - at) / max(1, len(p.levels) - 1) if p.ordered else (levels != at).astype(float)
        costs[i] = np.zeros(len(levels)) if at == INACTIVE else far
    if space.configurations is None:
        found = space.constraint_graph.nearest(np.maximum(wished, 0), costs)
        if found is not None and keeps_residual(space.constraint_graph, found[None])[0]:
            return space.as_table(found[None]).config(0)
    table = space.table() or space.as_table(space.draw(4096, np.random.default_rng(0)))
    distance = np.zeros(len(table))
    for i, cost in costs.items():
        column = table.indices[:, i]
        distance += np.where(column == INACTIVE, 0.0, cost[np.maximum(column, 0)])
    return table.config(int(np.argmin(distance)))
