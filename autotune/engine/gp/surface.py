"""The contract of a surface: what is believed of one quantity over the encoded space.

A surface is a mixture of members, each of which says mean, variance and covariance at any point. Acquisitions
use nothing else, so any model that can say these may stand for the Gaussian process.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from autotune.engine.gp.grid import Grid
from autotune.engine.gp.posterior import Moments


class Surface(Protocol):
    """Say what a quantity may be; values are standardized.

    Attributes:
        log_weights: Logarithms of the members' probabilities, shape ``k``.
    """

    log_weights: Tensor

    def predict(self, X: Tensor) -> Moments:
        """Return mean and variance of the noise-free value at ``X`` (``n x d``), each of shape ``n``."""

    def each(self, X: Tensor) -> Moments:
        """Return the moments at ``X`` (``n x d``) by member, each of shape ``k x n``."""

    def covariance(self, X: Tensor, A: Tensor) -> Tensor:
        """Return the posterior covariance of ``X`` (``n x d``) with ``A`` (``m x d``), ``k x n x m``."""

    def noise(self) -> Tensor:
        """Return the variance of one more measurement beside the noise-free value, by member, shape ``k``."""

    def on_grid(self, grid: Grid, rows: Tensor, X_pending: Tensor) -> Moments:
        """Return the moments of some candidates by member, each of shape ``k x len(rows)``.

        Args:
            grid: The candidates.
            rows: Which of them.
            X_pending: Points whose values will be known, ``m x d``: they lower the variance around them.
        """

    def log_improvement(
        self, X: Tensor, X_pending: Tensor, eligible: Tensor, *, seed: int, floor: float
    ) -> Tensor:
        """Return the log noisy expected improvement at ``X`` (``n x d``), shape ``n``.

        Args:
            X: Candidates.
            X_pending: Points whose values are not known yet, ``m x d``.
            eligible: Which points may be the incumbent, training points first, then pending ones.
            seed: Of joint samples.
            floor: Value to improve upon when no point is eligible.
        """

    def mix(self, logs: Tensor) -> Tensor:
        """Return the logarithm of the average of what has one logarithm per member (first dimension)."""

    def log_probability_below(self, moments: Moments, bound: float) -> Tensor:
        """Return ``log P(value <= bound)`` from the moments of ``n`` points by member, shape ``n``."""
