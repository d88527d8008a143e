"""Log noisy expected improvement over a whole table of candidates.

Conditioned on noise-free values at every observed and pending point, the process at a candidate is Gaussian
with a variance that does not depend on those values and a mean that is linear in them. So a few joint samples
of those values, one Cholesky factor and two matrix products score a table exactly as [Letham2019] defines it,
at a cost linear in its size.

References:
    [Letham2019] B. Letham, B. Karrer, G. Ottoni, E. Bakshy, "Constrained Bayesian optimization with noisy
        experiments", Bayesian Analysis 14 (2019).
    [Ament2023] S. Ament, S. Daulton, D. Eriksson, M. Balandat, E. Bakshy, "Unexpected improvements to
        expected improvement for Bayesian optimization", NeurIPS 2023.
    [Sampford1953] M. R. Sampford, "Some inequalities on Mill's ratio and related functions", Annals of
        Mathematical Statistics 24 (1953).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from botorch.models import SingleTaskGP
from botorch.utils.safe_math import log1mexp
from torch import Tensor

from autotune.engine.gp.normal_samples import normal_samples
from autotune.engine.gp.posterior import CHUNK, cholesky, covariance_of, solved

SAMPLES = 32
"""Joint samples of what is known: more change no choice."""

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
_LOG_SQRT_PI_2 = 0.5 * math.log(math.pi / 2)
_SOFT = 0.1  # of a standardized value: how fast an excess falls off below nothing


@lru_cache(maxsize=8)
def noisy_improvement(
    model: SingleTaskGP, X_pending: Tensor, eligible: Tensor, seed: int, floor: float
) -> NoisyImprovement:
    """Return the acquisition of these very arguments, made once however often it scores."""
    return NoisyImprovement(model, X_pending, eligible, seed=seed, floor=floor)


class NoisyImprovement:
    """Score candidates by the logarithm of their noisy expected improvement.

    Args:
        model: Of the goal, more being better.
        X_pending: Points whose values are not known yet, ``m x d``.
        eligible: Which points may be the incumbent, training points first, then pending ones: shape
            ``n + m``. A pending point counts with what it may turn out to be.
        seed: Of the joint samples.
        floor: Value to improve upon when no point is eligible.
    """

    def __init__(
        self, model: SingleTaskGP, X_pending: Tensor, eligible: Tensor, *, seed: int, floor: float
    ) -> None:
        self.model = model
        with torch.no_grad():
            train = model.train_inputs[0]
            points = torch.cat([train, X_pending])
            prior = covariance_of(model, torch.arange(len(train)), X_pending)
            self.mean, samples = _joint_samples(model, points, prior, seed)
            self.points = points
            self.factor = cholesky(prior)
            residual = (samples - model.mean_module(points)).mT
            self.weights = torch.cholesky_solve(residual, self.factor)  # (n + m) x SAMPLES
            if bool(eligible.any()):
                self.incumbent = samples[:, eligible].amax(1)
            else:
                self.incumbent = torch.full((len(samples),), floor).to(samples)

    def __call__(self, X: Tensor) -> Tensor:
        """Return the log noisy expected improvement at ``X`` (``n x d``), shape ``n``."""
        scores = []
        with torch.set_grad_enabled(X.requires_grad):
            for chunk in X.split(CHUNK):
                cross = self.model.covar_module(chunk, self.points).to_dense()
                half = torch.linalg.solve_triangular(self.factor, cross.mT, upper=False)
                prior = self.model.covar_module(chunk, diag=True)
                deviation = (prior - half.square().sum(0)).clamp_min(1e-12).sqrt().unsqueeze(-1)
                mean = self.model.mean_module(chunk).unsqueeze(-1) + cross @ self.weights
                z = (mean - self.incumbent) / deviation
                scores.append(torch.logsumexp(log_h(z) + deviation.log(), dim=1) - math.log(z.shape[1]))
        return torch.cat(scores)


def _joint_samples(model: SingleTaskGP, points: Tensor, prior: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return the posterior mean at ``points`` (``k``) and joint samples there (``SAMPLES x k``).

    Args:
        model: Its training points come first among the points.
        points: Shape ``k x d``.
        prior: Their covariance before anything was measured, ``k x k``.
        seed: Of the samples.
    """
    factor, weights = solved(model)
    cross = prior[:, : len(factor)]
    half = torch.linalg.solve_triangular(factor, cross.mT, upper=False)
    mean = model.mean_module(points) + cross @ weights
    covariance = prior - half.mT @ half
    root = cholesky(0.5 * (covariance + covariance.mT) + 1e-10 * torch.eye(len(points)).to(covariance))
    normal = normal_samples(SAMPLES, len(points), seed).to(points)
    return mean, mean + normal @ root.mT


def log_expected_improvement(mean: Tensor, variance: Tensor, incumbent: Tensor) -> Tensor:
    """Return the logarithm of the expected improvement upon a known value; shapes are broadcast."""
    deviation = variance.sqrt()
    return log_h((mean - incumbent) / deviation) + deviation.log()


def rough_log_improvement(mean: Tensor, variance: Tensor, incumbent: Tensor) -> Tensor:
    """Return the same within 0.04, several times faster: by a bound of Mills' ratio ([Sampford1953])."""
    deviation = variance.sqrt()
    z = (mean - incumbent).div_(deviation)
    x = z.abs()
    root = x.square().add_(8.0).sqrt_()
    # log h(-x), with 8 / ((root + x) (root + 3 x)) for 1 - x Mills(x)
    found = (root + x).mul_(root.add_(x, alpha=3.0)).log_().add_(x.square_(), alpha=0.5)
    found.neg_().add_(math.log(8.0) - _LOG_SQRT_2PI)
    above = z > 0.0
    found[above] = torch.log(z[above] + found[above].exp())  # h(z) = z + h(-z)
    return found.add_(deviation.log_())


def log_h(z: Tensor) -> Tensor:
    """Return ``log(phi(z) + z * Phi(z))`` without losing the far tail ([Ament2023], equation 9)."""
    near = z > -1.0
    if z.requires_grad:
        return torch.where(near, _log_h_near(z.clamp_min(-1.0)), _log_h_tail(z.clamp(-1e100, -1.0)))
    found = _log_h_tail(z.clamp(-1e100, -1.0))
    found[near] = _log_h_near(z[near])  # few in a table of candidates
    return found


def _log_h_near(z: Tensor) -> Tensor:
    density = torch.exp(-0.5 * z.square() - _LOG_SQRT_2PI)
    return torch.log(density + z * torch.special.ndtr(z))


def _log_h_tail(z: Tensor) -> Tensor:
    ratio = torch.log(torch.special.erfcx(-z / math.sqrt(2)) * z.abs()) + _LOG_SQRT_PI_2
    # the ratio tends to 0 from below like -1 / z**2, where its difference from 1 is lost
    exact = log1mexp(ratio.clamp_max(-1e-300))
    far = -2.0 * torch.log(z.abs())
    return -0.5 * z.square() - _LOG_SQRT_2PI + torch.where(z < -1e4, far, exact)


def log_excess(difference: Tensor) -> Tensor:
    """Return the log of a smooth ``max(difference, 0)``, strictly increasing; shape as given."""
    scaled = difference / _SOFT
    near = torch.nn.functional.softplus(scaled.clamp_min(-30.0), threshold=30.0).log()
    return math.log(_SOFT) + torch.where(scaled < -30.0, scaled, near)  # far below, softplus is exp
