r"""Where a latency that rises with the rate crosses its limit, with the standard error, from probes at several rates.

Behind a queue latency follows :math:`\log m(\lambda) = a - b \log(1 - \lambda / \mu)`: flat at first, without
bound towards the rate :math:`\mu` at which the system saturates; exact for M/M/1 (:math:`b = 1`) and near the
knee for other servers. It rises with the rate for any parameters, so the crossing is unique:

.. math:: \lambda^* = \mu \, (1 - \exp((a - \log \mathrm{bound}) / b))

The posterior of :math:`(\mu, b)` is computed on a grid; ``a`` is integrated out, its part of the likelihood being
normal. Probes are observations of :math:`\log m` with the errors they were measured with, enlarged by
``MISFIT`` per unit of log distance from the crossing, since the form is right near the knee only. A queue that
grew at a rate says that :math:`\mu` is below it; a probe that failed or passed without an estimate, on which side
the crossing lies. The value is the posterior's median; ``sem`` that of its 95 % interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """What one probe says of one limited metric.

    Args:
        rate: Requests per second.
        excess: Logarithm of the metric over its bound, turned so that above 0 breaks the limit; ``None`` where
            it was not measured.
        error: Standard error of ``excess``.
        passed: Whether the limit held, for a point without ``excess``.
        overloaded: Whether the queue grew without bound.
    """

    rate: float
    excess: float | None
    error: float
    passed: bool
    overloaded: bool = False


MISFIT = 0.15
_LEAST_ERROR = 0.02
_POWERS = np.geomspace(0.05, 2.5, 24)
_SATURATION = 0.015  # relative: how sharply an overload tells on which side of it a rate is
_DRAWS = 4000


def crossings(points: Sequence[Point], near: float, seed: int) -> Floats:
    """Return draws of the rate at which the limit is just kept, from its posterior.

    Args:
        points: At two rates or more.
        near: Rate near which the crossing is believed to lie.
        seed: Of the draws.
    """
    told = [p for p in points if p.excess is not None and not p.overloaded]
    rates = np.array([p.rate for p in points])
    saturation = np.geomspace(0.7 * rates.min(), 4 * rates.max(), 240)
    grid, power = (x.ravel() for x in np.meshgrid(saturation, _POWERS))
    weight = -0.5 * (np.log(power / 0.6) / 0.8) ** 2
    for p in points:
        if p.overloaded:
            weight += log_ndtr((p.rate / grid - 1) / _SATURATION)
    load = np.array([p.rate for p in told])
    fits = np.all(load[:, None] < grid[None, :], axis=0) if len(load) else np.ones(len(grid), bool)
    grid, power, weight = grid[fits], power[fits], weight[fits]
    excess = np.array([p.excess for p in told], np.float64)
    error = np.array([max(p.error, _LEAST_ERROR) for p in told])
    error = np.hypot(error, MISFIT * np.log(load / near))
    base = -power[None, :] * np.log1p(-load[:, None] / grid[None, :])
    precision = 1 / error**2
    total = precision.sum()
    rest = excess[:, None] - base
    centre = precision @ rest / total
    weight = weight - 0.5 * (precision @ (rest - centre) ** 2)
    weight -= weight.max()
    share = np.exp(weight)
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(share), _DRAWS, p=share / share.sum())
    a = centre[drawn] + rng.normal(size=_DRAWS) / math.sqrt(total)
    mu = grid[drawn] * (1 + 0.5 * (saturation[1] / saturation[0] - 1) * rng.uniform(-1, 1, _DRAWS))
    found = mu * -np.expm1(np.minimum(a / power[drawn], 0.0))
    kept = np.ones(_DRAWS, bool)
    for p in points:
        if p.excess is None and not p.overloaded:
            kept &= (found >= p.rate) if p.passed else (found <= p.rate)
    return np.asarray(found[kept] if kept.sum() > _DRAWS / 20 else found, np.float64)
