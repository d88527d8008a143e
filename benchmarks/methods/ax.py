"""Ax through its ``Client``: ``ax``, or ``ax:quality`` and so on for another of its generation methods.

Ordered parameters are integer ranges of ranks, unordered ones unordered choices. Limits are outcome
constraints. A failing configuration is abandoned: Ax does not suggest it again and keeps away from it.
Running trials are conditioned on by Ax itself. Inactive parameters are proposed and dropped.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
from ax.utils.common.logger import set_ax_logger_levels

from autotune.core.measurement import Measurement
from autotune.core.parameter import Float
from autotune.core.trial import Config
from benchmarks.methods.base import Adapter, Coordinate, Point
from benchmarks.problems.base import Problem


class AxSession(Adapter):
    """Ask and tell a client."""

    def __init__(self, problem: Problem, seed: int, budget: int, method: Any) -> None:
        super().__init__(problem, seed, budget)
        set_ax_logger_levels(logging.ERROR)
        warnings.simplefilter("ignore")
        self.client = Client(random_seed=seed)
        self.client.configure_experiment([_configured(c) for c in self.coordinates.values()])
        limits = [f"limit{i} <= 0" for i in range(len(self.objective.limits))]
        self.client.configure_optimization(objective="-cost", outcome_constraints=limits or None)
        self.client.configure_generation_strategy(
            method=method,
            initialization_random_seed=seed,
            initialize_with_center=False,  # everyone starts from the default configuration instead
            allow_exceeding_initialization_budget=True,
        )

    def propose(self) -> tuple[Point, int]:
        """Return the next trial of the client."""
        ((index, parameters),) = self.client.get_next_trials(max_trials=1).items()
        return dict(parameters), index

    def refused(self, point: Point, ticket: Any) -> None:
        """Abandon a point outside the space."""
        self.client.mark_trial_abandoned(ticket)

    def learn(self, config: Config, measurement: Measurement, ticket: Any) -> None:
        """Complete the trial with cost and violations, or abandon it."""
        if ticket is None:
            point = self.full_point_of(config)
            ticket = self.client.attach_trial(
                {n: at if self.coordinates[n].ordered else str(at) for n, at in point.items()}
            )
        if measurement.failure is not None:
            self.client.mark_trial_abandoned(ticket)
            return
        limits = {f"limit{i}": v for i, v in enumerate(self.violations(measurement))}
        self.client.complete_trial(ticket, raw_data={"cost": self.cost(measurement), **limits})


def _configured(coordinate: Coordinate) -> RangeParameterConfig | ChoiceParameterConfig:
    parameter = coordinate.parameter
    if coordinate.real and isinstance(parameter, Float):
        scaling = "log" if coordinate.logarithmic else "linear"
        return RangeParameterConfig(
            coordinate.name, (parameter.low, parameter.high), "float", scaling=scaling
        )
    if coordinate.ordered:
        return RangeParameterConfig(coordinate.name, (0, coordinate.size - 1), "int")
    labels = [str(i) for i in range(coordinate.size)]
    return ChoiceParameterConfig(coordinate.name, labels, "str", is_ordered=False)


class AxMethod:
    """Start clients.

    Args:
        name: ``ax`` or ``ax:METHOD``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.method = name.partition(":")[2] or "fast"

    def start(self, problem: Problem, seed: int, budget: int) -> AxSession:
        """Begin an experiment."""
        return AxSession(problem, seed, budget, self.method)
