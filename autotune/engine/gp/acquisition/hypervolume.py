"""Log noisy expected hypervolume improvement: the acquisition of several goals.

What is known is sampled jointly, at measured and pending points; each sample has its own Pareto front. Given
a sample a candidate's goals are independent normal variables, and the region that no front point dominates
is a union of boxes, so that the expected gain is a sum over boxes of products of one-dimensional expected
improvements: exact, where the usual estimate draws the candidate too.

The reference point lies a tenth of the range below the worst of the front and of the default configuration,
goal by goal, on the models' scale (logarithms of positive metrics): a candidate that gains one goal by
giving up more of the other than the default did is worth nothing.

References:
    [Daulton2021] S. Daulton, M. Balandat, E. Bakshy, "Parallel Bayesian optimization of multiple noisy
        objectives with expected hypervolume improvement", NeurIPS 2021.
    [Yang2019] K. Yang, M. Emmerich, A. Deutz, T. Bäck, "Efficient computation of expected hypervolume
        improvement using box decomposition algorithms", J. Global Optimization 75 (2019).
    [Ament2023] as in :mod:`autotune.engine.gp.acquisition.noisy_improvement`.
    [Knowles2006] J. Knowles, "ParEGO", IEEE Transactions on Evolutionary Computation 10 (2006).
"""

from __future__ import annotations

import math

import torch
from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning
from botorch.utils.multi_objective.pareto import is_non_dominated
from botorch.utils.safe_math import log1mexp
from torch import Tensor

from autotune.engine.gp.acquisition.contract import Scorer, checked
from autotune.engine.gp.acquisition.noisy_improvement import log_excess, log_expected_improvement
from autotune.engine.gp.config import DEFAULT
from autotune.engine.gp.model.candidate_table import CandidateTable
from autotune.engine.gp.model.conditioning import Sampled
from autotune.engine.gp.model.fitted_models import FittedModels
from autotune.engine.gp.model.shapes import check_shapes

SAMPLES = 32
"""Joint samples of what is known, as for one goal."""

_DIRECTIONS = 16  # trade-offs whose best candidates are compared exactly
_CHUNK = 128  # candidates at once: all boxes of all samples of them stay in the cache


class LogHypervolumeImprovement:
    """Expected hypervolume that a candidate adds to the Pareto front.

    Args:
        models: The models of at least two goals.
        seed: Seed of directions and joint samples.
    """

    failure_cost = 0.0

    def __init__(self, models: FittedModels, seed: int) -> None:
        self.models, self.seed, self.augment = models, seed, models.config.augment
        means = torch.stack([goal.surrogate.predict(models.measured)[0] for goal in models.goals], -1)
        self.front = means[models.observed]
        self.front = self.front[is_non_dominated(self.front)]
        self.reference = reference_point(
            self.front if len(self.front) else means,
            means[models.default_rows],
            models.config.reference_margin,
        )
        generator = torch.Generator().manual_seed(seed)
        exponential = -torch.rand(_DIRECTIONS, means.shape[1], generator=generator, dtype=means.dtype).log()
        self.weights = exponential / exponential.sum(1, keepdim=True)  # uniform on the simplex

    def rough(self, grid: CandidateTable, rows: Tensor, X_pending: Tensor) -> Tensor:
        """Return how far optimistic values exceed the front, ``directions x len(rows)``.

        Each direction is an augmented Chebyshev scalarization ([Knowles2006]) from the reference point.
        """
        optimistic = []
        for goal in self.models.goals:
            means, variances = goal.surrogate.on_grid(grid, rows, X_pending)
            w = goal.surrogate.log_weights.exp()
            optimistic.append(w @ means + (w @ variances).sqrt())
        found = self._along(torch.stack(optimistic, -1))
        best = self._along(self.front if len(self.front) else self.reference.unsqueeze(0)).amax(1)
        return log_excess(found - best.unsqueeze(-1))

    def _along(self, values: Tensor) -> Tensor:
        """Return the scalarizations of ``n x m`` values, ``directions x n``."""
        above = values - self.reference
        lowest = (self.weights[:, None, 0] * above[:, 0]).clone()
        total = lowest.clone()
        for j in range(1, values.shape[1]):
            part = self.weights[:, None, j] * above[:, j]
            lowest, total = torch.minimum(lowest, part), total + part
        return lowest + self.augment * total

    def scorer(self, shortlist: Tensor, X_pending: Tensor) -> Scorer:
        """Return the exact gain; the shortlist does not matter to it."""
        check_shapes(
            "LogHypervolumeImprovement.scorer",
            ("shortlist", shortlist, "n d"),
            ("X_pending", X_pending, "m d"),
            d=self.models.measured.shape[1],
        )
        models = self.models
        points = torch.cat([models.measured, X_pending])
        eligible = torch.cat([models.observed, models.kept(X_pending)])
        known = [
            Sampled(goal.surrogate, points, goal.surrogate.log_weights, SAMPLES, self.seed + j)
            for j, goal in enumerate(models.goals)
        ]
        values = torch.stack([sampled.values for sampled in known], -1)[:, eligible]
        lower, upper = boxes(values, self.reference)

        def score(X: Tensor) -> Tensor:
            return torch.cat([_log_gain(known, chunk, lower, upper) for chunk in X.split(_CHUNK)])

        return checked(score, models.measured.shape[1])


