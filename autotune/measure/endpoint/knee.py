r"""Where a latency that rises with the rate crosses its limit, from probes at several rates, with its error.

Behind a queue latency follows :math:`\log m(\lambda) = a - b \log(1 - \lambda / \mu)`: flat at first, without
bound towards the rate :math:`\mu` at which the system saturates; exact for M/M/1 (:math:`b = 1`) and near the
knee of other servers. With the crossing :math:`x` in place of :math:`a`,

.. math:: \log (m(\lambda) / \mathrm{bound}) = b \, (\log(1 - x / \mu) - \log(1 - \lambda / \mu)),

which rises with :math:`\lambda` for all parameters. The posterior of :math:`(\mu, b, x)` is computed on a
grid:

* A probe observes the left side with its relative error; residuals are Student's with ``_FREEDOM`` degrees of
  freedom, because a short look at a queue may be far off and know nothing of it. For the same reason a
  probe's error is at least the root mean square of those near the knee, scaled to its length: a look that
  missed the bouts has too low a latency and too low an error, and only the mean of many is unbiased.
* The errors of a latency behind a queue are known to a factor only. One factor of all probes is a parameter
  too: residuals say whether the stated errors are too wide or too narrow (the Birge ratio, [B32]_).
* A latency is unbiased in value, not in its logarithm: with a relative error :math:`e` of a log-normal
  distribution the logarithm is low by :math:`\log(1 + e^2) / 2`. Most short runs see fewer bouts than the
  long run holds.
* The form is right near the knee only: errors grow by ``_MISFIT`` per unit of log distance from it.
* The search's bracket says where the crossing is to within ``_BRACKET``, so that few and poor probes do not
  place it beyond rates that failed.
* A queue that grew says that :math:`\mu` is below the rate; a probe that was decided without an estimate, on
  which side of it the crossing lies.

``python -m benchmarks.intervals searches`` measures the shares of intervals that hold the truth.

.. [B32] Birge, The calculation of errors by the method of least squares, Physical Review 40, 1932.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_FREEDOM = 5.0
_MISFIT = 0.15
_LEAST_ERROR = 0.05  # of a probe: arrivals differ from probe to probe, even where its own requests are alike
_NEAR = 0.3  # log distance from the knee, within which probes share their error
_SATURATION = 0.03  # relative: how sharply an overload tells on which side of it a rate is
_BRACKET = 0.15  # log distance from the bracket's middle at which the crossing usually is
_SIDE = 0.1  # relative: the same of a probe without an estimate
_SCALES = np.array([0.4, 0.55, 0.75, 1.0, 1.35, 1.8])  # of the stated errors
_SCALE_SPREAD = 0.4  # of the logarithm of their scale
_RATES = np.geomspace(0.55, 1.8, 71)  # of the grid, over the middle of the bracket
_SATURATIONS = np.geomspace(0.75, 3.0, 40)  # the same
_POWERS = np.geomspace(0.1, 2.5, 10)
_LEVELS = np.linspace(0.0005, 0.9995, 1000)


@dataclass(frozen=True)
class ProbePoint:
    """The result of one probe for one limited metric.

    Args:
        rate: Requests per second.
        seconds: Length of the probe.
        passed: Whether the limit held.
        excess: Logarithm of the metric over its bound, turned so that above 0 breaks the limit; ``None``
            where it was not measured.
        error: Standard error of ``excess``.
        overloaded: Whether the queue grew without bound.
    """

    rate: float
    seconds: float
    passed: bool
    excess: float | None = None
    error: float = 1.0
    overloaded: bool = False

    @property
    def measured(self) -> bool:
        """Whether it says how far from the bound the metric is."""
        return self.excess is not None and not self.overloaded


def crossing(points: Sequence[ProbePoint], near: float) -> Floats | None:
    """Return quantiles of the posterior of the rate at which the limit is just kept.

    Args:
        points: Points of all probes.
        near: Middle of the search's last bracket.

    Returns:
        A thousand quantiles at equal steps; ``None`` with fewer than two probes that measured the metric.
    """
    if sum(p.measured for p in points) < 2:
        return None
    from scipy.special import log_ndtr  # takes longer to load than all else that an attempt starts with

    mu = near * _SATURATIONS[:, None, None, None]
    power = _POWERS[:, None, None]
    rates = near * _RATES
    x = rates[:, None]
    weight = -0.5 * (np.log(power / 0.6) / 0.8) ** 2 - 0.5 * (np.log(x / near) / _BRACKET) ** 2
    weight = weight - 0.5 * (np.log(_SCALES) / _SCALE_SPREAD) ** 2
    load_at_crossing = np.log1p(-np.minimum(x / mu, 1 - 1e-9))
    for p in _with_shared_errors(points, near):
        if p.overloaded:
            weight = weight + log_ndtr((p.rate / mu - 1) / _SATURATION)
        elif p.excess is None:
            weight = weight + log_ndtr((1 if p.passed else -1) * np.log(x / p.rate) / _SIDE)
        else:
            misfit = math.hypot(_LEAST_ERROR, _MISFIT * math.log(p.rate / near))
            error = np.hypot(_SCALES * p.error, misfit)
            fitted = power * (load_at_crossing - np.log1p(-np.minimum(p.rate / mu, 1 - 1e-4)))
            square = ((p.excess + 0.5 * np.log1p(error**2) - fitted) / error) ** 2
            weight = weight - (_FREEDOM + 1) / 2 * np.log1p(square / _FREEDOM) - np.log(error)
    weight = np.where(x < mu, weight, -np.inf)
    share = np.exp(weight - weight.max()).sum(axis=(0, 1, 3))
    return np.exp(np.interp(_LEVELS, np.cumsum(share) / share.sum(), np.log(rates)))


def _with_shared_errors(points: Sequence[ProbePoint], near: float) -> list[ProbePoint]:
    close = [p for p in points if p.measured and abs(math.log(p.rate / near)) < _NEAR]
    if not close:
        return list(points)
    usual = float(np.mean([p.error**2 * p.seconds for p in close]))
    return [
        replace(p, error=math.sqrt(max(p.error**2, usual / max(p.seconds, 1e-9)))) if p in close else p
        for p in points
    ]


def lowest(quantiles: Sequence[Floats], seed: int) -> tuple[float, float]:
    """Return the lowest of several crossings and its standard error: of the 95 % interval, over 3.92.

    Args:
        quantiles: Quantiles of each limit, as :func:`crossing` returns them.
        seed: Seed of the pairing.
    """
    rng = np.random.default_rng(seed)
    drawn = np.min([rng.permutation(q) if len(quantiles) > 1 else q for q in quantiles], axis=0)
    low, value, high = np.quantile(drawn, [0.025, 0.5, 0.975])
    return float(value), float(high - low) / 3.92
