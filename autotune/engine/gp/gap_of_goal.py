"""How much is left to gain of one goal: the posterior distribution of the best possible over the best found.

Joint samples of the goal, the limits and what can be measured at all, over the candidates that may be the
best, give the gap between the best of each sample and the configuration that would be recommended in the
same sample: the simple regret, whose quantile is the bound that is stated. One more trial is worth what the
best single candidate gains over everything measured, on average over the same samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from autotune.core import ranking
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Trial, config_key
from autotune.engine.gp.acquisition import log_expected_improvement
from autotune.engine.gp.belief import Belief, Modelled
from autotune.engine.gp.gap import Gap
from autotune.engine.gp.grid import Grid
from autotune.engine.gp.joint_samples import WIDEN, draws, kept, promising


def gap_of_goal(
    space: Space, objective: Objective, history: Sequence[Trial], seed: int, surrogate: str
) -> Gap:
    """Return what is left; arguments as of :func:`autotune.engine.gp.remaining.assess`.

    Something feasible must be among the trials.
    """
    rng = np.random.default_rng([seed, len(history)])
    best = ranking.best(history, objective)
    assert best is not None  # noqa: S101 - asked before
    belief = Belief(space, objective, history, rng, surrogate)
    measured = [belief.data.configs[row] for row in belief.goal.series.rows]
    at = [config_key(config) for config in measured].index(config_key(best.config))
    incumbent, _ = belief.goal.surrogate.each(belief.measured[at : at + 1])

    def criterion(grid: Grid, rows: Tensor) -> Tensor:
        surface = belief.goal.surrogate
        means, variances = surface.on_grid(grid, rows, belief.X[:0])
        return surface.mix(log_expected_improvement(means, variances * WIDEN**2, incumbent)).unsqueeze(0)

    untried = promising(space, history, [best.config], belief, criterion, rng)
    points = torch.cat([belief.measured, untried])
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    goal = draws(belief.goal, points, generator)
    allowed = kept(belief, points, generator)
    n = len(belief.measured)
    scale = _Scale(belief.goal, objective, best.metrics[objective.goals[0].metric].value)
    value = goal[:, at]
    found = torch.where(allowed, goal, -math.inf)
    gaps = scale.percent((found.amax(1) - value).clamp_min(0.0))
    known = torch.maximum(value, found[:, :n].amax(1)).unsqueeze(-1)
    gains = scale.percent((found[:, n:] - known).clamp_min(0.0)).mean(0)
    noise = float((belief.goal.surrogate.log_weights.exp() * belief.goal.surrogate.noise()).sum())
    return Gap(
        gaps,
        float(gains.max()) if len(gains) else 0.0,
        float(scale.percent(torch.tensor(math.sqrt(noise), dtype=goal.dtype))),
    )


class _Scale:
    """Turn differences of standardized values into per cent of the goal of the best configuration."""

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