def _log_gain(known: list[Sampled], X: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Return the log expected gain of ``X`` (``n x d``) over samples and boxes, shape ``n``."""
    total: Tensor | float = 0.0
    for j, sampled in enumerate(known):
        means, variances = sampled.moments(X)
        mean, variance = means.unsqueeze(-1), variances[sampled.member].unsqueeze(-1)  # s x n x 1
        length = log_expected_improvement(mean, variance, lower[:, None, :, j])
        if not bool(upper[..., j].isinf().all()):
            beyond = log_expected_improvement(mean, variance, upper[:, None, :, j])
            length = length + log1mexp((beyond - length).clamp_max(-1e-300))
        total = total + length
    assert isinstance(total, Tensor)  # noqa: S101 - there is a goal
    return total.logsumexp(2).logsumexp(0) - math.log(len(lower))


def reference_point(front: Tensor, default: Tensor, margin: float = DEFAULT.reference_margin) -> Tensor:
    """Return the point from which the hypervolume is measured, shape ``m``.

    Args:
        front: Values that no other dominates, ``n x m``.
        default: Values of the default configuration, ``1 x m``; empty when it was not measured.
        margin: Part of the range below the worst ([Ishibuchi2011] as cited by BoTorch).
    """
    points = torch.cat([front, default])
    low, high = points.amin(0), points.amax(0)
    span = torch.where(high > low, high - low, torch.ones_like(low))
    return low - margin * span


def boxes(values: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Return the corners of boxes that fill what no point dominates, each ``s x c x m``.

    Args:
        values: Values of the points, a set for each sample: ``s x n x m``.
        reference: Lower end in each goal, shape ``m``.
    """
    if values.shape[2] == 2:
        return _strips(values, reference)
    lower, upper = [], []
    for points in values:
        partition = FastNondominatedPartitioning(reference, Y=points)
        low, high = partition.get_hypercell_bounds()
        lower.append(low)
        upper.append(high)
    count = max(len(low) for low in lower)

    def padded(found: list[Tensor]) -> Tensor:  # boxes without volume
        rest = [reference.expand(count - len(f), -1) for f in found]
        return torch.stack([torch.cat(pair) for pair in zip(found, rest, strict=True)])

    return padded(lower), padded(upper)


def _strips(values: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Return the boxes of two goals: one strip above each step of the front and one beyond it."""
    samples, n, _ = values.shape
    values = torch.maximum(values, reference)  # what lies below adds nothing
    order = values[..., 0].argsort(dim=1)
    first, second = (values[..., j].gather(1, order) for j in (0, 1))
    after = torch.full((samples, n + 1), float(reference[1]), dtype=values.dtype)
    after[:, :-1] = torch.maximum(second.flip(1).cummax(1).values.flip(1), reference[1]) if n else 0.0
    steps = second > after[:, 1:]
    width = int(steps.sum(1).max()) if n else 0
    # those that are no step of the front go first, as strips without width
    kept = torch.where(steps, torch.arange(n), -1).sort(dim=1).values[:, n - width :]
    real = kept >= 0
    x = torch.where(real, first.gather(1, kept.clamp_min(0)), reference[0])
    y = torch.where(real, second.gather(1, kept.clamp_min(0)), reference[1])
    column = torch.ones(samples, 1, dtype=values.dtype)
    infinite = math.inf * column
    lower = torch.stack(
        [torch.cat([reference[0] * column, x], 1), torch.cat([y, reference[1] * column], 1)], -1
    )
    upper = torch.stack([torch.cat([x, infinite], 1), math.inf * torch.ones(samples, width + 1).to(x)], -1)
    return lower, upper
