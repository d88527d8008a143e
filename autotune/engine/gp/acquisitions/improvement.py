"""Log noisy expected improvement: the acquisition of one goal; see :mod:`autotune.engine.gp.acquisition`."""

from __future__ import annotations

import torch
from torch import Tensor

from autotune.engine.gp.acquisition import log_expected_improvement, rough_log_improvement
from autotune.engine.gp.acquisitions.base import Acquisition, Scorer, price_of_waste
from autotune.engine.gp.acquisitions.hypervolume import LogHypervolumeImprovement
from autotune.engine.gp.belief import Belief
from autotune.engine.gp.grid import Grid


def automatic(belief: Belief, seed: int) -> Acquisition:
    """Return the improvement of the one goal, or of the hypervolume of several."""
    return (LogImprovement if len(belief.goals) == 1 else LogHypervolumeImprovement)(belief, seed)


class LogImprovement:
    """Score by how much better than the best feasible one a candidate is expected to be.

    Args:
        belief: The models.
        seed: Of the joint samples.
    """

    def __init__(self, belief: Belief, seed: int) -> None:
        self.belief, self.seed = belief, seed
        self.price = price_of_waste(belief)
        each, _ = belief.goal.surrogate.each(belief.measured)
        self.known = each.amin(1) if belief.searching else each[:, belief.observed].amax(1)

    def rough(self, grid: Grid, rows: Tensor, X_pending: Tensor) -> Tensor:
        """Return the improvement upon the incumbent's mean, ``1 x len(rows)``."""
        goal = self.belief.goal.surrogate
        means, variances = goal.on_grid(grid, rows, X_pending)
        improvement = rough_log_improvement if grid.coarse else log_expected_improvement
        return goal.mix(improvement(means, variances, self.known.unsqueeze(-1))).unsqueeze(0)

    def scorer(self, shortlist: Tensor, X_pending: Tensor) -> Scorer:
        """Return the exact noisy improvement; the shortlist does not matter to it."""
        belief = self.belief
        goal = belief.goal
        eligible = torch.cat([belief.observed, belief.kept(X_pending)])
        floor = float(goal.series.Y.min())

        def score(X: Tensor) -> Tensor:
            return goal.surrogate.log_improvement(X, X_pending, eligible, seed=self.seed, floor=floor)

        return score
