r"""Estimates whose standard errors hold although the observations are not independent.

Requests that ran in one batch share its fate, so a request is no independent observation; a batch nearly
is. All errors here are therefore computed between batches, never between requests:

* Means and rates are ratios of sums over batches. With :math:`z_i = a_i - R b_i` for batch ``i`` the
  variance of :math:`R = \sum a / \sum b` is :math:`\sum z_i^2 / ((n - 1) n \bar b^2)` ([C77]_, 6.4).
* Percentiles are of the pooled raw sample; their error is the root mean square deviation of the same
  percentile over bootstrap resamples of whole batches ([DH97]_, 3.8; [R18]_), times
  :math:`\sqrt{n / (n - 1)}` because resampling n batches loses one degree of freedom.
* Successive batches may correlate (a neighbour's load, heat). A first-order autoregressive model of the
  batches' contributions :math:`z_i`, its coefficient corrected for small-sample bias ([K54]_), widens the
  error by :math:`\sqrt{(1 + r) / (1 - r)}` and lowers the effective count to :math:`n (1 - r) / (1 + r)`
  ([F71]_). A negative coefficient (in a closed loop a slow batch is followed by a quick one) narrows it,
  after one standard error of the coefficient was taken off. More than ``MAX_CLUSTERS`` batches are first
  merged with their neighbours, which is the method of batch means. Rates over a served load: :mod:`.flow`.

* Behind a queue of an open loop latencies remember for longer than a few batches show. How long is told by
  the requests under way (:mod:`.queue_memory`): where the run spans few relaxation times, the error is that
  of as few of the lowest frequencies, and grows with the square of the wait.

``Estimate.sem`` is scaled so that ``value +- 1.96 * sem`` is the 95 % interval of Student's distribution:
with n batches the standard error is multiplied by :math:`t_{0.975, n - 1} / 1.96` (1.42 for 5 batches, 1.07
for 20). That is within 2 % of the standard deviation of the Student posterior, so that it is also the right
noise level for a model that assumes normal errors. With ``n = 1`` there is no standard error (``None``).

* With fewer than about ten independent values beyond it a percentile is nearly the largest value seen, and a
  bootstrap, which cannot draw beyond the data, gives an error several times too small (measured: 60 %
  instead of 95 % of intervals held p99 of 40 values). There the error is at least that of a percentile read
  off an exponential tail fitted to the upper fifth ([E97]_, 6.5), which assumes tails no heavier than that.

* Latencies behind a queue come in bouts: the values beyond a high percentile lie in few batches, which are
  the observations then. Where the design effect shows that, the error is multiplied by Student's factor for
  the effective count of batches that reach the tail, ``sum(k) ** 2 / sum(k ** 2)`` of their counts ``k``
  ([K65]_).
* A low estimate of a latency comes with a low estimate of its error, so symmetric intervals miss upwards. The
  interval is therefore taken on the logarithmic scale and ``sem`` is that of its upper, longer half.

Shares of 1,000 intervals that held the truth (see ``tests/measure/endpoint/test_measure_cover.py``), on
autoregressive streams (0, 0.5, 0.9) and on the times in M/M/1 queues (load 0.5 and 0.7; 5,000 and 20,000
requests): means 0.95 to 0.96, rates 0.95 to 0.96, p50 0.96 to 0.97, p95 0.97, p99 0.97 to 0.99 of the
streams and 0.95 of the queues. Behind a long queue, whose bouts are few (load 0.8, 6,000 requests), they held
less often: p50 0.95, p95 0.93, p99 0.92, the mean 0.90.

.. [C77] Cochran, Sampling Techniques, 3rd ed., 1977.
.. [CR65] Chow, Robbins, On the asymptotic theory of fixed-width sequential confidence intervals, Annals of
   Mathematical Statistics 36, 1965.
.. [DH97] Davison, Hinkley, Bootstrap Methods and their Application, 1997.
.. [E97] Embrechts, Klueppelberg, Mikosch, Modelling Extremal Events, 1997.
.. [F71] Fishman, Estimating sample size in computing simulation experiments, Management Science 18, 1971.
.. [K54] Kendall, Note on bias in the estimation of autocorrelation, Biometrika 41, 1954.
.. [K65] Kish, Survey Sampling, 1965, 8.2.
.. [R18] Ren et al., Nonparametric bootstrapping for hierarchical data, J. Applied Statistics 37, 2010.
.. [W89] Whitt, Planning queueing simulations, Management Science 35, 1989.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from autotune.core.measurement import Estimate
from autotune.core.quantiles import NORMAL, student_quantile
from autotune.measure.statistics.flow import projections

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

MAX_CLUSTERS = 256  # enough for a Student factor of 1.005; more only cost time in the bootstrap
RESAMPLES = 400  # the standard error's own error is 1 / sqrt(2 * 400) = 3.5 %
# Coefficients estimated from 5 to 10 batches scatter; without these two bounds one interval in twenty is 15
# times too wide, with them 4 times, and the same share holds the truth (within 1 %, autoregressive streams).
_MAX_AUTOCORRELATION = 0.8
_MIN_AUTOCORRELATION = -0.5
_ENOUGH = 8  # batches, from which a negative coefficient is believed
_LEAST_FREEDOM = 3.0
_SPARSE = 10  # independent values beyond a percentile, below which the bootstrap is not trusted alone
_CLUMPED = 2.0  # design effect from which values beyond a percentile come in bouts rather than singly
_HIGH = 0.9  # percentiles beyond which few bouts may reach; half of the values lie beyond the median
_LEAST_REACH = 4.0  # degrees of freedom; fewer make intervals of no use
_BY_CHANCE = 0.516  # square root of the 10 % point of chi-square over its 4 degrees of freedom
_LAST_LOOKS = 5  # over which a run has grown by 2.4
_TAIL = 0.2  # share of the values that the tail is fitted to
_UNLOADED = 0.05  # share of the requests of an open loop that a queue does not hold up
_FORGETS = 45.0  # relaxation times of a run, from which on a queue is no matter; one without any shows 64
_REMEMBERS = 25.0  # below which the error of a mean grows with its square
_UNBOUNDED = 3.0  # growth of the error where nothing bounds the mean
_LEAST_WINDOWS = 8  # that have low frequencies
_FEWEST = 2  # frequencies: Student's factor is 4.3
_BLOCKS = 512  # coarse steps of the resampled quantile search; about sqrt(values) for usual runs


def ratio(
    numerators: Sequence[float], denominators: Sequence[float], unit: str, relaxations: float | None = None
) -> Estimate:
    """Return the sum of ``numerators`` over the sum of ``denominators``, one pair per batch.

    Args:
        numerators: Numerators, for example output tokens of each batch.
        denominators: Denominators, for example seconds of each batch; their sum must be positive.
        unit: Unit of the result.
        relaxations: Relaxation times of an open loop's queue that all batches span; ``None`` without one.
    """
    top, bottom = (
        _merge(np.asarray(numerators, np.float64)),
        _merge(np.asarray(denominators, np.float64)),
    )
    used = bottom > 0
    top, bottom = top[used], bottom[used]
    n = len(bottom)
    value = float(top.sum() / bottom.sum())
    if n < 2:
        return Estimate(value, None, 1, unit)
    z = top - value * bottom
    sem = float(np.sqrt((z @ z) / ((n - 1) * n))) / float(bottom.mean())
    return Estimate(value, sem * _widening(z, relaxations), n, unit)


def mean(samples: Sequence[Floats], unit: str, relaxations: float | None = None) -> Estimate:
    """Return the mean of all values, with the error between batches.

    Args:
        samples: The values of each batch, at least one in all.
        unit: Unit of the values.
        relaxations: Relaxation times as for :func:`ratio`.
    """
    found = ratio([float(x.sum()) for x in samples], [len(x) for x in samples], unit, relaxations)
    if relaxations is None:
        return _skewed(found)
    return _behind_queue(found, float(np.quantile(np.concatenate(samples), _UNLOADED)), relaxations)


def percentiles(
    samples: Sequence[Floats],
    fractions: Sequence[float],
    unit: str,
    seed: int = 0,
    relaxations: float | None = None,
) -> list[Estimate]:
    """Return percentiles of all values pooled, with errors from resampling whole batches.

    Args:
        samples: The values of each batch, at least one in all.
        fractions: Probabilities such as 0.99.
        unit: Unit of the values.
        seed: Seed of the resampling.
        relaxations: Relaxation times as for :func:`ratio`.
    """
    groups = _merge_samples(samples)
    n = len(groups)
    pooled = np.concatenate(groups)
    values = np.quantile(pooled, fractions)
    if n < 2:
        return [Estimate(float(value), None, 1, unit) for value in values]
    ordered = np.sort(pooled)
    middle = float(np.median(pooled))
    unloaded = float(np.quantile(pooled, _UNLOADED))
    clumping = max(1.0, _design_effect(groups, middle, 0.5))
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    resampled = _Resampled(groups, weights)
    result = []
    for fraction, value in zip(fractions, values, strict=True):
        drawn = resampled.quantile(fraction)
        sem = float(np.sqrt(np.mean((drawn - value) ** 2) * n / (n - 1)))
        widening = _widening(_beyond(groups, value, fraction), relaxations)
        effect = max(clumping, _design_effect(groups, float(value), fraction))
        if effect > _CLUMPED and fraction > _HIGH:
            sem *= _few_reach(groups, float(value))
        if len(pooled) * (1 - fraction) < _SPARSE * effect:
            sem = max(sem, _tail_error(ordered, fraction, effect))
            # Too few batches reach the tail to show a correlation there; the middle shows it better.
            widening = max(widening, _widening(_beyond(groups, middle, 0.5), relaxations))
        found = Estimate(float(value), sem * widening, n, unit)
        result.append(_skewed(found) if relaxations is None else _behind_queue(found, unloaded, relaxations))
    return result


def usual_width(looks: Sequence[tuple[float, float]], seconds: float) -> float:
    """Return the half-width that the last looks at a run let one expect of it: their root mean square.

    Args:
        looks: Seconds and relative half-width of each, oldest first; the last one is of the whole run.
        seconds: Length that the run may have. In its first half nearly every run of a load that ends there
            is narrow; of one that ends later those are that are so by chance. 0 in the first half.
    """
    if not looks or looks[-1][0] < seconds / 2:
        return 0.0
    last = looks[-1][0]
    return math.sqrt(float(np.mean([half**2 * at / last for at, half in looks[-_LAST_LOOKS:]])))


def fixed_width(estimate: Estimate, precision: float, usual: float = 0.0) -> Estimate:
    """Return the estimate of a run that ended because its interval was narrow: with the width asked for.

    Such a run ends when its error happens to be small, so that its own interval is too narrow; the one that
    holds the truth as often as it says is that of the width it was ended by ([CR65]_). Only an error so small
    that its upper 90 % limit (of few degrees of freedom) is within the width did not depend on chance.

    Args:
        estimate: Estimate of the whole run.
        precision: Half-width asked for, relative.
        usual: Half-width that earlier looks let one expect (:func:`usual_width`), which counts if wider.
    """
    if estimate.sem is None:
        return estimate
    own, asked = NORMAL * estimate.sem, precision * abs(estimate.value)
    if own > asked:
        return estimate
    if usual > precision and math.isfinite(usual):
        return replace(estimate, sem=usual * abs(estimate.value) / NORMAL)
    return estimate if own <= _BY_CHANCE * asked else replace(estimate, sem=asked / NORMAL)


def _skewed(estimate: Estimate) -> Estimate:
    """Return the estimate with an error that also holds upwards: latencies err by a factor, not by a sum."""
    if not estimate.sem or estimate.value <= 0:
        return estimate
    half = NORMAL * estimate.sem / estimate.value
    wider = float(np.expm1(half)) if half < 1 else half * float(np.expm1(1.0))
    return replace(estimate, sem=estimate.value * wider / NORMAL)


def _behind_queue(estimate: Estimate, unloaded: float, relaxations: float) -> Estimate:
    r"""Return the estimate of a latency behind a queue, with an error that holds upwards.

    What errs by a factor is the time beyond that of a request that did not wait, and the error of a mean wait
    :math:`m` grows with its square where the queue remembers long: that of a reflected Brownian motion over a
    time :math:`T` is :math:`m^2 \sqrt{8 / (\sigma^2 T)}` ([W89]_). The highest mean :math:`m (1 + u)` that
    agrees with what was found solves :math:`u = h (1 + u)^2` for a relative half-width :math:`h`; above 1/4
    nothing bounds it, and the error goes on in proportion to what ``h`` is beyond that.

    Args:
        estimate: Estimate with a symmetric error.
        unloaded: Latency of a request that did not wait.
        relaxations: Relaxation times that the run spans; from ``_FORGETS`` on the error grows by a factor.
    """
    excess = estimate.value - unloaded
    if not estimate.sem or unloaded < 0 or excess <= 0:
        return _skewed(estimate)
    half = NORMAL * estimate.sem / excess
    factor = float(np.expm1(half)) if half < 1 else half * float(np.expm1(1.0))
    square = (1 - math.sqrt(1 - 4 * half)) / (2 * half) - 1 if half < 0.25 else 1 + _UNBOUNDED * (half - 0.25)
    weight = min(max((_FORGETS - relaxations) / (_FORGETS - _REMEMBERS), 0.0), 1.0)
    wider = math.pow(factor, 1 - weight) * math.pow(max(square, factor), weight)
    return replace(estimate, sem=max(excess * wider / NORMAL, _skewed(estimate).sem or 0.0))


def _few_reach(groups: Sequence[Floats], value: float) -> float:
    """Return the factor of an error that rests on the few batches with a share in the tail.

    Student's for that many observations, times one and a standard error of the error itself: the run that
    misses a bout has too low a percentile and, for the same reason, too low an error.
    """
    beyond = np.array([np.count_nonzero(x > value) for x in groups], np.float64)
    reach = max(1.0, float(beyond.sum() ** 2 / max(float(beyond @ beyond), 1.0)))  # 1 if all lie in one batch
    student = student_quantile(max(reach - 1, _LEAST_REACH)) / student_quantile(len(groups) - 1)
    return max(1.0, float(student)) * (1 + 1 / math.sqrt(2 * reach))


def _beyond(groups: Sequence[Floats], value: float, fraction: float) -> Floats:
    """Return each batch's count of values up to ``value`` less the expected one: its contribution."""
    return np.array([np.count_nonzero(x <= value) - fraction * len(x) for x in groups])


