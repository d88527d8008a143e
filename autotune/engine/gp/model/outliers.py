"""Measurements that nothing around them explains: a stalled trial must not bend the surrogate.

Each value is compared with what all the others predict of it. Where it is far on its bad side, it is given a
measuring variance of its own, the one that explains it best; the surrogate then passes it by without
forgetting that something was measured there. Values on the good side are left alone: they are what is
looked for.

Only what is beyond doubt is called an outlier. Judging the worst tenth by the others, which finds two that
hide each other, took true cliffs for outliers: on a replayed convolution and on a simulator that stalls, the
best configurations were found 5 to 8 trials later.

References:
    [Ament2024] S. Ament, E. Santorella, D. Eriksson, B. Letham, M. Balandat, E. Bakshy, "Robust Gaussian
        processes via relevance pursuit", NeurIPS 2024: one variance per point, few of them above zero.
    [Rasmussen2006] C. E. Rasmussen, C. K. I. Williams, "Gaussian Processes for Machine Learning", 2006:
        equations 5.10 to 5.12 for leaving one out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from autotune.engine.gp.choices import JOINT
from autotune.engine.gp.config import DEFAULT, GPConfig
from autotune.engine.gp.model.fit import LEAST_NOISE, fit_hyper, prior_covariance
from autotune.engine.gp.model.kernels import Groups, squared_distances

Array = npt.NDArray[np.float64]

MOST = 150
"""Measurements above which one of them bends nothing."""


def discounted(
    X: Tensor, y: Array, yvar: Array, groups: Groups, bad: int, config: GPConfig = DEFAULT
) -> Array:
    """Return the variances of the measuring errors with those of outliers raised, shape ``n``.

    Args:
        X: Encoded configurations, ``n x k``.
        y: Standardized values, shape ``n``.
        yvar: Variances of their measuring errors; nan where unknown, shape ``n``.
        groups: Columns of each parameter.
        bad: Direction of bad values: -1 below, +1 above.
        config: Design choices of the engine.
    """
    n = len(y)
    if not config.outliers <= n <= MOST or not groups:
        return yvar
    squares = squared_distances(X, groups)
    result = yvar.copy()
    hyper = fit_hyper(squares, y, yvar, JOINT)
    covariance = prior_covariance(squares, hyper)
    known = np.where(np.isfinite(yvar), yvar, 0.0) + hyper.noise + LEAST_NOISE
    for _ in range(max(1, int(config.outlier_share * n))):
        inverse = np.linalg.inv(covariance + np.diag(known))
        variance = 1.0 / np.diag(inverse)
        residual = (inverse @ (y - hyper.mean)) * variance
        z2 = np.where(np.sign(residual) == bad, residual**2 / variance, 0.0)
        worst = int(np.argmax(z2))
        # what the log density of this value gains by the variance that suits it best, residual**2 in all
        gain = 0.5 * (z2[worst] - 1.0 - np.log(max(z2[worst], 1.0)))
        if gain < config.outlier_odds:
            break
        extra = residual[worst] ** 2 - variance[worst]
        known[worst] += extra
        result[worst] = (result[worst] if np.isfinite(result[worst]) else 0.0) + extra
    return result
