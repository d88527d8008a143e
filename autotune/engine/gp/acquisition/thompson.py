"""Thompson sampling: what is best in a joint sample of the surrogate.

Cheap for many picks at once, each from its own sample, and so the way of very wide batches ([Kandasamy2018]).
A sample's value counts by how far it exceeds the sample's best known value, softened so that the order goes
on below it: without limits that is the sample's maximum, with limits gain and probability are traded.

References:
    [Kandasamy2018] K. Kandasamy, A. Krishnamurthy, J. Schneider, B. Poczos, "Parallelised Bayesian
        optimisation via Thompson sampling", AISTATS 2018.
    [Eriksson2021] D. Eriksson, M. Poloczek, "Scalable constrained Bayesian optimization", AISTATS 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autotune.engine.gp.acquisition.contract import Scorer, checked
from autotune.engine.gp.acquisition.noisy_improvement import log_excess
from autotune.engine.gp.model.candidate_table import CandidateTable
from autotune.engine.gp.model.conditioning import Sampled
from autotune.engine.gp.model.fitted_models import FittedModels
from autotune.engine.gp.model.shapes import check_shapes

_OPTIMISM = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
"""Standard deviations above the mean: a sample's maximum is among the first by one of them."""


class Thompson:
    """The value of a candidate in one joint sample for each number of pending points.

    Args:
        models: The models.
        seed: Seed of the samples.
    """

    failure_cost = 0.0

    def __init__(self, models: FittedModels, seed: int) -> None:
        self.models, self.seed = models, seed

    def rough(self, grid: CandidateTable, rows: Tensor, X_pending: Tensor) -> Tensor:
        """Return means with more and more deviations added, ``c x len(rows)``.

        Pending points have no say: each sample stands for itself.
        """
        surrogate = self.models.goal.surrogate
        means, variances = surrogate.on_grid(grid, rows, X_pending[:0])
        w = surrogate.log_weights.exp()
        mean, deviation = w @ means, (w @ variances).sqrt()
        best = self._known()
        return torch.stack([log_excess(mean + factor * deviation - best) for factor in _OPTIMISM])

    def _known(self) -> Tensor:
        mean, _ = self.models.goal.surrogate.predict(self.models.measured)
        return mean[self.models.observed].max() if bool(self.models.observed.any()) else mean.min()

    def scorer(self, shortlist: Tensor, X_pending: Tensor) -> Scorer:
        """Return what scores by a sample over the shortlist, and by its expectation elsewhere."""
        check_shapes(
            "Thompson.scorer",
            ("shortlist", shortlist, "n d"),
            ("X_pending", X_pending, "m d"),
            d=self.models.measured.shape[1],
        )
        joint = Samples(self.models, shortlist, 1, self.seed + len(X_pending))
        return checked(lambda X: joint(X)[0], shortlist.shape[1])


class Samples:
    """Joint samples over a shortlist.

    Args:
        models: The models.
        shortlist: Candidates, ``m x d``.
        n: Number of samples.
        seed: Seed of the draws.
    """

    def __init__(self, models: FittedModels, shortlist: Tensor, n: int, seed: int) -> None:
        surrogate = models.goal.surrogate
        known = models.measured[models.observed]
        self.sampled = Sampled(surrogate, torch.cat([known, shortlist]), surrogate.log_weights, n, seed)
        if len(known):
            self.best = self.sampled.values[:, : len(known)].amax(1, keepdim=True)
        else:
            self.best = torch.full((n, 1), float(models.goal.series.Y.min()), dtype=shortlist.dtype)
        self.shortlisted = self.sampled.values[:, len(known) :]

    def on_shortlist(self) -> Tensor:
        """Return the logarithm of each candidate's value in each sample, ``n x m``."""
        return log_excess(self.shortlisted - self.best)

    def __call__(self, X: Tensor) -> Tensor:
        """Return the same at any ``X`` (``m x d``): what the sample on the shortlist says of it."""
        means, _ = self.sampled.moments(X)
        return log_excess(means - self.best)
