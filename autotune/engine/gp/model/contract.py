"""The contract of a surrogate: the posterior of one quantity over the encoded space.

A surrogate is a mixture of members, each of which gives mean, variance, covariance and joint samples at any
point. Acquisition functions use nothing else, so that any model that can say these may stand for ours.

What BoTorch calls ``posterior(X)`` is :meth:`Surrogate.each` and :meth:`Surrogate.covariance`: the normal
distribution of each member, not that of their mixture, so that an acquisition is exact for each. What it
calls ``fantasize`` follows from the same two, for any surrogate:
:class:`~autotune.engine.gp.model.conditioning.Believed` is a surrogate after pending points that gave what
is expected of them, :class:`~autotune.engine.gp.model.conditioning.Sampled` one after each of many joint
draws of what some points gave. Our own models (:class:`~autotune.engine.gp.model.averaged_gp.AveragedGP`)
have BoTorch's two methods as well, for its acquisition functions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from botorch.utils.probability.utils import log_ndtr
from torch import Tensor

from autotune.engine.gp.model.candidate_table import CandidateTable
from autotune.engine.gp.model.shapes import check_shapes

Moments = tuple[Tensor, Tensor]
"""Means and variances."""


class JointSamples(Protocol):
    """Joint samples of one member's noise-free values at the training points and at pending ones.

    Attributes:
        values: The samples, training points first, ``s x (n + m)``.
    """

    values: Tensor

    def moments(self, X: Tensor) -> Moments:
        """Return the mean at ``X`` (``q x d``) given each sample, ``q x s``, and the deviation, ``q x 1``."""


class Surrogate(ABC):
    """Posterior of one quantity; values are standardized.

    Attributes:
        log_weights: Logarithms of the members' probabilities, shape ``k``.
    """

    log_weights: Tensor

    @abstractmethod
    def each(self, X: Tensor) -> Moments:
        """Return the moments at ``X`` (``n x d``) by member, each of shape ``k x n``."""

    @abstractmethod
    def covariance(self, X: Tensor, A: Tensor) -> Tensor:
        """Return the posterior covariance of ``X`` (``n x d``) with ``A`` (``m x d``), ``k x n x m``."""

    @abstractmethod
    def noise(self) -> Tensor:
        """Return the variance of one more measurement beside the noise-free value, by member, shape ``k``."""

    @abstractmethod
    def on_grid(self, grid: CandidateTable, rows: Tensor, X_pending: Tensor) -> Moments:
        """Return the moments of some candidates by member, each of shape ``k x len(rows)``.

        Args:
            grid: The candidates.
            rows: Indices of the rows.
            X_pending: Points whose values will be known, ``m x d``: they lower the variance around them.
        """

    @abstractmethod
    def joint_samples(self, X_pending: Tensor, seed: int) -> list[JointSamples]:
        """Return joint samples at the training points and at ``X_pending`` (``m x d``), by member.

        Args:
            X_pending: Points whose values are not known yet.
            seed: Seed of the samples.
        """

    def predict(self, X: Tensor) -> Moments:
        """Return mean and variance of the noise-free value at ``X`` (``n x d``), each of shape ``n``."""
        means, variances = self.each(X)
        check_shapes(
            "Surrogate.predict", ("X", X, "n d"), ("means", means, "k n"), ("variances", variances, "k n"),
            k=len(self.log_weights),
        )  # fmt: skip
        w = self.log_weights.exp().unsqueeze(-1)
        mean = (w * means).sum(0)
        return mean, (w * (variances + (means - mean).square())).sum(0)

    @property
    def mean_noise(self) -> float:
        """Variance of one more measurement beside the noise-free value, averaged over the members."""
        return float((self.log_weights.exp() * self.noise()).sum())

    def mix(self, logs: Tensor) -> Tensor:
        """Return the logarithm of the average of what has one logarithm per member (first dimension)."""
        return torch.logsumexp(logs + self.log_weights.unsqueeze(-1), 0)

    def log_probability_below(self, moments: Moments, bound: float) -> Tensor:
        """Return ``log P(value <= bound)`` from the moments of ``n`` points by member, shape ``n``."""
        means, variances = moments
        return self.mix(log_ndtr((bound - means) / variances.sqrt()))
