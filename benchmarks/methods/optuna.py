"""Optuna's samplers: ``optuna:tpe``, ``optuna:tpe-multivariate``, ``optuna:gp``, and each with ``-worst``.

Ordered parameters are ``suggest_int`` over their ranks, unordered ones ``suggest_categorical``. A parameter
that is inactive is not suggested by TPE; the GP knows no conditions and suggests all. Limits are constraints.
A failing configuration is told as ``FAIL``, which the samplers leave out; with ``-worst`` it is told as the
worst value and the worst violations seen. TPE has the constant liar on, and groups conditional parameters
where it is multivariate; the GP conditions on running trials by itself.
"""

from __future__ import annotations

import warnings
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from autotune.core.measurement import Measurement
from autotune.core.parameter import Float
from autotune.core.table import expansion_order
from autotune.core.trial import Config
from benchmarks.methods.base import Adapter, Coordinate, Point
from benchmarks.problems.base import Problem

SAMPLERS = ("tpe", "tpe-multivariate", "gp")


class OptunaSession(Adapter):
    """Ask and tell a study in memory."""

    def __init__(self, problem: Problem, seed: int, budget: int, sampler: str, worst: bool) -> None:
        super().__init__(problem, seed, budget)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.worst, self.flat = worst, sampler == "gp"
        self.seen: list[tuple[float, list[float]]] = []
        self.held: list[tuple[Config, Any]] = []
        conditions = any(p.condition is not None for p in self.space)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # experimental arguments warn about themselves
            self.study = optuna.create_study(sampler=_sampler(sampler, seed, conditions))
        self.order = [p.name for p in expansion_order(self.space.parameters) if p.name in self.coordinates]
        self.distributions = {name: _distribution(c) for name, c in self.coordinates.items()}

    def propose(self) -> tuple[Point, Any]:
        """Return the parameters that the sampler suggests, conditions first."""
        trial = self.study.ask()
        point: Point = {}
        values: Config = dict(self.fixed)
        for name in self.order:
            coordinate = self.coordinates[name]
            condition = coordinate.parameter.condition
            if self.flat or condition is None or condition.holds(values):
                point[name] = _suggest(trial, coordinate, self.distributions[name])
                values[name] = coordinate.value(point[name])
        return point, trial

    def refused(self, point: Point, ticket: Any) -> None:
        """Tell a point outside the space as failed."""
        self.study.tell(ticket, state=TrialState.FAIL)

    def learn(self, config: Config, measurement: Measurement, ticket: Any) -> None:
        """Tell value and constraints, or the failure."""
        if measurement.failure is None:
            self.seen.append((self.cost(measurement), self.violations(measurement)))
            self._tell(config, *self.seen[-1], ticket)
            while self.held:
                self._tell_worst(*self.held.pop(0))
        elif self.worst and self.seen:
            self._tell_worst(config, ticket)
        elif self.worst:
            self.held.append((config, ticket))  # there is no worst yet
        elif ticket is not None:
            self.study.tell(ticket, state=TrialState.FAIL)

    def _tell_worst(self, config: Config, ticket: Any) -> None:
        cost = max(cost for cost, _ in self.seen)
        self._tell(
            config, cost, [max(column) for column in zip(*(v for _, v in self.seen), strict=True)], ticket
        )

    def _tell(self, config: Config, cost: float, violations: list[float], ticket: Any) -> None:
        limits = {f"limit{i}": violation for i, violation in enumerate(violations)}
        if ticket is None:  # not what the sampler proposed: the default, or the nearest allowed
            point = self.full_point_of(config) if self.flat else self.point_of(config)
            distributions = {name: self.distributions[name] for name in point}
            self.study.add_trial(
                create_trial(value=cost, params=point, distributions=distributions, constraints=limits)
            )
            return
        for name, violation in limits.items():
            ticket.set_constraint(name, violation)
        self.study.tell(ticket, cost)


def _suggest(trial: Any, coordinate: Coordinate, distribution: Any) -> int | float:
    if coordinate.real:
        return float(
            trial.suggest_float(coordinate.name, distribution.low, distribution.high, log=distribution.log)
        )
    if coordinate.ordered:
        return int(trial.suggest_int(coordinate.name, 0, coordinate.size - 1))
    return int(trial.suggest_categorical(coordinate.name, distribution.choices))


def _sampler(name: str, seed: int, conditions: bool) -> optuna.samplers.BaseSampler:
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed, warn_independent_sampling=False)
    return optuna.samplers.TPESampler(
        seed=seed,
        multivariate=name == "tpe-multivariate",
        group=name == "tpe-multivariate" and conditions,
        constant_liar=True,
    )


def _distribution(coordinate: Coordinate) -> BaseDistribution:
    parameter = coordinate.parameter
    if coordinate.real and isinstance(parameter, Float):
        return FloatDistribution(parameter.low, parameter.high, log=coordinate.logarithmic)
    if coordinate.ordered:
        return IntDistribution(0, coordinate.size - 1)
    return CategoricalDistribution(tuple(range(coordinate.size)))


class OptunaMethod:
    """Start studies.

    Args:
        name: ``optuna:SAMPLER`` or ``optuna:SAMPLER-worst``.

    Raises:
        ValueError: There is no such sampler.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.sampler = name.partition(":")[2].removesuffix("-worst")
        if self.sampler not in SAMPLERS:
            raise ValueError(f"unknown sampler in {name!r}; allowed: {', '.join(SAMPLERS)}, each with -worst")

    def start(self, problem: Problem, seed: int, budget: int) -> OptunaSession:
        """Begin a study."""
        return OptunaSession(problem, seed, budget, self.sampler, self.name.endswith("-worst"))
