"""Quantiles of the distributions that errors and tests rest on.

scipy takes up to a second to import, so that it is loaded on the first call: a report without an interval of
few launches comes up at once.
"""

from __future__ import annotations

from functools import lru_cache

NORMAL = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


@lru_cache
def student_quantile(freedom: float) -> float:
    """Return the two-sided 95 % quantile of Student's t; of the normal distribution for 0.

    Args:
        freedom: Degrees of freedom.
    """
    if freedom <= 0:
        return NORMAL
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))


@lru_cache
def chi_squared_quantile(freedom: float, probability: float) -> float:
    """Return the quantile of chi squared.

    Args:
        freedom: Degrees of freedom, above 0.
        probability: Probability below the quantile.
    """
    from scipy.special import chdtri

    return float(chdtri(freedom, 1.0 - probability))
