"""Max-value entropy search: how much a measurement says about the value of the best configuration.

Maxima are drawn from joint samples of the surface over the shortlist and what was measured. The information
is the closed-form lower bound for noisy measurements of [Moss2021].

References:
    [Wang2017] Z. Wang, S. Jegelka, "Max-value entropy search for efficient Bayesian optimization", ICML 2017.
    [Moss2021] H. Moss, D. Leslie, J. Gonzalez, P. Rayson, "GIBBON: general-purpose information-based Bayesian
        optimisation", JMLR 22 (2021), equation 10.
"""

from __future__ import annotations

import math

import torch
from botorch.utils.probability.utils import log_ndtr
from torch import Tensor

from autotune.engine.gp.acquisitions.base import Scorer
from autotune.engine.gp.acquisitions.believed import Believed, Sampled
from autotune.engine.gp.acquisitions.improvement import LogImprovement
from autotune.engine.gp.belief import Belief
from autotune.engine.gp.grid import Grid

SAMPLES = 32
"""Maxima drawn."""

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
_SMALL = -20.0  # logarithm below which log(1 + q) and q are the same number


class EntropySearch:
    """Score by the information about the maximum.

    Args:
        belief: The models.
        seed: Of the samples.
    """

    price = 0.0

    def __init__(self, belief: Belief, seed: int) -> None:
        self.belief, self.seed = belief, seed
        self.improvement = LogImprovement(belief, seed)

    def rough(self, grid: Grid, rows: Tensor, X_pending: Tensor) -> Tensor:
        """Return the expected improvement, ``1 x len(rows)``: what can be best says most of the best."""
        return self.improvement.rough(grid, rows, X_pending)

    def scorer(self, shortlist: Tensor, X_pending: Tensor) -> Scorer:
        """Return what scores by maxima over the shortlist where it is likely to keep the limits."""
        belief = self.belief
        surface = belief.goal.surrogate
        points = torch.cat([belief.measured[belief.observed], shortlist[belief.kept(shortlist)]])
        if not len(points):
            points = torch.cat([belief.measured, shortlist])
        # the maximum is that of the surface as it is; a pending point lowers what else can be learned
        maxima = Sampled(surface, points, surface.log_weights, SAMPLES, self.seed)
        believed, noise = Believed(surface, X_pending), surface.noise()
        largest = maxima.values.amax(1)

        def score(X: Tensor) -> Tensor:
            means, variances = believed.each(X)
            total = []
            for k in range(len(means)):
                mine = largest[maxima.member == k]
                if not len(mine):  # a member of hardly any weight
                    mine = largest
                total.append(log_information(means[k], variances[k], noise[k], mine))
            return surface.mix(torch.stack(total))

        return score


def log_information(mean: Tensor, variance: Tensor, noise: Tensor, maxima: Tensor) -> Tensor:
    """Return the log of the information in nats that measurements give about the maximum, shape ``n``.

    Formula: the mean over maxima of ``-0.5 * log(1 - rho ** 2 * r * (r + g))`` with
    ``g = (maximum - mean) / sd``, ``r = phi(g) / Phi(g)`` and ``rho`` the correlation of a measurement with
    the value itself.

    Args:
        mean: Of the value at each candidate, shape ``n``.
        variance: Of the same.
        noise: Variance of a measurement beside it, a number.
        maxima: Draws of the maximum, shape ``s``.
    """
    gamma = (maxima.unsqueeze(-1) - mean) / variance.sqrt()  # s x n
    log_ratio = -0.5 * gamma.square() - _LOG_SQRT_2PI - log_ndtr(gamma)
    ratio = log_ratio.exp()
    log_q = log_ratio + (ratio + gamma).clamp_min(1e-300).log() + (variance / (variance + noise)).log()
    log_q = log_q.clamp_max(-1e-12)
    exact = (-torch.log1p(-log_q.clamp_min(_SMALL).exp())).log()
    each = torch.where(log_q < _SMALL, log_q, exact)
    return each.logsumexp(0) - math.log(2 * len(maxima))
