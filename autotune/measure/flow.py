r"""Standard error of a rate: how much a count of events over a time varies in the long run.

Completions come in lumps, requests that began together end together, a neighbour slows seconds at a time: the
counts of successive windows correlate, negatively or positively. What the error of a rate over ``T`` seconds
rests on is the spectral density of the flow at frequency 0, which the lowest frequencies show ([HW81]_,
[LLSW18]_):

* The cumulative count, drawn as straight lines between arrivals, less its mean is projected on the cosines
  :math:`\sqrt 2 \cos(\pi j t / T)`, ``j = 1 ... K``. Each squared projection is an estimate of the variance
  of the count with one degree of freedom, whatever happens at higher frequencies: lumps, steps, the grid of
  windows. Their mean has ``K`` degrees of freedom, whence Student's factor.
* ``K`` is the power 0.4 of how many times a request's latency fits into the time, from 4 to 12: few where the
  run is short beside what happens in it, so that correlation over several requests is still seen.
* A closed loop of few such cycles repeats its pattern (who prefills when) once per cycle, among the lowest
  frequencies. There every slot is always busy, so that the count is also the sum of
  :math:`a_i - (R / c) d_i` over requests of ``a`` events and ``d`` seconds, which holds no pattern, plus what
  is under way at the ends; that difference is seen at all times and twice its variance is added. The
  projections are divided by what averaging over a request takes away. Requests must be alike: those still
  under way are longer than those that ended.
* Counts come in lumps of :math:`\sum a^2 / \sum a`; the error is at least that of rounding to whole ones.

``python -m benchmarks.intervals`` measures the shares of intervals that hold the truth.

.. [HW81] Heidelberger, Welch, A spectral method for confidence interval generation and run length control in
   simulations, Communications of the ACM 24, 1981.
.. [LLSW18] Lazarus, Lewis, Stock, Watson, HAR inference: recommendations for practice, J. Business & Economic
   Statistics 36, 2018.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from autotune.core.measurement import Estimate

Floats = NDArray[np.float64]

_GRID = 512  # steps of the time; frequencies up to 12 half-waves need a tenth
_LEAST, _MOST = 4, 12  # frequencies
_FEW_CYCLES = 8.0  # below them the pattern of a cycle lies among the lowest frequencies
_ALIKE = (
    0.5  # coefficient of variation of latencies, from which those under way are not like those that ended
)


@dataclass(frozen=True)
class Requests:
    """The requests that ended within the time, by the time of their end.

    Args:
        ended: Seconds since the begin, ascending.
        took: Latency of each in seconds.
        amounts: Events of each.
        concurrency: Requests under way at all times in a closed loop; ``None`` for an open one.
    """

    ended: Floats
    took: Floats
    amounts: Floats
    concurrency: int | None = None


def rate(times: Floats, amounts: Floats, seconds: float, requests: Requests, unit: str, n: int) -> Estimate:
    """Return events per second with the standard error of the long run.

    Args:
        times: Of the events in seconds since the begin, ascending, from 0 to ``seconds``.
        amounts: Of each event.
        seconds: Length of the time.
        requests: That ended in it.
        unit: Of the result.
        n: Count of the observations to report.
    """
    total = float(amounts.sum())
    value = total / seconds
    if n < 2 or total <= 0:
        return Estimate(value, None if n < 2 else 0.0, n, unit)
    cycles = seconds / float(requests.took.mean()) if len(requests.took) else 0.0
    grid = np.linspace(0.0, seconds, _GRID + 1)
    counted = np.concatenate([[0.0], np.cumsum(amounts), [total]])
    cumulative = np.interp(grid, np.concatenate([[0.0], times, [seconds]]), counted)
    variance = _of_pattern(cumulative - value * grid, value, grid, requests, cycles)
    if variance is None:
        power = _projections(np.diff(cumulative), frequencies(cycles))
        variance = _student(power) ** 2
    lump = float((amounts @ amounts) / total)
    return Estimate(value, math.sqrt(max(variance, lump**2 / 12)) / seconds, n, unit)


def frequencies(cycles: float) -> int:
    """Return how many of the lowest frequencies are averaged."""
    return round(min(max(math.pow(cycles, 0.4), _LEAST), _MOST))


def _of_pattern(
    deviation: Floats, value: float, grid: Floats, requests: Requests, cycles: float
) -> float | None:
    """Return the variance of the count of a loop of few cycles; ``None`` where requests do not tell it."""
    slots, took = requests.concurrency, requests.took
    if slots is None or not 2 <= cycles < _FEW_CYCLES or len(took) < 8 or took.std() > _ALIKE * took.mean():
        return None
    ended = np.concatenate([[0.0], np.cumsum(requests.amounts - value / slots * took)])
    work = ended[np.searchsorted(requests.ended, grid, side="right")]
    count = max(2, min(_LEAST, round(cycles)))
    averaged = np.sinc(np.arange(1, count + 1) / (2 * cycles)) ** 2
    power = _projections(np.diff(work), count) / averaged
    return _student(power) ** 2 + 2 * float((deviation - work).var())


def _projections(increments: Floats, count: int) -> Floats:
    """Return the squared projections of a series on the ``count`` lowest cosines."""
    n = len(increments)
    waves = np.cos(np.pi * np.outer(np.arange(1, count + 1), np.arange(n) + 0.5) / n)
    return np.asarray(2 * (waves @ (increments - increments.mean())) ** 2, np.float64)


def _student(power: Floats) -> float:
    """Return the standard deviation of which 1.96 are half of Student's 95 % interval."""
    return float(np.sqrt(power.mean()) * stdtrit(len(power), 0.975) / 1.96)
