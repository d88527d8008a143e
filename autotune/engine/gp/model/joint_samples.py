"""Joint samples of noise-free values, and the posterior at any other point given each of them.

Conditioned on noise-free values at every observed and pending point, a process at a candidate is Gaussian
with a variance that does not depend on those values and a mean that is linear in them. So a few joint samples
of those values, one Cholesky factor and two matrix products say what a table of candidates is worth exactly
as [Letham2019] defines it, at a cost linear in its size.

References:
    [Letham2019] B. Letham, B. Karrer, G. Ottoni, E. Bakshy, "Constrained Bayesian optimization with noisy
        experiments", Bayesian Analysis 14 (2019).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from botorch.models import SingleTaskGP
from torch import Tensor

from autotune.engine.gp.model.contract import Moments
from autotune.engine.gp.model.normal_samples import normal_samples
from autotune.engine.gp.model.posterior import cholesky, covariance_of, solved
from autotune.engine.gp.model.shapes import check_shapes

SAMPLES = 32
"""Joint samples: more change no choice."""

_LEAST_VARIANCE = 1e-12

At: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]


class SamplesOfProcess:
    """Joint samples of one process at its training points and at pending ones.

    Args:
        model: The process.
        X_pending: Points whose values are not known yet, ``m x d``.
        seed: Seed of the samples.

    Attributes:
        values: The samples, training points first, ``SAMPLES x (n + m)``.
    """

    def __init__(self, model: SingleTaskGP, X_pending: Tensor, seed: int) -> None:
        self.model = model
        with torch.no_grad():
            train = model.train_inputs[0]
            self.points = torch.cat([train, X_pending])
            prior = covariance_of(model, torch.arange(len(train)), X_pending)
            self.values = _drawn(model, prior, seed)
            self.factor = cholesky(prior)
            residual = (self.values - model.mean_module.constant).mT
            self.weights = torch.cholesky_solve(residual, self.factor)  # (n + m) x SAMPLES

    def moments(self, X: Tensor) -> Moments:
        """Return the mean at ``X`` (``q x d``) given each sample, ``q x s``, and the deviation, ``q x 1``."""
        check_shapes("SamplesOfProcess.moments", ("X", X, "n d"), d=self.points.shape[1])
        cross = self.model.covar_module(X, self.points).to_dense()
        half = torch.linalg.solve_triangular(self.factor, cross.mT, upper=False)
        prior = self.model.covar_module(X, diag=True)
        deviation = (prior - half.square().sum(0)).clamp_min(_LEAST_VARIANCE).sqrt().unsqueeze(-1)
        return self.model.mean_module.constant + cross @ self.weights, deviation


class SamplesOfMoments:
    """Joint samples of a member that gives means and covariances only.

    Args:
        mean: Posterior mean at the points, shape ``p``.
        covariance: Their posterior covariance, ``p x p``.
        at: Function that gives mean (``q``), variance (``q``) and covariance with the points (``q x p``) of
            any ``X``.
        seed: Seed of the samples.
    """

    def __init__(self, mean: Tensor, covariance: Tensor, at: At, seed: int) -> None:
        self.at = at
        self.factor = cholesky(0.5 * (covariance + covariance.mT))
        self.normal = normal_samples(SAMPLES, len(mean), seed).to(mean)
        self.values = mean + self.normal @ self.factor.mT

    def moments(self, X: Tensor) -> Moments:
        """Return the mean at ``X`` (``q x d``) given each sample, ``q x s``, and the deviation, ``q x 1``."""
        mean, variance, cross = self.at(X)
        half = torch.linalg.solve_triangular(self.factor, cross.mT, upper=False)  # p x q
        deviation = (variance - half.square().sum(0)).clamp_min(_LEAST_VARIANCE).sqrt().unsqueeze(-1)
        return mean.unsqueeze(-1) + (self.normal @ half).mT, deviation


def _drawn(model: SingleTaskGP, prior: Tensor, seed: int) -> Tensor:
    """Return joint samples of the posterior at some points, ``SAMPLES x p``.

    Args:
        model: The process; its training points come first among the points.
        prior: Covariance of the points before anything was measured, ``p x p``.
        seed: Seed of the samples.
    """
    factor, weights = solved(model)
    cross = prior[:, : len(factor)]
    half = torch.linalg.solve_triangular(factor, cross.mT, upper=False)
    mean = model.mean_module.constant + cross @ weights
    covariance = prior - half.mT @ half
    covariance = (covariance + covariance.mT).mul_(0.5)
    covariance.diagonal().add_(1e-10)
    root = cholesky(covariance)
    normal = normal_samples(SAMPLES, len(mean), seed).to(mean)
    return mean + normal @ root.mT
