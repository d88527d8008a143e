"""How much is left to gain of one goal: the posterior distribution of the best possible over the best found.

Joint samples of the goal, the limits and what can be measured at all, over the candidates that may be the
best, give the gap between the best of each sample and the configuration that would be recommended in the
same sample: the simple regret, whose quantile is the bound that is stated. One more trial is worth what the
best single candidate gains over everything measured, on average over the same samples.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from autotune.core import ranking
from autotune.core.objective import Objective
from autotune.core.trial import config_key
from autotune.engine.gp.acquisition.noisy_improvement import log_expected_improvement
from autotune.engine.gp.model.candidate_table import CandidateTable
from autotune.engine.gp.model.fitted_models import FittedModels, Modelled
from autotune.engine.gp.problem import Problem
from autotune.engine.gp.regret.gap import Gap
from autotune.engine.gp.regret.samples import draws, kept, promising


def gap_of_goal(problem: Problem) -> Gap:
    """Return what is left of a problem with one goal; something feasible must be among the trials."""
    rng = np.random.default_rng([problem.seed, len(problem.history)])
    choices = problem.config.stopping
    best = ranking.best(problem.history, problem.objective)
    assert best is not None  # noqa: S101 - asked before
    models = FittedModels(problem, rng)
    measured = [models.data.configs[row] for row in models.goal.series.rows]
    at = [config_key(config) for config in measured].index(config_key(best.config))
    incumbent, _ = models.goal.surrogate.each(models.measured[at : at + 1])

    def criterion(grid: CandidateTable, rows: Tensor) -> Tensor:
        surrogate = models.goal.surrogate
        means, variances = surrogate.on_grid(grid, rows, models.X[:0])
        return surrogate.mix(
            log_expected_improvement(means, variances * choices.widen**2, incumbent)
        ).unsqueeze(0)

    untried = promising(problem, [best.config], models, criterion, rng)
    points = torch.cat([models.measured, untried])
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    goal = draws(models.goal, points, generator, choices)
    allowed = kept(models, points, generator)
    n = len(models.measured)
    scale = _Scale(models.goal, problem.objective, best.metrics[problem.objective.goals[0].metric].value)
    value = goal[:, at]
    found = torch.where(allowed, goal, -math.inf)
    gaps = scale.percent((found.amax(1) - value).clamp_min(0.0))
    known = torch.maximum(value, found[:, :n].amax(1)).unsqueeze(-1)
    gains = scale.percent((found[:, n:] - known).clamp_min(0.0)).mean(0)
    noise = models.goal.surrogate.mean_noise
    return Gap(
        gaps,
        float(gains.max()) if len(gains) else 0.0,
        float(scale.percent(torch.tensor(math.sqrt(noise), dtype=goal.dtype))),
        choices=choices,
    )


class _Scale:
    """A scale in per cent of the goal of the best configuration."""

    def __init__(self, goal: Modelled, objective: Objective, value: float) -> None:
        self.logarithm, self.maximize = goal.series.logarithm, objective.goals[0].maximize
        # where the goal may be 0 or change its sign, its own spread is the smallest measure of it
        self.scale = goal.series.scale / (1.0 if self.logarithm else max(abs(value), goal.series.scale))

    def percent(self, differences: Tensor) -> Tensor:
        """Return what a value may rise by, or fall by where the goal is minimized; shape as given."""
        apart = differences * self.scale
        if not self.logarithm:
            return 100 * apart
        return 100 * (apart.clamp_max(30.0).expm1() if self.maximize else -(-apart).expm1())
