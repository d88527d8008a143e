r"""Standard error of a rate: how much a count of events over a time varies in the long run.

Completions come in lumps, requests that began together end together, a neighbour slows seconds at a time: the
counts of successive windows correlate, negatively or positively. What the error of a rate over ``T`` seconds
rests on is the spectral density of the flow at frequency 0, which the lowest frequencies show ([HW81]_,
[LLSW18]_):

* The cumulative count, drawn as straight lines between arrivals, less its mean is projected on the cosines
  :math:`\sqrt 2 \cos(\pi j t / T)`, ``j = 1 ... K``. Each squared projection is an estimate of the variance
  of the count with one degree of freedom, whatever happens at higher frequencies: lumps, steps, the grid of
  windows. Their mean has ``K`` degrees of freedom, whence Student's factor. ``K`` is the power 0.4 of how
  many times a request's latency fits into the time (cycles), from 4 to 12.
* In a closed loop every slot is always busy, so that the count is also the sum of :math:`a_i - (R / c) d_i`
  over requests of ``a`` events and ``d`` seconds: the work, which holds neither lumps nor the pattern that
  repeats once per cycle (who prefills when). It is projected in place of the count, and the projections are
  divided by what averaging over a request takes away. By what the two differ is seen at all times: the mean
  square of its change over the time less a whole number of cycles is the variance that the ends add. A
  pattern that repeats adds little at a whole number of cycles, one that dissolves twice its variance. The
  requests must be alike or short beside the time: those under way are longer than those that ended.
* Correlation beyond a few windows slopes the lowest frequencies. The slope of a first-order autoregression of
  successive windows, its coefficient corrected for small-sample bias ([K54]_), is taken out before averaging
  (prewhitening, [AM92]_): windows of as many completions as there are slots, which hold one lump each
  ([TW11]_), or of equal time where these are too few or the loop is open. A coefficient from few windows is
  uncertain, more so the nearer it is to 1: by the delta method that takes degrees of freedom away.
* Parts with different degrees of freedom are added as Welch and Satterthwaite do ([S46]_).
* Skewed windows (a few requests last long) make Student's interval miss on one side. Half the interval is the
  longer one of the two of a Cornish-Fisher expansion ([W05]_), for a skewness beyond its standard error. The
  work of single requests shows a skewness that a few windows of them cannot; by it, half the interval is what
  both sides of Hall's transformation ([H92]_) miss in 5 % together, since the short side misses hardly ever.
* Counts come in lumps of :math:`\sum a^2 / \sum a`; the error is at least that of rounding to whole ones.

``python -m benchmarks.intervals`` measures the shares of intervals that hold the truth.

.. [AM92] Andrews, Monahan, An improved heteroskedasticity and autocorrelation consistent covariance matrix
   estimator, Econometrica 60, 1992.
.. [H92] Hall, On the removal of skewness by transformation, J. Royal Statistical Society B 54, 1992.
.. [HW81] Heidelberger, Welch, A spectral method for confidence interval generation and run length control in
   simulations, Communications of the ACM 24, 1981.
.. [K54] Kendall, Note on bias in the estimation of autocorrelation, Biometrika 41, 1954.
.. [LLSW18] Lazarus, Lewis, Stock, Watson, HAR inference: recommendations for practice, J. Business & Economic
   Statistics 36, 2018.
.. [S46] Satterthwaite, An approximate distribution of estimates of variance components, Biometrics 2, 1946.
.. [TW11] Tafazzoli, Wilson, Skart: a skewness- and autoregression-adjusted batch-means procedure for
   simulation analysis, IIE Transactions 43, 2011.
.. [W05] Willink, A confidence interval and test for the mean of an asymmetric distribution, Communications in
   Statistics: Theory and Methods 34, 2005.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autotune.core.measurement import Estimate
from autotune.core.quantiles import NORMAL, student_quantile

Floats = NDArray[np.float64]

_GRID = 512  # steps of the time; frequencies up to 12 half-waves need a tenth
_LEAST, _MOST = 4, 12  # frequencies
_LEAST_REQUESTS, _LEAST_CYCLES = 8, 2.0  # below, requests do not tell what a loop does
_ALIKE = 0.5  # coefficient of variation of latencies up to which those under way are like those that ended
_SHORT = 0.25  # share of the time up to which the longest request leaves the others to count
_ENDS = 16  # parts of the time, in one of which the difference of count and work is looked at
_FREEDOM_OF_ENDS = 8.0  # per cycle: a pattern has about as many independent values
_LEAST_WINDOWS = 12  # of whole lumps, that a coefficient is estimated from
_WINDOWS = (16, 64)  # of equal time
_COEFFICIENTS = (-0.5, 0.9)  # beyond, a few windows say nothing of the long run
_MISSED = 0.05  # share of the intervals
_HALVINGS = 20  # of what a half-width is sought in: to a millionth
_TOUCH = 1e-9  # seconds: an event at the time of a completion belongs to it


@dataclass(frozen=True)
class Requests:
    """The requests that ended within the time, by the time of their end.

    Args:
        ended: Seconds since the begin, ascending.
        took: Latency of each in seconds.
        amounts: Events of each.
        concurrency: Requests under way on average in a closed loop, a little fewer than its slots where a
            slot waits for its next one; ``None`` for an open loop.
    """

    ended: Floats
    took: Floats
    amounts: Floats
    concurrency: float | None = None


@dataclass(frozen=True)
class _Part:
    """A part of the variance of a count, and its degrees of freedom."""

    variance: float
    freedom: float


def rate(times: Floats, amounts: Floats, seconds: float, requests: Requests, unit: str, n: int) -> Estimate:
    """Return events per second with the standard error of the long run.

    Args:
        times: Times of the events in seconds since the begin, ascending, from 0 to ``seconds``.
        amounts: Amounts of each event.
        seconds: Length of the time.
        requests: Requests that ended in it.
        unit: Unit of the result.
        n: Count of the observations to report.
    """
    total = float(amounts.sum())
    value = total / seconds
    if n < 2 or total <= 0:
        return Estimate(value, None if n < 2 else 0.0, n, unit)
    cycles = seconds / float(requests.took.mean()) if len(requests.took) else 0.0
    grid = np.linspace(0.0, seconds, _GRID + 1)
    counted = np.concatenate([[0.0], np.cumsum(amounts), [total]])
    drawn = np.interp(grid, np.concatenate([[0.0], times, [seconds]]), counted)
    deviation = drawn - value * grid
    count = frequencies(cycles)
    series, least, single = _windows_of_time(deviation, cycles), 0.0, _work_of_each(value, requests)
    if not _busy(requests, cycles, seconds):
        parts = [_at_zero(projections(np.diff(deviation), count), series, least)]
    else:
        lumps = _windows_of_lumps(times, counted, value, requests)
        if len(lumps) >= _LEAST_WINDOWS:
            series, least = lumps, _COEFFICIENTS[0]
        work = np.concatenate([[0.0], np.cumsum(single)])[np.searchsorted(requests.ended, grid, side="right")]
        count = max(2, min(count, round(cycles)))
        averaged = np.sinc(np.arange(1, count + 1) / (2 * cycles)) ** 2
        power = projections(np.diff(work), count) / averaged
        parts = [_at_zero(power, series, least), _of_ends(deviation - work, cycles)]
    factor = _student(_together(parts), series, single)
    error = math.sqrt(math.fsum(part.variance for part in parts)) * factor / NORMAL
    lump = float((amounts @ amounts) / total)
    return Estimate(value, max(error, lump / math.sqrt(12)) / seconds, n, unit)


def frequencies(cycles: float) -> int:
    """Return how many of the lowest frequencies are averaged."""
    return round(min(max(math.pow(cycles, 0.4), _LEAST), _MOST))


def _busy(requests: Requests, cycles: float, seconds: float) -> bool:
    """Return whether the requests tell what the loop does at all times."""
    took = requests.took
    if requests.concurrency is None or cycles < _LEAST_CYCLES or len(took) < _LEAST_REQUESTS:
        return False
    return bool(took.std() <= _ALIKE * took.mean() or took.max() <= _SHORT * seconds)


def _work_of_each(value: float, requests: Requests) -> Floats:
    """Return what each ended request gave beyond what its time gives on average; empty for an open loop."""
    if requests.concurrency is None:
        return np.zeros(0)
    share = value / (requests.concurrency or 1)
    return np.asarray(requests.amounts - share * requests.took, np.float64)


def _of_ends(difference: Floats, cycles: float) -> _Part:
    """Return the variance of the change of count less work between the ends."""
    whole = math.ceil(cycles / _ENDS)
    lag = _GRID - round(_GRID * whole / cycles)
    changes = difference[lag:] - difference[:-lag]
    return _Part(float(changes @ changes) / len(changes), _FREEDOM_OF_ENDS * whole)


def _windows_of_time(deviation: Floats, cycles: float) -> Floats:
    """Return the deviations of successive windows of equal time, of a cycle where there are that many."""
    n = min(max(round(cycles), _WINDOWS[0]), _WINDOWS[1])
    return np.diff(deviation[np.linspace(0, _GRID, n + 1).round().astype(int)])


def _windows_of_lumps(times: Floats, counted: Floats, value: float, requests: Requests) -> Floats:
    """Return the deviations of successive windows of as many completions as there are slots."""
    slots = max(1, round(requests.concurrency or 1))
    cuts = np.unique(requests.ended[slots - 1 :: slots])
    passed = counted[np.searchsorted(times, cuts + _TOUCH, side="right")]
    return np.asarray(np.diff(passed) - value * np.diff(cuts), np.float64)


def projections(increments: Floats, count: int) -> Floats:
    """Return the squared projections of a series on the ``count`` lowest cosines."""
    n = len(increments)
    waves = np.cos(np.pi * np.outer(np.arange(1, count + 1), np.arange(n) + 0.5) / n)
    return np.asarray(2 * (waves @ (increments - increments.mean())) ** 2, np.float64)


def _at_zero(power: Floats, series: Floats, least: float) -> _Part:
    """Return the level at frequency 0 of a spectrum with the slope of a first-order autoregression.

    Args:
        power: Power at the lowest frequencies.
        series: Successive windows, whose coefficient gives the slope.
        least: Lower bound of the coefficient.
    """
    n = len(series)
    r = min(max(_coefficient(series), least), _COEFFICIENTS[1])
    cosines = np.cos(np.pi * np.arange(1, len(power) + 1) / n)
    level = power * (1 + r * r - 2 * r * cosines) / (1 - r) ** 2
    variance = float(level.mean())
    # Relative change of the level with the coefficient, whose own variance is (1 - r^2) / n.
    change = (2 * r - 2 * cosines) / (1 + r * r - 2 * r * cosines) + 2 / (1 - r)
    slope = float(level @ change) / float(level.sum()) if variance > 0 else 0.0
    return _Part(variance, 2 / (2 / len(power) + slope**2 * (1 - r * r) / n))


def _coefficient(series: Floats) -> float:
    """Return the correlation of successive values, corrected for the bias of few."""
    n = len(series)
    centred = series - series.mean()
    power = float(centred @ centred)
    if power <= 0:
        return 0.0
    r = float(centred[1:] @ centred[:-1]) / power
    return r + (1 + 3 * r) / n


def _together(parts: list[_Part]) -> float:
    """Return the degrees of freedom of a sum of variances, at least the one that any interval needs."""
    total = sum(part.variance for part in parts)
    spread = sum(part.variance**2 / part.freedom for part in parts)
    return max(total * total / spread, 1.0) if spread > 0 else 1.0


def _student(freedom: float, series: Floats, single: Floats) -> float:
    """Return Student's factor of a 95 % interval, for the longer side of a skewed one.

    Args:
        freedom: Degrees of it.
        series: Series whose skewness the sum has.
        single: The same of single requests; empty where they do not tell.
    """
    factor = student_quantile(freedom)
    b, finer = _skewness(series), _skewness(single)
    longer = (1 - float(np.cbrt(1 - 6 * b * (factor + b)))) / (2 * b) if b > 0 else factor
    return max(factor, longer, _of_both_sides(freedom, finer) if finer > 0 else factor)


def _skewness(values: Floats) -> float:
    """Return a sixth of the skewness of a mean of values, as far as it is beyond its standard error."""
    n = len(values)
    centred = values - values.mean() if n else values
    power = float(centred @ centred) / max(n, 1)
    if power <= 0:
        return 0.0
    skewness = abs(float(np.mean(centred**3))) / math.pow(power, 1.5) - math.sqrt(6 / n)
    return max(skewness, 0.0) / (6 * math.sqrt(n))


def _of_both_sides(freedom: float, b: float) -> float:
    """Return the half-width that a skewed sum misses in 5 %, on both sides together.

    Args:
        freedom: Degrees of Student's distribution.
        b: Sixth of the skewness.
    """
    from scipy.special import stdtr  # takes longer to load than all else that an attempt starts with

    def missed(half: float) -> float:
        return float(stdtr(freedom, _hall(-half, b)) + stdtr(freedom, -_hall(half, b)))

    low, high = 0.0, student_quantile(freedom)
    while missed(high) > _MISSED:
        low, high = high, 1.5 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if missed(middle) > _MISSED else (low, middle)
    return high


def _hall(t: float, b: float) -> float:
    """Return the deviation ``t`` of a skewed sum as one of Student's distribution."""
    return t + b + 2 * b * t**2 + 4 / 3 * b**2 * t**3
