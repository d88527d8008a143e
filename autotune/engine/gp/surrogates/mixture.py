"""What all surfaces compute alike from the moments of their members."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from botorch.utils.probability.utils import log_ndtr
from torch import Tensor

from autotune.engine.gp.posterior import Moments


class Mixture(ABC):
    """Hold members and their probabilities.

    Attributes:
        log_weights: Logarithms of the members' probabilities, shape ``k``.
    """

    log_weights: Tensor

    @abstractmethod
    def each(self, X: Tensor) -> Moments:
        """Return the moments at ``X`` (``n x d``) by member, each of shape ``k x n``."""

    def predict(self, X: Tensor) -> Moments:
        """Return mean and variance of the noise-free value at ``X`` (``n x d``), each of shape ``n``."""
        means, variances = self.each(X)
        w = self.log_weights.exp().unsqueeze(-1)
        mean = (w * means).sum(0)
        return mean, (w * (variances + (means - mean).square())).sum(0)

    def mix(self, logs: Tensor) -> Tensor:
        """Return the logarithm of the average of what has one logarithm per member (first dimension)."""
        return torch.logsumexp(logs + self.log_weights.unsqueeze(-1), 0)

    def log_probability_below(self, moments: Moments, bound: float) -> Tensor:
        """Return ``log P(value <= bound)`` from the moments of ``n`` points by member, shape ``n``."""
        means, variances = moments
        return self.mix(log_ndtr((bound - means) / variances.sqrt()))
