"""Joint samples of what a study may still find: of goals, limits and what can be measured at all.

The samples are drawn wider than the model says: by a constant, by more where leaving out each trial shows
that it is too sure of itself, and with the tails of Student's t, because the variance itself is known from
few trials only ([Shah2014]).

References:
    [Shah2014] A. Shah, A. G. Wilson, Z. Ghahramani, "Student-t processes as alternatives to Gaussian
        processes", AISTATS 2014.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from autotune.core.table import Table
from autotune.core.trial import Config, Trial
from autotune.engine.gp.choices import StoppingConfig
from autotune.engine.gp.model.candidate_table import CandidateTable
from autotune.engine.gp.model.fitted_models import FittedModels, Modelled
from autotune.engine.gp.model.leave_one_out import leave_one_out
from autotune.engine.gp.model.memory import known_out_of_memory
from autotune.engine.gp.model.posterior import cholesky
from autotune.engine.gp.optimize.candidates import candidates, scored_whole
from autotune.engine.gp.problem import Problem

SAMPLES = 512
"""Joint samples: the 90 % quantile of the gap is then exact to a few per cent of itself."""

Criteria = Callable[[CandidateTable, Tensor], Tensor]
"""Says how promising some rows of a grid are by several criteria, ``c x len(rows)``, logarithms of values."""

_TOP = 256  # candidates sampled for being the most promising
_SPREAD = 128  # and from all the others, the further down the fewer, for the many that may each be the best
_CHECKED = 8192  # candidates whose limits are computed
_ROUNDS, _LEADERS = 4, 5  # of looking beside the most promising ones of a space too large to enumerate
_LEAST_CHANCE = 1e-3  # of keeping every limit: less is not sampled


def promising(
    problem: Problem,
    best: Sequence[Config],
    models: FittedModels,
    criteria: Criteria,
    rng: np.random.Generator,
) -> Tensor:
    """Return untried configurations of which one may be the best, ``m x d``.

    Args:
        problem: Problem to propose for.
        best: The best configurations found.
        models: The models.
        criteria: Criteria by which candidates are promising.
        rng: Random generator of the random part of a large space.
    """
    leaders = list(best)
    for _ in range(1 if scored_whole(problem.space, problem.config) is not None else _ROUNDS):
        table = candidates(problem.space, problem.tried, leaders, rng, config=problem.config)
        rows, X = _ranked(table, problem.history, models, criteria)
        leaders = [*best, *table.configs(rows[:_LEADERS])]  # a large space is climbed by their neighbours
    return X


def _ranked(
    table: Table, history: Sequence[Trial], models: FittedModels, criteria: Criteria
) -> tuple[list[int], Tensor]:
    """Return the rows that may be the best, the most promising first, and the encodings of some of them."""
    rows = torch.from_numpy(np.flatnonzero(~known_out_of_memory(table, history)))
    if not len(rows):
        return [], models.X[:0]
    grid = CandidateTable(models.encoder, table)
    score = criteria(grid, rows)
    checked = score.topk(min(max(1, _CHECKED // len(score)), len(rows)), dim=1).indices.unique()
    X = grid.encode(rows[checked])
    chance = models.feasibility.log_probability(X) + models.log_limits(X)
    final = (score[:, checked] + chance).masked_fill(chance < math.log(_LEAST_CHANCE), -math.inf)
    place = (
        final.argsort(dim=1, descending=True).argsort(dim=1).amin(0)
    )  # by the criterion that likes it best
    order = place.argsort(stable=True)
    best = order[final.amax(0)[order].isfinite()]
    if len(best) > _TOP + _SPREAD:
        steps = torch.logspace(math.log10(_TOP), math.log10(len(best) - 1), _SPREAD, dtype=X.dtype)
        best = torch.cat([best[:_TOP], best[steps.round().long().unique()]])
    return rows[checked][best].tolist(), X[best]


def draws(modelled: Modelled, points: Tensor, generator: torch.Generator, choices: StoppingConfig) -> Tensor:
    """Return joint samples of a quantity at some points (``n x d``), standardized, ``SAMPLES x n``."""
    surrogate = modelled.surrogate
    means, _ = surrogate.each(points)
    covariances = surrogate.covariance(points, points)
    shares = (surrogate.log_weights.exp().cumsum(0) * SAMPLES).round().long()
    starts = [0, *shares[:-1].tolist()]
    widths = _widths(modelled, generator, choices)
    result = torch.empty(SAMPLES, len(points), dtype=points.dtype)
    for k, (start, end) in enumerate(zip(starts, shares.tolist(), strict=True)):
        if end > start:
            normal = torch.randn(end - start, len(points), generator=generator, dtype=points.dtype)
            root = cholesky(0.5 * (covariances[k] + covariances[k].mT))
            result[start:end] = means[k] + widths[start:end].unsqueeze(-1) * (normal @ root.mT)
    return result


def _widths(modelled: Modelled, generator: torch.Generator, choices: StoppingConfig) -> Tensor:
    """Return by how much each sample's deviation is wider than the model says, shape ``SAMPLES``."""
    n = len(modelled.series.Y)
    left_out = leave_one_out(modelled.surrogate)
    factor = choices.widen**2
    if left_out is not None:
        scores = torch.special.ndtri(left_out.ranks.clamp(1e-9, 1 - 1e-9))
        own = choices.prior_trials
        factor *= max(1.0, (own + float(scores.square().sum())) / (own + n))
    normal = torch.randn(SAMPLES, n, generator=generator, dtype=torch.float64)
    return (factor * n / normal.square().sum(1)).sqrt()


def kept(models: FittedModels, points: Tensor, generator: torch.Generator) -> Tensor:
    """Return for each sample which points can be measured and keep every limit, ``SAMPLES x n``.

    One uniform number decides in a sample about all points: what fails does so beyond a border that is not
    known, so that of many doubtful neighbours not some will do by luck.
    """
    uniform = torch.rand(SAMPLES, 1, generator=generator, dtype=points.dtype)
    found = uniform < models.feasibility.log_probability(points).exp()
    for limit in models.limits:
        found &= draws(limit, points, generator, models.config.stopping) <= limit.series.standardize(0.0)
    return found
