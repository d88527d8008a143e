"""Which configurations give a measurement at all, learned from those that did not.

A Gaussian process on labels (+1 measured, -1 failed) with short length scales, so that a failure speaks for
its neighbours and not for the whole space; the probability is that of a positive latent value.
"""

from __future__ import annotations

import math

import torch
from botorch.models import SingleTaskGP
from botorch.utils.probability.utils import log_ndtr
from gpytorch.priors import LogNormalPrior
from torch import Tensor

from autotune.engine.gp.surrogate import fit, predict

_LABEL_VARIANCE = 0.01  # the same configuration nearly always fails the same way
THRESHOLD = math.log(0.4)
"""Log probability below which a candidate is left alone while others remain."""


class Feasibility:
    """Predict whether a configuration can be measured.

    Args:
        X: Encoded configurations that were tried, ``n x d``.
        completed: Which of them gave a measurement, shape ``n``.
    """

    def __init__(self, X: Tensor, completed: Tensor) -> None:
        self.model: SingleTaskGP | None = None
        self.certain = 0.0
        if bool(completed.all()):
            return
        labels = completed.to(X).mul(2).sub(1)
        if not bool(completed.any()):
            # all alike: nothing to fit, and everything equally doubtful but for the distance to what failed
            labels = labels * 0.5
        Yvar = torch.full_like(labels, _LABEL_VARIANCE)
        d = X.shape[-1]
        prior = LogNormalPrior(math.log(0.3 * math.sqrt(d)), 0.5)
        self.model = fit(X, labels.unsqueeze(-1), Yvar.unsqueeze(-1), length_prior=prior)

    def log_probability(self, X: Tensor) -> Tensor:
        """Return the log probability of a measurement at ``X`` (``n x d``), shape ``n``."""
        if self.model is None:
            return torch.zeros(len(X), dtype=X.dtype)
        mean, variance = predict(self.model, X)
        return log_ndtr(mean / variance.add(_LABEL_VARIANCE).sqrt())
