"""Which configurations give a measurement at all, learned from those that did not.

A Gaussian process on labels (+1 measured, -1 failed) with short length scales, so that a failure speaks for
its neighbours and not for the whole space; the probability is that of a positive latent value.
"""

from __future__ import annotations

import math

import torch
from botorch.models import SingleTaskGP
from botorch.utils.probability.utils import log_ndtr
from torch import Tensor

from autotune.engine.gp.grid import Grid
from autotune.engine.gp.hyper import Structure
from autotune.engine.gp.kernels import Groups
from autotune.engine.gp.posterior import Moments, grid_moments, predict
from autotune.engine.gp.surrogate import fit

_LABEL_VARIANCE = 0.01  # the same configuration nearly always fails the same way
SHORT = Structure(length=(math.log(0.3), 0.5), noise=(-4.0, 0.5))
"""A failure speaks for its neighbourhood."""

_THRESHOLD = 0.4
_MOST = 0.85
_RECENT = 10


class Feasibility:
    """Predict whether a configuration can be measured.

    Args:
        X: Encoded configurations that were tried, ``n x k``, in the order of their trials.
        completed: Which of them gave a measurement, shape ``n``.
        groups: Columns of each parameter; by default each column is one.

    Attributes:
        threshold: Probability below which a candidate is left alone while others remain. It rises with the
            share of failures among the last trials: a boundary that keeps being hit is drawn too far out.
    """

    def __init__(self, X: Tensor, completed: Tensor, groups: Groups | None = None) -> None:
        self.model: SingleTaskGP | None = None
        recent = completed[-_RECENT:]
        self.threshold = min(_MOST, _THRESHOLD + float((~recent).double().mean())) if len(recent) else 0.0
        if bool(completed.all()):
            return
        labels = completed.to(X).mul(2).sub(1)
        if not bool(completed.any()):
            # all alike: nothing to fit, and everything equally doubtful but for the distance to what failed
            labels = labels * 0.5
        Yvar = torch.full_like(labels, _LABEL_VARIANCE)
        self.model = fit(X, labels.unsqueeze(-1), Yvar.unsqueeze(-1), groups, SHORT)

    def log_probability(self, X: Tensor) -> Tensor:
        """Return the log probability of a measurement at ``X`` (``n x k``), shape ``n``."""
        if self.model is None:
            return torch.zeros(len(X), dtype=X.dtype)
        return _log_positive(predict(self.model, X))

    def on_grid(self, grid: Grid, rows: Tensor) -> Tensor:
        """Return the log probability of a measurement of some candidates, shape ``len(rows)``."""
        if self.model is None:
            return torch.zeros(len(rows), dtype=torch.float64)
        nothing = self.model.train_inputs[0][:0]
        return _log_positive(grid_moments(self.model, grid, rows, nothing))


def _log_positive(moments: Moments) -> Tensor:
    mean, variance = moments
    return log_ndtr(mean / variance.add(_LABEL_VARIANCE).sqrt())
