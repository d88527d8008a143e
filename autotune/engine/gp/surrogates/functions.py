"""Surfaces that are a finite set of functions, each of which may be the true one.

Their values are taken for draws of a Gaussian process with the functions' mean and covariance and a small
independent variance at each point, the nugget, for what no function can say. So everything is linear algebra
in as many dimensions as there are functions: a value is its mean plus a standard normal vector times the
deviations of the functions there, and what is known of some points is known of that vector.

References:
    [Letham2019] as in :mod:`autotune.engine.gp.acquisition`: the noisy expected improvement.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from autotune.engine.gp.acquisition import SAMPLES, log_h
from autotune.engine.gp.grid import Grid
from autotune.engine.gp.normal_samples import normal_samples
from autotune.engine.gp.posterior import CHUNK, Moments
from autotune.engine.gp.surrogates.mixture import Mixture

NUGGET = 1e-3
"""Variance of a standardized value that no function can say: more than rounding, less than what matters."""

_CONTENDERS = 8  # measured points that may be the best; more would leave nothing open between few functions


class Functions(Mixture):
    """Hold a set of functions.

    Args:
        X: Encoded configurations that were measured, ``n x d``.
        noise: Variance of one more measurement: that of a typical one and what was learned beside it.
    """

    def __init__(self, X: Tensor, noise: float) -> None:
        self.X, self.variance = X, noise
        self.log_weights = torch.zeros(1, dtype=torch.float64)

    @abstractmethod
    def values(self, X: Tensor) -> Tensor:
        """Return what each function says at ``X`` (``n x d``), ``functions x n`` in double precision.

        ``X`` may be in single precision where a whole table is compared.
        """

    def each(self, X: Tensor) -> Moments:
        """Return the moments at ``X`` (``n x d``), each of shape ``1 x n``."""
        mean, deviations = self._gaussian(X)
        return mean.unsqueeze(0), (deviations.square().sum(0) + NUGGET).unsqueeze(0)

    def covariance(self, X: Tensor, A: Tensor) -> Tensor:
        """Return the posterior covariance of ``X`` (``n x d``) with ``A`` (``m x d``), ``1 x n x m``."""
        _, left = self._gaussian(X)
        _, right = self._gaussian(A)
        same = torch.cdist(X, A, compute_mode="donot_use_mm_for_euclid_dist") == 0.0
        return (left.mT @ right + NUGGET * same).unsqueeze(0)

    def noise(self) -> Tensor:
        """Return the variance of one more measurement beside the noise-free value, shape ``1``."""
        return torch.tensor([self.variance], dtype=torch.float64)

    def on_grid(self, grid: Grid, rows: Tensor, X_pending: Tensor) -> Moments:
        """Return the moments of some candidates; see :class:`autotune.engine.gp.surface.Surface`."""
        with torch.no_grad():
            root = _Known(self._gaussian(X_pending)[1]).root
            means, variances = [], []
            for chunk in rows.split(CHUNK):
                mean, deviations = self._gaussian(grid.encode(chunk).to(grid.dtype))
                means.append(mean)
                variances.append((root @ deviations).square().sum(0) + NUGGET)
            return torch.cat(means).unsqueeze(0), torch.cat(variances).unsqueeze(0)

    def log_improvement(
        self, X: Tensor, X_pending: Tensor, eligible: Tensor, *, seed: int, floor: float
    ) -> Tensor:
        """Return the log noisy expected improvement at ``X`` (``n x d``), shape ``n`` ([Letham2019]).

        As for Gaussian processes, but of the measured points only the leading ones are sampled.
        """
        with torch.set_grad_enabled(X.requires_grad):
            n = len(self.X)
            mean, _ = self._gaussian(self.X)
            leading = mean.masked_fill(~eligible[:n], -math.inf).argsort(descending=True, stable=True)
            leading = leading[: min(_CONTENDERS, int(eligible[:n].sum()))]
            points = torch.cat([self.X[leading], X_pending])
            known = _Known(self._gaussian(points)[1])
            mean, _ = self._gaussian(points)
            apart = known.draw(seed)
            may_lead = torch.cat([torch.ones(len(leading), dtype=torch.bool), eligible[n:]])
            if bool(may_lead.any()):
                incumbent = (mean + apart)[:, may_lead].amax(1, keepdim=True)
            else:
                incumbent = torch.full((len(apart), 1), floor, dtype=torch.float64)
            moved = apart @ known.gain  # SAMPLES x functions
            scores = []
            for chunk in X.split(CHUNK):
                mean, deviations = self._gaussian(chunk)
                deviation = ((known.root @ deviations).square().sum(0) + NUGGET).sqrt()
                z = (mean + moved @ deviations - incumbent) / deviation
                scores.append(torch.logsumexp(log_h(z), 0) + deviation.log() - math.log(len(z)))
            return torch.cat(scores)

    def _gaussian(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean (``n``) and the functions' deviations, scaled so that their squares add up."""
        values = self.values(X)
        mean = values.mean(0)
        return mean, (values - mean) / math.sqrt(max(1, len(values) - 1))


class _Known:
    """Hold what is left of the normal vector once the values at some points are known.

    Args:
        deviations: Of the functions at these points, ``functions x m``.

    Attributes:
        root: Its transpose times itself is the vector's covariance, ``functions x functions``.
        gain: What a value's difference from its mean adds to the vector's mean, ``m x functions``.
    """

    def __init__(self, deviations: Tensor) -> None:
        self.deviations = deviations
        identity = torch.eye(len(deviations), dtype=torch.float64)
        precision = identity + deviations @ deviations.mT / NUGGET
        factor = torch.linalg.cholesky(precision)
        self.root = torch.linalg.solve_triangular(factor, identity, upper=False)
        self.gain = torch.cholesky_solve(deviations, factor).mT / NUGGET

    def draw(self, seed: int) -> Tensor:
        """Return joint samples of the differences of the points' values from their means, ``SAMPLES x m``."""
        functions, m = self.deviations.shape
        normal = normal_samples(SAMPLES, functions + m, seed)
        return normal[:, :functions] @ self.deviations + math.sqrt(NUGGET) * normal[:, functions:]
