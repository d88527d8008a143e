"""Which configurations give a measurement at all, learned from those that did not.

Gaussian processes on labels (+1 measured, -1 failed, in between where it is known that little memory was
missing) with short length scales, so that a failure speaks for its neighbours and not for the whole space;
one of them has an effect of each parameter alone, because what needs memory needs it everywhere. The
probability is that of a positive latent value.
"""

from __future__ import annotations

import torch
from botorch.utils.probability.utils import log_ndtr
from torch import Tensor

from autotune.engine.gp.config import GPConfig
from autotune.engine.gp.model.averaged_gp import AveragedGP
from autotune.engine.gp.model.candidate_table import CandidateTable
from autotune.engine.gp.model.contract import Moments
from autotune.engine.gp.model.kernels import Groups
from autotune.engine.gp.model.shapes import check_shapes
from autotune.engine.gp.model.surrogates import fit_averaged


class Feasibility:
    """Probability that a configuration can be measured.

    Args:
        X: Encoded configurations that were tried, ``n x k``, in the order of their trials.
        labels: Labels, positive where a trial gave a measurement, negative where it failed, shape ``n``.
        groups: Columns of each parameter; by default each column is one.
        config: Design choices of the engine.

    Attributes:
        threshold: Probability below which a candidate is left alone while others remain. It rises with the
            share of failures among the last trials: a boundary that keeps being hit is drawn too far out.
    """

    def __init__(
        self, X: Tensor, labels: Tensor, groups: Groups | None = None, config: GPConfig | None = None
    ) -> None:
        check_shapes("Feasibility", ("X", X, "n k"), ("labels", labels, "n"))
        config = config or GPConfig()
        self.model: AveragedGP | None = None
        self.label_variance = config.failure_variance
        failed = labels <= 0
        recent = failed[-config.recent :].double()
        rising = config.failure_threshold + float(recent.mean()) if len(recent) else 0.0
        self.threshold = min(config.failure_threshold_most, rising)
        if not (bool(failed.any()) and config.failures):
            return
        if bool(failed.all()):
            # all alike: nothing to fit, and everything equally doubtful but for the distance to what failed
            labels = labels * 0.5
        Yvar = torch.full_like(labels, self.label_variance)
        columns = None if groups is None else tuple(groups)  # ranks only: a border lies between two levels
        self.model = fit_averaged(X, labels.unsqueeze(-1), Yvar.unsqueeze(-1), columns, config.failures)

    def log_probability(self, X: Tensor) -> Tensor:
        """Return the log probability of a measurement at ``X`` (``n x k``), shape ``n``."""
        if self.model is None:
            return torch.zeros(len(X), dtype=X.dtype)
        return self._log_positive(self.model, self.model.each(X))

    def on_grid(self, grid: CandidateTable, rows: Tensor) -> Tensor:
        """Return the log probability of a measurement of some candidates, shape ``len(rows)``."""
        if self.model is None:
            return torch.zeros(len(rows), dtype=torch.float64)
        nothing = self.model.train_inputs[0][:0]
        return self._log_positive(self.model, self.model.on_grid(grid, rows, nothing))

    def _log_positive(self, model: AveragedGP, moments: Moments) -> Tensor:
        means, variances = moments
        return model.mix(log_ndtr(means / variances.add(self.label_variance).sqrt()))
