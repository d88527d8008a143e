"""Models conditioned on pending points (kriging believer) or on posterior samples.

All of it is the conditioning of a Gaussian on some of its coordinates: what the conditioning values are moves
the means, that they are known lowers the covariance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autotune.engine.gp.model.contract import Surrogate
from autotune.engine.gp.model.normal_samples import normal_samples
from autotune.engine.gp.model.posterior import Moments, cholesky
from autotune.engine.gp.model.shapes import check_shapes

LEAST_VARIANCE = 1e-12
"""Of a standardized value: below it rounding decides."""


class Believed:
    """A surrogate conditioned on pending points that gave what is expected of them.

    The means stay, the covariance falls ([Ginsbourger2010], "kriging believer": D. Ginsbourger, R. Le Riche,
    L. Carraro, "Kriging is well-suited to parallelize optimization", 2010).

    Args:
        surrogate: Surrogate as it is now.
        X_pending: The pending points, ``m x d``; there may be none.
    """

    def __init__(self, surrogate: Surrogate, X_pending: Tensor) -> None:
        self.surrogate, self.X_pending = surrogate, X_pending
        if len(X_pending):
            noise = surrogate.noise().view(-1, 1, 1) * torch.eye(len(X_pending), dtype=X_pending.dtype)
            self.factors = roots(surrogate.covariance(X_pending, X_pending) + noise)

    def each(self, X: Tensor) -> Moments:
        """Return the moments at ``X`` (``n x d``) by member, each of shape ``k x n``."""
        means, variances = self.surrogate.each(X)
        if not len(self.X_pending):
            return means, variances
        return means, (variances - self._half(X).square().sum(1)).clamp_min(LEAST_VARIANCE)

    def covariance(self, X: Tensor, A: Tensor) -> Tensor:
        """Return the covariance of ``X`` (``n x d``) with ``A`` (``m x d``) by member, ``k x n x m``."""
        found = self.surrogate.covariance(X, A)
        return found - self._half(X).mT @ self._half(A) if len(self.X_pending) else found

    def _half(self, X: Tensor) -> Tensor:
        cross = self.surrogate.covariance(self.X_pending, X)
        return torch.linalg.solve_triangular(self.factors, cross, upper=False)


class Sampled:
    """Joint samples of a surrogate at some points, and its moments at any other point given each of them.

    Each member gives its share of the samples.

    Args:
        surrogate: Surrogate, or a :class:`Believed` one.
        points: Points at which it is sampled, ``m x d``.
        log_weights: Log weights of the members.
        n: Number of samples.
        seed: Seed of the draws.

    Attributes:
        member: Index of the member that each sample is of, shape ``n``.
        values: The samples, ``n x m``.
    """

    def __init__(
        self, surrogate: Surrogate | Believed, points: Tensor, log_weights: Tensor, n: int, seed: int
    ) -> None:
        check_shapes("Sampled", ("points", points, "m d"), ("log_weights", log_weights, "k"))
        self.surrogate, self.points = surrogate, points
        self.member = shares(log_weights, n, seed)
        self.normal = normal_samples(n, len(points), seed)
        means, _ = surrogate.each(points)
        self.factors = roots(surrogate.covariance(points, points))
        drawn = torch.einsum("sij,sj->si", self.factors[self.member], self.normal)
        self.values = means[self.member] + drawn

    def moments(self, X: Tensor) -> Moments:
        """Return means (``s x n``) and variances (``k x n``) at ``X`` (``n x d``) given each sample."""
        check_shapes("Sampled.moments", ("X", X, "n d"), d=self.points.shape[1])
        means, variances = self.surrogate.each(X)
        cross = self.surrogate.covariance(self.points, X)
        half = torch.linalg.solve_triangular(self.factors, cross, upper=False)  # k x m x n
        given = torch.empty(len(self.member), len(X), dtype=X.dtype)
        for k in range(len(means)):
            mine = self.member == k
            given[mine] = means[k] + self.normal[mine] @ half[k]
        return given, (variances - half.square().sum(1)).clamp_min(LEAST_VARIANCE)


def shares(log_weights: Tensor, n: int, seed: int) -> Tensor:
    """Return which member each of ``n`` samples is of: by their weights as evenly as can be, shuffled."""
    generator = torch.Generator().manual_seed(seed)
    even = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    bounds = log_weights.exp().cumsum(0)[:-1].contiguous()
    return torch.searchsorted(bounds, even)[torch.randperm(n, generator=generator)]


def roots(covariances: Tensor) -> Tensor:
    """Return the lower Cholesky factor of each covariance, ``k x m x m``."""
    return torch.stack([cholesky(0.5 * (c + c.mT)) if len(c) else c for c in covariances])
