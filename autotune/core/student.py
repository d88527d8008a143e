"""Quantiles of Student's distribution for 95 % intervals, without scipy: reports must come up at once."""

from __future__ import annotations

NORMAL = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""

# For 1 to 10 degrees of freedom; the expansion below is right within 0.1 % from 11 on.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def student_quantile(freedom: int) -> float:
    """Return the two-sided 95 % quantile of Student's t; of the normal distribution for 0.

    Args:
        freedom: Degrees of freedom.
    """
    if freedom <= 0:
        return NORMAL
    if freedom <= len(_T):
        return _T[freedom - 1]
    z = NORMAL
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
