"""How much is left to gain of several goals: the hypervolume that the best possible front adds to that found.

As for one goal (:mod:`autotune.engine.gp.regret.goal`), in joint samples of all goals: the gap of a sample
is what the front of everything that may be measured dominates beyond what the front found dominates, in per
cent of the latter. Hypervolumes are taken on the models' scale (logarithms of positive metrics) from the
reference point of the acquisition.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from autotune.core import ranking
from autotune.core.trial import config_key
from autotune.engine.gp.acquisition.hypervolume import LogHypervolumeImprovement, boxes
from autotune.engine.gp.model.candidate_table import CandidateTable
from autotune.engine.gp.model.fitted_models import FittedModels
from autotune.engine.gp.problem import Problem
from autotune.engine.gp.regret.gap import Gap
from autotune.engine.gp.regret.samples import SAMPLES, draws, kept, promising

_SAMPLES = {2: SAMPLES, 3: 64}  # fronts of more goals are dear: the bound is then exact to a tenth of itself
_FEW = 16
_MOST = 1e4  # per cent: a front of which nothing holds in a sample


def gap_of_front(problem: Problem) -> Gap:
    """Return what is left of a problem with several goals; something feasible must be among the trials."""
    rng = np.random.default_rng([problem.seed, len(problem.history)])
    models = FittedModels(problem, rng)
    front = ranking.undominated_trials(problem.history, problem.objective)
    keys = {trial.key for trial in front}
    acquisition = LogHypervolumeImprovement(models, int(rng.integers(2**31)))

    def criteria(grid: CandidateTable, rows: Tensor) -> Tensor:
        return acquisition.rough(grid, rows, models.X[:0])

    untried = promising(problem, [trial.config for trial in front], models, criteria, rng)
    points = torch.cat([models.measured, untried])
    n, count = len(models.measured), _SAMPLES.get(len(models.goals), _FEW)
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    choices = problem.config.stopping
    # every so many of the samples: the members of a mixture come one after the other
    chosen = torch.arange(0, SAMPLES, SAMPLES // count)
    values = torch.stack([draws(goal, points, generator, choices) for goal in models.goals], -1)[chosen]
    allowed = kept(models, points, generator)[chosen]
    reference = acquisition.reference
    values = torch.where(allowed.unsqueeze(-1), values, reference)  # adds nothing
    recommended = torch.tensor([config_key(models.data.configs[row]) in keys for row in models.rows.tolist()])
    ideal = torch.maximum(values.amax((0, 1)), reference) + 1.0
    found = values[:, :n]
    volume = dominated(found[:, recommended], reference, ideal)
    everything = dominated(values, reference, ideal)
    lower, upper = boxes(found, reference)
    gains = (
        torch.stack([_added(x, lower, upper) for x in values[:, n:].unbind(1)], 1) if len(untried) else None
    )
    noise = torch.tensor([goal.surrogate.mean_noise for goal in models.goals], dtype=found.dtype)
    shaken = found + noise.sqrt() * torch.randn(found.shape, generator=generator, dtype=found.dtype)
    again = dominated(
        torch.where(allowed[:, :n, None], shaken, reference)[:, recommended], reference, ideal + 9
    )
    still = dominated(found[:, recommended], reference, ideal + 9)
    return Gap(
        _percent(everything - volume, volume),
        0.0 if gains is None else float(_percent(gains, volume.unsqueeze(1)).mean(0).max()),
        float(_percent((again - still).abs(), volume).square().mean().sqrt()),
        "of the hypervolume",
        choices,
    )


def _percent(part: Tensor, whole: Tensor) -> Tensor:
    found = 100 * part.clamp_min(0.0) / whole.clamp_min(1e-12)
    return found.clamp_max(_MOST)


def dominated(values: Tensor, reference: Tensor, ideal: Tensor) -> Tensor:
    """Return the hypervolume that points dominate, shape ``s``.

    Args:
        values: Values of the points, a set for each sample: ``s x n x m``.
        reference: Lower end in each goal, shape ``m``.
        ideal: Values no worse than any point's in each goal, shape ``m``.
    """
    lower, upper = boxes(values, reference)
    free = (torch.minimum(upper, ideal) - lower).clamp_min(0.0).prod(-1).sum(-1)
    return math.prod((ideal - reference).tolist()) - free


def _added(points: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Return the hypervolume that one point of each sample (``s x m``) adds to what boxes leave free."""
    return (torch.minimum(upper, points.unsqueeze(1)) - lower).clamp_min(0.0).prod(-1).sum(-1)