def _design_effect(groups: Sequence[Floats], value: float, fraction: float) -> float:
    """Return how many of the values count as one because they shared a batch (1: all independent)."""
    z = _beyond(groups, value, fraction)
    n, total = len(groups), sum(len(x) for x in groups)
    return float(z @ z) * n / (n - 1) / (total * fraction * (1 - fraction))


def _tail_error(ordered: Floats, fraction: float, effect: float) -> float:
    """Return the standard error of a percentile extrapolated along an exponential tail."""
    total = len(ordered)
    k = min(max(5, int(total * _TAIL)), total - 1)
    excess = float(np.mean(ordered[-k:]) - ordered[-k - 1])
    reach = max(float(np.log(k / (total * (1 - fraction)))), 0.0)
    return excess * float(np.sqrt(effect / k * (1 + reach**2)))


class _Resampled:
    """The quantiles of many weighted resamples at once.

    All values are sorted once and cut into blocks. Per resample, the block that holds the wanted rank
    follows from the blocks' weighted counts (one matrix product), and the place in it from a cumulative
    sum over that block alone: exact, and ``values / 512`` instead of ``values`` steps per resample.

    Args:
        groups: The values of each batch.
        weights: Count of each batch in each resample, ``resamples x batches``.
    """

    def __init__(self, groups: Sequence[Floats], weights: Counts) -> None:
        pooled = np.concatenate(groups)
        owner = np.repeat(np.arange(len(groups)), [len(x) for x in groups])
        order = np.argsort(pooled, kind="stable")
        self._width = -(-len(pooled) // _BLOCKS)
        blocks = -(-len(pooled) // self._width)
        padding = blocks * self._width - len(pooled)
        # Padding repeats the largest value and belongs to an extra batch that never occurs.
        self._sorted = np.pad(pooled[order], (0, padding), mode="edge")
        self._owner = np.pad(owner[order], (0, padding), constant_values=len(groups))
        self._weights = np.pad(weights, ((0, 0), (0, 1)))
        block = np.arange(blocks * self._width) // self._width
        size = (len(groups) + 1) * blocks
        per_block = np.bincount(self._owner * blocks + block, minlength=size).reshape(-1, blocks)
        # Counts are exact as floats, whose product is many times faster than that of integers.
        total = self._weights.astype(np.float64) @ per_block.astype(np.float64)
        self._upto = np.cumsum(total.astype(np.int64), axis=1)

    def quantile(self, fraction: float) -> Floats:
        """Return the quantile of each resample, interpolated as :func:`numpy.quantile` does."""
        place = (self._upto[:, -1] - 1) * fraction
        low = np.floor(place).astype(np.int64)
        high = np.ceil(place).astype(np.int64)
        bottom, top = self._at_rank(low), self._at_rank(high)
        return np.asarray(bottom + (top - bottom) * (place - low), np.float64)

    def _at_rank(self, rank: Counts) -> Floats:
        block = np.argmax(self._upto > rank[:, None], axis=1)
        rows = np.arange(len(rank))
        before = np.where(block > 0, self._upto[rows, block - 1], 0)
        inside = block[:, None] * self._width + np.arange(self._width)
        counts = np.cumsum(self._weights[rows[:, None], self._owner[inside]], axis=1)
        place = np.argmax(counts > (rank - before)[:, None], axis=1)
        return np.asarray(self._sorted[inside[rows, place]], np.float64)


def _widening(z: Floats, relaxations: float | None = None) -> float:
    """Return the factor of the error of independent batches: for correlation, and Student's.

    Args:
        z: Contribution of each batch to the estimate, in the order they ran.
        relaxations: Relaxation times as for :func:`ratio`. A queue that forgets slowly makes the lowest
            frequencies differ from the others: as many of them are averaged as its spectrum is flat over.
    """
    widening = _of_first_order(z)
    centred = z - z.mean()
    power = float(centred @ centred)
    if relaxations is None or relaxations >= _FORGETS or len(z) < _LEAST_WINDOWS or power <= 0:
        return widening
    count = min(max(round(relaxations / (2 * math.pi)), _FEWEST), len(z) // 2)
    lowest = float(projections(z, count).mean()) / power
    return max(widening, math.sqrt(lowest) * student_quantile(count) / NORMAL)


def _of_first_order(z: Floats) -> float:
    """Return the factor of the error by a first-order model of successive batches, and Student's."""
    n = len(z)
    r = _autocorrelation(z)
    rising = max(r, 0.0)
    freedom = max(n * (1 - rising) / (1 + rising) - 1, min(_LEAST_FREEDOM, n - 1))
    return float(np.sqrt((1 + r) / (1 - r)) * student_quantile(freedom) / NORMAL)


def _autocorrelation(z: Floats) -> float:
    """Return the coefficient of a first-order model, moved towards 0 by its error where it is negative."""
    n = len(z)
    centred = z - z.mean()
    power = float(centred @ centred)
    if power <= 0 or n <= 2:
        return 0.0
    r = float(centred[1:] @ centred[:-1]) / power
    r += (1 + 3 * r) / n
    if r >= 0:
        return min(r, _MAX_AUTOCORRELATION)
    return max(min(r + 1 / math.sqrt(n), 0.0), _MIN_AUTOCORRELATION) if n >= _ENOUGH else 0.0


def _merge(values: Floats) -> Floats:
    return np.array([part.sum() for part in _neighbours(values)])


def _merge_samples(samples: Sequence[Floats]) -> list[Floats]:
    filled = [x for x in samples if len(x)]
    if len(filled) <= MAX_CLUSTERS:
        return filled
    cuts = np.linspace(0, len(filled), MAX_CLUSTERS + 1).astype(int)
    return [np.concatenate(filled[a:b]) for a, b in pairwise(cuts)]


def _neighbours(values: Floats) -> list[Floats]:
    return np.array_split(values, min(len(values), MAX_CLUSTERS))
