"""SMAC3 by ask and tell: ``smac`` (random forest, its facade for hyperparameters), ``smac:blackbox`` (GP).

Ordered parameters are integers of ranks, unordered ones categorical, conditions on one parameter native;
others are proposed and dropped. Costs are positive, as the logarithmic encoder of the facade wants them. SMAC
knows neither limits nor failures without a cost: both are penalized. The model is fitted again after every
trial, where the default waits for eight, unless proposals may be refused: then it goes on down its list of
challengers. Running configurations are never proposed again.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import ConfigSpace
from smac import BlackBoxFacade, HyperparameterOptimizationFacade, Scenario
from smac.runhistory.dataclasses import TrialInfo, TrialValue

from autotune.core.measurement import Measurement
from autotune.core.parameter import Float
from autotune.core.trial import Config
from benchmarks.methods.base import Adapter, Coordinate, Penalty, Point
from benchmarks.problems.base import Problem

FACADES = {"": HyperparameterOptimizationFacade, "blackbox": BlackBoxFacade}


class SmacSession(Adapter):
    """Ask and tell a facade; its files go to a folder that is deleted."""

    def __init__(self, problem: Problem, seed: int, budget: int, facade: str) -> None:
        super().__init__(problem, seed, budget)
        warnings.simplefilter("ignore")
        self.folder = Path(tempfile.mkdtemp(prefix="smac-"))
        self.configspace = self._configspace()
        scenario = Scenario(
            self.configspace,
            output_directory=self.folder,
            deterministic=True,
            n_trials=budget,
            seed=seed,
        )
        kind = FACADES[facade]
        free = not self.space.constraints and self.space.configurations is None
        self.smac = kind(
            scenario,
            config_selector=kind.get_config_selector(scenario, retrain_after=1 if free else 8),
            overwrite=True,
            logging_level=False,
        )
        self.penalty = Penalty()
        self.began = False

    def _configspace(self) -> ConfigSpace.ConfigurationSpace:
        space = ConfigSpace.ConfigurationSpace(seed=self.seed)
        space.add([_hyperparameter(c) for c in self.coordinates.values()])
        for name, coordinate in self.coordinates.items():
            condition = coordinate.parameter.condition
            if condition is None or len(condition.names()) != 1:
                continue
            (parent,) = condition.names()
            if parent in self.coordinates:
                levels = self.coordinates[parent].parameter.levels
                active = [i for i, value in enumerate(levels) if condition.holds({parent: value})]
                if 0 < len(active) < len(levels):
                    space.add(ConfigSpace.InCondition(space[name], space[parent], active))
        return space

    def propose(self) -> tuple[Point, TrialInfo]:
        """Return the next trial."""
        info = self.smac.ask()
        self.began = True
        return {name: _plain(at) for name, at in dict(info.config).items()}, info

    def learn(self, config: Config, measurement: Measurement, ticket: Any) -> None:
        """Tell the cost, penalized where it has to be."""
        if ticket is None:
            # another seed than SMAC's own would make it wait for trials that are never asked for
            intensifier = self.smac.intensifier
            seed = intensifier.get_instance_seed_keys_of_interest()[0].seed if self.began else 0
            ticket = TrialInfo(_configuration(self.configspace, self.full_point_of(config)), seed=seed)
        if measurement.failure is not None:
            self.penalty.held.append(ticket)
        else:
            cost = self.penalty.weigh(self.cost(measurement), self.violations(measurement))
            self._tell(ticket, cost)
        if self.penalty.worst is not None:
            while self.penalty.held:
                self._tell(self.penalty.held.pop(0), self.penalty.worst)

    def _tell(self, ticket: TrialInfo, cost: float) -> None:
        self.smac.tell(ticket, TrialValue(cost=math.exp(min(cost, 300.0))), save=False)

    def close(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _plain(at: Any) -> Any:
    return at.item() if hasattr(at, "item") else at


def _configuration(space: ConfigSpace.ConfigurationSpace, values: Point) -> ConfigSpace.Configuration:
    """Return a configuration with the inactive values left out, whatever made them inactive."""
    return ConfigSpace.util.deactivate_inactive_hyperparameters(values, space)


def _hyperparameter(coordinate: Coordinate) -> Any:
    parameter = coordinate.parameter
    if coordinate.real and isinstance(parameter, Float):
        return ConfigSpace.Float(coordinate.name, (parameter.low, parameter.high), log=coordinate.logarithmic)
    if coordinate.ordered:
        return ConfigSpace.Integer(coordinate.name, (0, coordinate.size - 1))
    return ConfigSpace.Categorical(coordinate.name, list(range(coordinate.size)))


class SmacMethod:
    """Start facades.

    Args:
        name: ``smac`` or ``smac:blackbox``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.facade = name.partition(":")[2]

    def start(self, problem: Problem, seed: int, budget: int) -> SmacSession:
        """Begin a run."""
        return SmacSession(problem, seed, budget, self.facade)
