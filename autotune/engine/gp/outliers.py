"""Measurements that nothing around them explains: a stalled trial must not bend the surface.

The values that the others predict worst, on their bad side, are set aside, so that they do not hide each
other; the process of the rest then says what should have been measured there. Where a value is far from that,
it is given a measuring variance of its own, the one that explains it best: the surface passes it by without
forgetting that something was measured there. Values on the good side are left alone: they are what is looked
for.

References:
    [Ament2024] S. Ament, E. Santorella, D. Eriksson, B. Letham, M. Balandat, E. Bakshy, "Robust Gaussian
        processes via relevance pursuit", NeurIPS 2024: one variance per point, few of them above zero.
    [Rasmussen2006] C. E. Rasmussen, C. K. I. Williams, "Gaussian Processes for Machine Learning", 2006:
        equations 5.10 to 5.12 for leaving one out.
    [Rousseeuw1984] P. J. Rousseeuw, "Least median of squares regression", JASA 79: trimming before judging.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from autotune.engine.gp.hyper import JOINT, LEAST_NOISE, Hyper, fit_hyper, prior_covariance
from autotune.engine.gp.kernels import Groups, squared_distances

Array = npt.NDArray[np.float64]

LEAST = 8
"""Measurements below which nothing is called an outlier: each of them is news."""

MOST = 150
"""Measurements above which one of them bends nothing."""

_ODDS = 5.0  # log odds against an outlier, one in 150: what the gain in evidence has to beat
_SUSPECT = 2.0  # deviations that the worst value is off by before the others are asked without it
_SHARE = 0.1  # of the measurements that may be outliers


def discounted(X: Tensor, y: Array, yvar: Array, groups: Groups, bad: int) -> Array:
    """Return the variances of the measuring errors with those of outliers raised, shape ``n``.

    Args:
        X: Encoded configurations, ``n x k``.
        y: Standardized values, shape ``n``.
        yvar: Variances of their measuring errors; nan where unknown, shape ``n``.
        groups: Columns of each parameter.
        bad: Direction of bad values: -1 below, +1 above.
    """
    n = len(y)
    if not LEAST <= n <= MOST or not groups:
        return yvar
    squares = squared_distances(X, groups)
    known = np.where(np.isfinite(yvar), yvar, 0.0)
    hyper = fit_hyper(squares, y, yvar, JOINT)
    inverse = np.linalg.inv(_noisy(squares, known, hyper))
    residual = (inverse @ (y - hyper.mean)) / np.diag(inverse)
    z = bad * residual * np.sqrt(np.diag(inverse))
    aside = np.argsort(-z, kind="stable")[: max(1, int(_SHARE * n))]
    aside = aside[z[aside] > 0]
    if z.max() < _SUSPECT:
        return yvar
    rest = np.setdiff1d(np.arange(n), aside)
    hyper = fit_hyper(squares[:, rest][:, :, rest], y[rest], yvar[rest], JOINT)
    covariance = _noisy(squares, known, hyper)
    weights = np.linalg.solve(covariance[np.ix_(rest, rest)], covariance[np.ix_(rest, aside)])
    residual = y[aside] - hyper.mean - weights.T @ (y[rest] - hyper.mean)
    variance = np.diag(covariance)[aside] - (weights * covariance[np.ix_(rest, aside)]).sum(0)
    z2 = np.where(bad * residual > 0, residual**2 / variance, 1.0)
    # what the log density of a value gains by the variance that suits it best, residual**2 in all
    far = 0.5 * (z2 - 1.0 - np.log(np.maximum(z2, 1.0))) > _ODDS
    result = yvar.copy()
    result[aside[far]] = known[aside[far]] + (residual**2 - variance)[far]
    return result


def _noisy(squares: Array, known: Array, hyper: Hyper) -> Array:
    """Return the covariance of measurements, ``n x n``."""
    return prior_covariance(squares, hyper) + np.diag(known + hyper.noise + LEAST_NOISE)
