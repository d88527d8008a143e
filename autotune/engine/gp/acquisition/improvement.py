"""Log noisy expected improvement as the acquisition of one goal."""

from __future__ import annotations

import torch
from torch import Tensor

from autotune.engine.gp.acquisition.contract import Acquisition, Scorer, checked, failure_cost
from autotune.engine.gp.acquisition.hypervolume import LogHypervolumeImprovement
from autotune.engine.gp.acquisition.noisy_improvement import (
    NoisyImprovement,
    log_expected_improvement,
    rough_log_improvement,
)
from autotune.engine.gp.model.candidate_table import CandidateTable
from autotune.engine.gp.model.fitted_models import FittedModels
from autotune.engine.gp.model.shapes import check_shapes


def automatic(models: FittedModels, seed: int) -> Acquisition:
    """Return the improvement of the one goal, or of the hypervolume of several."""
    return (LogImprovement if len(models.goals) == 1 else LogHypervolumeImprovement)(models, seed)


class LogImprovement:
    """Expected improvement of a candidate upon the best feasible configuration.

    Args:
        models: The models.
        seed: Seed of the joint samples.
    """

    def __init__(self, models: FittedModels, seed: int) -> None:
        self.models, self.seed = models, seed
        self.failure_cost = failure_cost(models)
        each, _ = models.goal.surrogate.each(models.measured)
        self.known = each.amin(1) if models.seeking_feasible else each[:, models.observed].amax(1)

    def rough(self, grid: CandidateTable, rows: Tensor, X_pending: Tensor) -> Tensor:
        """Return the improvement upon the incumbent's mean, ``1 x len(rows)``."""
        goal = self.models.goal.surrogate
        means, variances = goal.on_grid(grid, rows, X_pending)
        improvement = rough_log_improvement if grid.coarse else log_expected_improvement
        return goal.mix(improvement(means, variances, self.known.unsqueeze(-1))).unsqueeze(0)

    def scorer(self, shortlist: Tensor, X_pending: Tensor) -> Scorer:
        """Return the exact noisy improvement; the shortlist does not matter to it."""
        check_shapes(
            "LogImprovement.scorer",
            ("shortlist", shortlist, "n d"),
            ("X_pending", X_pending, "m d"),
            d=self.models.measured.shape[1],
        )
        models = self.models
        goal = models.goal
        eligible = torch.cat([models.observed, models.kept(X_pending)])
        floor = float(goal.series.Y.min())
        samples = goal.surrogate.joint_samples(X_pending, self.seed)
        each = [NoisyImprovement(known, eligible, floor) for known in samples]

        def score(X: Tensor) -> Tensor:
            return goal.surrogate.mix(torch.stack([improvement(X) for improvement in each]))

        return checked(score, models.measured.shape[1])
