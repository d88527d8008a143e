"""Which configurations give a measurement at all, learned from those that did not.

Gaussian processes on labels (+1 measured, -1 failed, in between where it is known that little memory was
missing) with short length scales, so that a failure speaks for its neighbours and not for the whole space;
one of them has an effect of each parameter alone, because what needs memory needs it everywhere. The
probability is that of a positive latent value.
"""

from __future__ import annotations

import math

import torch
from botorch.utils.probability.utils import log_ndtr
from torch import Tensor

from autotune.engine.gp.grid import Grid
from autotune.engine.gp.hyper import Structure
from autotune.engine.gp.kernels import Groups
from autotune.engine.gp.posterior import Moments
from autotune.engine.gp.surrogate import Surrogate

_LABEL_VARIANCE = 0.01  # the same configuration nearly always fails the same way
NEARBY = Structure(length=(math.log(0.3), 0.5), noise=(-4.0, 0.5))
"""A failure speaks for its neighbourhood."""
EVERYWHERE = Structure(length=(math.log(0.5), 0.7), noise=(-4.0, 0.5), parts=(-2.0, 1.0))
"""A value may fail wherever it is taken."""
STRUCTURES = (NEARBY, EVERYWHERE)

_THRESHOLD = 0.4
_MOST = 0.85
_RECENT = 10


class Feasibility:
    """Predict whether a configuration can be measured.

    Args:
        X: Encoded configurations that were tried, ``n x k``, in the order of their trials.
        labels: Positive where a trial gave a measurement, negative where it failed, shape ``n``.
        groups: Columns of each parameter; by default each column is one.

    Attributes:
        threshold: Probability below which a candidate is left alone while others remain. It rises with the
            share of failures among the last trials: a boundary that keeps being hit is drawn too far out.
    """

    def __init__(self, X: Tensor, labels: Tensor, groups: Groups | None = None) -> None:
        self.model: Surrogate | None = None
        failed = labels <= 0
        recent = failed[-_RECENT:].double()
        self.threshold = min(_MOST, _THRESHOLD + float(recent.mean())) if len(recent) else 0.0
        if not bool(failed.any()):
            return
        if bool(failed.all()):
            # all alike: nothing to fit, and everything equally doubtful but for the distance to what failed
            labels = labels * 0.5
        Yvar = torch.full_like(labels, _LABEL_VARIANCE)
        columns = None if groups is None else tuple(groups)  # ranks only: a border lies between two levels
        self.model = Surrogate(X, labels.unsqueeze(-1), Yvar.unsqueeze(-1), columns, STRUCTURES)

    def log_probability(self, X: Tensor) -> Tensor:
        """Return the log probability of a measurement at ``X`` (``n x k``), shape ``n``."""
        if self.model is None:
            return torch.zeros(len(X), dtype=X.dtype)
        return self._log_positive(self.model, self.model.each(X))

    def on_grid(self, grid: Grid, rows: Tensor) -> Tensor:
        """Return the log probability of a measurement of some candidates, shape ``len(rows)``."""
        if self.model is None:
            return torch.zeros(len(rows), dtype=torch.float64)
        nothing = self.model.models[0].train_inputs[0][:0]
        return self._log_positive(self.model, self.model.on_grid(grid, rows, nothing))

    @staticmethod
    def _log_positive(model: Surrogate, moments: Moments) -> Tensor:
        means, variances = moments
        return model.mix(log_ndtr(means / variances.add(_LABEL_VARIANCE).sqrt()))
