"""Quantiles of the distributions that errors and tests rest on, and the tail of Student's.

All of Python's own: scipy takes longer to load than all else that an attempt starts with.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

NORMAL = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""

_TAIL = 0.025
_ENOUGH = 1e-15  # relative change of an iteration that has converged
_STEPS = 500  # of an iteration; those here converge within a hundred
_SERIES_FROM = 300.0  # degrees of freedom from which four terms of the series are exact to 1e-12


@lru_cache
def student_quantile(freedom: float) -> float:
    """Return the two-sided 95 % quantile of Student's t; of the normal distribution for 0.

    Args:
        freedom: Degrees of freedom.
    """
    if freedom <= 0:
        return NORMAL
    if freedom >= _SERIES_FROM:
        return _student_series(freedom)

    def step(t: float) -> float:
        tail = student_tail(freedom, t)
        density = math.exp(
            math.lgamma((freedom + 1) / 2)
            - math.lgamma(freedom / 2)
            - 0.5 * math.log(freedom * math.pi)
            - (freedom + 1) / 2 * math.log1p(t * t / freedom)
        )
        return t * math.exp(math.log(tail / _TAIL) * tail / (density * t))  # Newton's step of the logarithms

    return _settled(step, _student_series(freedom) if freedom >= 3 else 13.0 / freedom)


@lru_cache
def chi_squared_quantile(freedom: float, probability: float) -> float:
    """Return the quantile of chi squared.

    Args:
        freedom: Degrees of freedom, above 0.
        probability: Probability below the quantile.
    """
    low, high = 0.0, max(freedom, 1.0)
    while _gamma_tail(freedom / 2, high / 2) > 1 - probability:
        low, high = high, 2 * high
    while high - low > _ENOUGH * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        above = _gamma_tail(freedom / 2, middle / 2) > 1 - probability
        low, high = (middle, high) if above else (low, middle)
    return high


def student_tail(freedom: float, t: float) -> float:
    """Return the probability of more than ``t`` under Student's distribution.

    Args:
        freedom: Degrees of freedom, above 0.
        t: The value.
    """
    if t < 0:
        return 1 - student_tail(freedom, -t)
    if t == 0:
        return 0.5
    a, b = freedom / 2, 0.5
    x, y = freedom / (freedom + t * t), t * t / (freedom + t * t)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(y))
    if x < (a + 1) / (a + b + 2):
        return 0.5 * front * _beta_fraction(a, b, x) / a
    return 0.5 * (1 - front * _beta_fraction(b, a, y) / b)


def _student_series(freedom: float) -> float:
    """Return the quantile by its series in the degrees of freedom (Abramowitz and Stegun, 26.7.5)."""
    z = NORMAL
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / freedom**power for power, term in enumerate(terms, 1))


def _settled(step: Callable[[float], float], value: float) -> float:
    """Return where an iteration no longer moves."""
    for _ in range(_STEPS):
        before, value = value, step(value)
        if abs(value - before) <= _ENOUGH * value:
            break
    return value


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of the incomplete beta function by Lentz's method (DLMF 8.17.22)."""
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1 / (1 + even * d), 1 + even / c
        value *= c * d
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1 / (1 + odd * d), 1 + odd / c
        value *= c * d
        if abs(c * d - 1) <= _ENOUGH:
            break
    return value


def _gamma_tail(a: float, x: float) -> float:
    """Return the regularized upper incomplete gamma function (DLMF 8.7.1, 8.9.2)."""
    if x <= 0:
        return 1.0
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        while term > _ENOUGH * total:
            a += 1
            term *= x / a
            total += term
        return 1 - front * total
    b = x + 1 - a
    c, d = math.inf, 1 / b
    value = d
    for n in range(1, _STEPS):
        numerator = n * (a - n)
        b += 2
        d, c = 1 / (b + numerator * d), b + numerator / c
        value *= c * d
        if abs(c * d - 1) <= _ENOUGH:
            break
    return front * value
