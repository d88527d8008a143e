"""Knowledge gradient: by how much a measurement raises the expected value of the best known choice.

Given the surface's covariance the posterior mean of every alternative moves along a line in one standard
normal variable, so that the expected maximum is a sum over the breakpoints of an upper envelope: exact.

Reference: [Frazier2009] P. Frazier, W. Powell, S. Dayanik, "The knowledge-gradient policy for correlated
normal beliefs", INFORMS Journal on Computing 21 (2009).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from autotune.engine.gp.acquisition import log_h
from autotune.engine.gp.acquisitions.base import Scorer, price_of_waste
from autotune.engine.gp.acquisitions.believed import LEAST_VARIANCE, Believed
from autotune.engine.gp.acquisitions.improvement import LogImprovement
from autotune.engine.gp.belief import Belief
from autotune.engine.gp.grid import Grid

_PIECES = 200  # of an envelope; of hundreds of lines a dozen are on it
_CHUNK = 256  # candidates whose envelopes are computed at once


class KnowledgeGradient:
    """Score by the knowledge gradient over the shortlist and what was measured.

    Args:
        belief: The models.
        seed: Unused, nothing is drawn.
    """

    def __init__(self, belief: Belief, seed: int) -> None:
        self.belief = belief
        self.price = price_of_waste(belief)
        self.improvement = LogImprovement(belief, seed)

    def rough(self, grid: Grid, rows: Tensor, X_pending: Tensor) -> Tensor:
        """Return the expected improvement, ``1 x len(rows)``: what a measurement says of its own place."""
        return self.improvement.rough(grid, rows, X_pending)

    def scorer(self, shortlist: Tensor, X_pending: Tensor) -> Scorer:
        """Return what scores by the shortlisted alternatives that are likely to keep the limits."""
        belief = self.belief
        measured = belief.measured[belief.observed]
        likely = shortlist[belief.kept(shortlist)]
        alternatives = torch.cat([measured, X_pending[belief.kept(X_pending)], likely])
        if not len(alternatives):
            alternatives = torch.cat([belief.measured, shortlist])
        surface = belief.goal.surrogate
        gradient = Gradient(Believed(surface, X_pending), alternatives, surface.noise())
        return lambda X: surface.mix(gradient(X))


class Gradient:
    """Compute knowledge gradients over fixed alternatives.

    Args:
        surface: Of the goal, more being better.
        alternatives: Of which the best one will be chosen, ``m x d``.
        noise: Variance of one measurement by member, shape ``k``.
    """

    def __init__(self, surface: Believed, alternatives: Tensor, noise: Tensor) -> None:
        self.surface, self.alternatives, self.noise = surface, alternatives, noise
        self.means, _ = surface.each(alternatives)

    def __call__(self, X: Tensor) -> Tensor:
        """Return the log knowledge gradient of measuring ``X`` (``n x d``) by member, ``k x n``."""
        return torch.cat([self._chunk(chunk) for chunk in X.split(_CHUNK)], 1)

    def _chunk(self, X: Tensor) -> Tensor:
        means, variances = self.surface.each(X)
        deviations = (variances + self.noise.unsqueeze(-1)).clamp_min(LEAST_VARIANCE).sqrt()
        slopes = self.surface.covariance(X, self.alternatives) / deviations.unsqueeze(-1)
        own = (variances / deviations).unsqueeze(-1)  # the candidate is an alternative too
        result = []
        for k in range(len(means)):
            heights = torch.cat([self.means[k].expand(len(X), -1), means[k].unsqueeze(-1)], 1)
            result.append(log_expected_gain(heights, torch.cat([slopes[k], own[k]], 1)))
        return torch.stack(result)


def log_expected_gain(heights: Tensor, slopes: Tensor) -> Tensor:
    """Return ``log(E[max_i(a_i + b_i Z)] - max_i a_i)`` for a standard normal ``Z``, shape ``n``.

    Formula: the sum over breakpoints ``c`` of the upper envelope of ``(b_next - b) * h(-|c|)`` with
    ``h(z) = phi(z) + z * Phi(z)`` ([Frazier2009], equation 14). The envelope is followed from left to right,
    for all rows at once.

    Args:
        heights: The ``a``, ``n x m``.
        slopes: The ``b``, ``n x m``.
    """
    rows = torch.arange(len(heights))
    flat = slopes.amin(1, keepdim=True)
    current = heights.masked_fill(slopes > flat, -math.inf).argmax(1)
    terms = [torch.full((len(heights),), -math.inf, dtype=heights.dtype)]
    for _ in range(_PIECES):
        steeper = slopes - slopes[rows, current].unsqueeze(-1)
        lower = heights[rows, current].unsqueeze(-1) - heights
        crossing = torch.where(steeper > 0, lower / steeper.clamp_min(1e-300), math.inf)
        at = crossing.amin(1)
        going = at < math.inf
        if not bool(going.any()):
            break
        # of lines that cross in one point the steepest goes on
        tied = torch.where(crossing <= at.unsqueeze(-1), steeper, -math.inf)
        following = tied.argmax(1)
        gain = steeper[rows, following].clamp_min(1e-300).log() + log_h(-at.abs())
        terms.append(torch.where(going, gain, -math.inf))
        current = torch.where(going, following, current)
    return torch.stack(terms).logsumexp(0).clamp_min(_NOTHING)


_NOTHING = -1e5
"""Logarithm of the value of a measurement that can change nothing; finite, so that sums stay ordered."""
