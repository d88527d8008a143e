"""The noise of a measurement, for surfaces that have no likelihood of their own to learn it by."""

from __future__ import annotations

from torch import Tensor

from autotune.engine.gp.hyper import JOINT, RUGGED, fit_hyper
from autotune.engine.gp.kernels import Groups, squared_distances
from autotune.engine.gp.posterior import leading
from autotune.engine.gp.surrogates.processes import FIT_MOST


def learned_noise(X: Tensor, Y: Tensor, Yvar: Tensor, groups: Groups) -> float:
    """Return the variance between launches that was not measured, of standardized values.

    It is that of the Gaussian process that explains the values best: a smooth one, or a rugged one where
    what looks like noise is not.

    Args:
        X: Encoded configurations, ``n x k``.
        Y: Standardized values, ``n x 1``.
        Yvar: Measured variances on that scale, ``n x 1``; nan where none is known.
        groups: Columns of each parameter.
    """
    rows = leading(Y.squeeze(-1), FIT_MOST)
    squares, y, known = squared_distances(X[rows], groups), Y[rows, 0].numpy(), Yvar[rows, 0].numpy()
    fitted = [fit_hyper(squares, y, known, structure) for structure in (JOINT, RUGGED)]
    return max(fitted, key=lambda hyper: hyper.log_evidence).noise
