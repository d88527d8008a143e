"""Coordinate descent as people tune by hand: one parameter at a time, all its levels, keep the best.

Levels are tried from the nearest to the incumbent's outwards. After a whole round without improvement it
starts again from a random configuration. Failing configurations and broken limits count as worse than all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from autotune.core.measurement import Measurement
from autotune.core.space import Space
from autotune.core.trial import Config, config_key
from autotune.engine.untried import random_untried
from autotune.errors import SpecError
from benchmarks.methods.base import Adapter, Point
from benchmarks.problems.base import Problem

_WIDE = 12  # levels of one parameter that are tried at most: nobody sweeps a thousand values by hand


class CoordinateDescent(Adapter):
    """Search one parameter at a time; nothing is measured twice."""

    def __init__(self, problem: Problem, seed: int, budget: int) -> None:
        super().__init__(problem, seed, budget)
        self.rng = np.random.default_rng([seed, 1])
        self.known: dict[str, float] = {}
        self.asked: set[str] = {config_key(self.space.default_config)}
        self.incumbent = self.space.default_config
        self.waiting: list[str] = []
        self.steps = self._steps()

    def propose(self) -> tuple[Point, None]:
        """Return the next configuration of the sweep."""
        config = next(self.steps)
        self.asked.add(config_key(config))
        return self.point_of(config), None

    def learn(self, config: Config, measurement: Measurement, ticket: None) -> None:
        """Remember the score, and move to a better configuration of the same sweep at its end."""
        failed = measurement.failure is not None or any(v > 0 for v in self.violations(measurement))
        self.known[config_key(config)] = math.inf if failed else self.cost(measurement)

    def _score(self, config: Config) -> float:
        return self.known.get(config_key(config), math.inf)

    def _steps(self) -> Iterator[Config]:
        """Yield configurations; those asked and not yet told when a sweep ends are looked at later."""
        names = list(self.space.names)
        while True:
            start, quiet = self.incumbent, 0
            while quiet < len(names):
                name = names[0]
                names.append(names.pop(0))
                swept = [start]
                for config in _sweep(self.space, start, name):
                    if config_key(config) not in self.asked:
                        yield config
                    swept.append(config)
                best = min(swept, key=self._score)
                quiet = quiet + 1 if self._score(best) >= self._score(start) else 0
                start = best if self._score(best) < self._score(start) else start
            fresh = random_untried(self.space, self.asked, 1, self.rng)
            self.incumbent = fresh[0] if fresh else self.space.sample(1, self.rng)[0]
            self.rng.shuffle(names)
            yield self.incumbent


def _sweep(space: Space, start: Config, name: str) -> list[Config]:
    """Return the allowed configurations that differ from ``start`` in one parameter, nearest levels first.

    A parameter that this one activates takes its default.
    """
    if name not in start:
        return []
    parameter = space[name]
    at = parameter.level_of(start[name])
    order = sorted(range(len(parameter.levels)), key=lambda i: (abs(i - at), i))
    if len(order) > _WIDE:
        order = [order[i] for i in np.unique(np.linspace(0, len(order) - 1, _WIDE + 1).astype(int))]
    found = []
    base = {p.name: p.fallback for p in space} | dict(start)
    for level in order:
        if level != at:
            try:
                found.append(space.validate(base | {name: parameter.levels[level]}))
            except SpecError:
                continue  # not in the space: a person would not start it
    return found


class CoordinateDescentMethod:
    """Start descents.

    Args:
        name: ``coordinate_descent``.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def start(self, problem: Problem, seed: int, budget: int) -> CoordinateDescent:
        """Begin a descent from the default configuration."""
        return CoordinateDescent(problem, seed, budget)
