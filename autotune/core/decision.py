r"""The decision of a study: which configuration to recommend, and how sure one may be of its limits.

One rule serves recommendation, confirmation and report: the configuration with the best expected goal among
those that keep every limit with the confidence the objective asks for, by all measurements and the model.

For each goal and limit, on the logarithmic scale where values are positive, launch :math:`j` of configuration
:math:`i` gives :math:`y_{ij}` with

.. math::
    y_{ij} \sim N(\theta_i, \sigma^2 + s_{ij}^2), \qquad \theta_i \sim N(m_i, f_i + \tau^2)

where :math:`s_{ij}` is the launch's own standard error, :math:`\sigma` what differs between launches, which
is shared by all configurations, :math:`m_i` and :math:`f_i` what the model predicts of the configuration
from all others, and :math:`\tau` what is particular to a configuration. The search picks the luckiest
measurements; the prediction from all others is what draws them back. :math:`\sigma` and :math:`\tau` are
averaged over by their posterior on a grid: replicates tell :math:`\sigma`, the errors of the predictions tell
both together. Without replicates nobody can tell a good configuration from a lucky launch, and the
probabilities say so.

Where values may be negative they have no logarithm, and what :math:`\sigma` is relative to follows from the
errors themselves, :func:`_scale`: what a hopeless configuration measures, thousands of times as large, says
nothing of how far a launch near zero may be off.

References:
    [Gelman2013] A. Gelman et al., "Bayesian Data Analysis", 3rd edition, 2013, section 5.4: the hierarchical
        normal model with the variances averaged over.
    [Branke2004] J. Branke et al., "Finding knees in multi-objective optimization", PPSN 2004.
    [Gelman2006] A. Gelman, "Prior distributions for variance parameters in hierarchical models", Bayesian
        Analysis 1 (2006).
    [Rasmussen2006] C. E. Rasmussen, C. K. I. Williams, "Gaussian Processes for Machine Learning", 2006,
        section 5.4.2: predictions that leave out what they predict.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from autotune.core.json_object import JsonObject
from autotune.core.measurement import LARGEST, Estimate
from autotune.core.objective import Goal, Limit, Objective
from autotune.core.quantiles import NORMAL
from autotune.core.ranking import Contender, Improvement, contenders, undominated
from autotune.core.trial import Reason, Trial, TrialState

Array = npt.NDArray[np.float64]

Predictions = Mapping[str, Sequence[tuple[float, float]]]
"""By configuration key: mean and variance of the noise-free value of each goal, then of each limit's
violation, predicted from all other configurations, on the scale of :func:`goal_value` and :func:`excess`."""

PREDICTIONS = "predictions"
"""Key of the study's note in the ledger that holds what a model expected at the end of a run."""

_USUAL_SPREAD, _SPREAD_DOUBT = 0.04, 2.0
"""Prior of the relative spread between launches, log-normal: replicates of servers differ by 0.3 %
(one image on one machine) to 22 % (shared processors)."""

_AGAIN_DOUBT, _CHANGED = 0.7, 0.1
"""The same of launches of a study's configurations made later, about the spreads of that study, and the
probability that those say nothing of them: another driver, another machine."""

_HEARD = 2.0
"""Degrees of freedom that the replicates of one configuration count for at most."""

_SPREADS = np.exp(np.linspace(math.log(1e-5), math.log(1.0), 36))
_PARTICULAR = np.exp(np.linspace(math.log(1e-3), math.log(4.0), 16))  # of the predictions' errors
EVEN = 0.5
"""Chance from which limits are likelier kept than not."""

KEPT_WITHIN = 1e-4
"""What a model expects above a limit by less, relative to the bound, keeps it where the launches of the
configuration do on average: a metric that never varies may lie on it. What was measured is judged by
:meth:`Limit.violation` alone, as everywhere."""

_NEAR_ZERO = 0.25  # quantile of the sizes of values that may be negative
_KNOWN = 3  # configurations with a known error that tell how it goes with the size of values

_NEGLIGIBLE = 1e-5  # of a grid point's weight
_LEAST_VARIANCE = 1e-12
_ANYTHING = 1e12  # variance of what nothing is known of
_LEAST_UNIT = 1e-140  # squares of its parts, and what these divide, are numbers


def logarithmic(values: Sequence[float]) -> bool:
    """Return whether values are compared by their logarithms: all of them are positive."""
    return len(values) > 0 and min(values) > 0


def goal_value(goal: Goal, value: float, *, logarithm: bool) -> float:
    """Return a goal's value with the sign such that more is better, as a logarithm where asked."""
    return goal.sign * (math.log(value) if logarithm else _bounded(value))


def excess(limit: Limit, value: float, *, logarithm: bool) -> float:
    """Return by how much a value breaks a limit, at most 0 where it keeps it, as a logarithm where asked."""
    violation = limit.violation(value)
    if logarithm or not violation:  # what lies on the bound but for rounding keeps it on either scale
        return violation
    return (1.0 if limit.upper else -1.0) * _bounded(_bounded(value) - limit.bound)


def _bounded(value: float) -> float:
    """Return a value whose square is a number: ledgers of earlier versions hold larger ones."""
    return min(max(value, -LARGEST), LARGEST)


@dataclass(frozen=True)
class Quantity:
    """Posterior of one goal or limit at every configuration, as a mixture over the grid of variances.

    Args:
        weights: Posterior probability of each grid point, shape ``g``.
        means: Means of the noise-free value, ``g x n``.
        variances: Variances of the same, ``g x n``.
        spreads: Variance between launches at each grid point, shape ``g``.
        within: Typical variance of a launch's own error, by configuration, shape ``n``.
        logarithm: Whether values are logarithms.
        unit: Size of a value; 1 for logarithms.
        grows: Whether a configuration's spread grows with the size of its values beyond ``unit``.
        sizes: Factor by which it does, shape ``n``; 1 where it does not.
        slack: Distance above 0 up to which a value counts as kept, shape ``n``; see :data:`KEPT_WITHIN`.
    """

    weights: Array
    means: Array
    variances: Array
    spreads: Array
    within: Array
    logarithm: bool
    unit: float = 1.0
    grows: bool = False
    sizes: Array | float = 1.0
    slack: Array | float = 0.0

    def spread_of(self, value: float) -> Array:
        """Return the variance between launches of a configuration that measures a value, shape ``g``."""
        size = float(_grown(_bounded(value) / self.unit)) if self.grows else 1.0
        found: Array = self.spreads * size**2
        return found

    @property
    def mean(self) -> Array:
        """Expected noise-free values, shape ``n``."""
        found: Array = self.weights @ self.means
        return found

    def probability_kept(self) -> Array:
        """Return the probability that the noise-free value is at most 0, shape ``n``."""
        over = self.means - self.slack
        return _mixed(self.weights, _normal_cdf(-over / np.sqrt(self.variances)))

    def probability_shown(self, launches: Array, confidence: float) -> Array:
        r"""Return the probability that more launches would show a limit kept, shape ``n``.

        Formula: with posterior variance :math:`v` now and :math:`v'` after the launches, the posterior mean
        moves by a normal step of variance :math:`v - v'` and has to end :math:`z \sqrt{v'}` below 0.

        Args:
            launches: Number of further launches, shape ``n``.
            confidence: Probability that the limit has to be kept with.
        """
        z = NormalDist().inv_cdf(confidence)
        one = self.spreads[:, None] * np.square(self.sizes) + self.within + _LEAST_VARIANCE
        after = 1.0 / (1.0 / self.variances + launches / one)
        step = np.sqrt(np.maximum(self.variances - after, _LEAST_VARIANCE))
        over = self.means - self.slack
        return _mixed(self.weights, _normal_cdf((-over - z * np.sqrt(after)) / step))


@dataclass(frozen=True)
class Candidate:
    """A configuration as the decision sees it.

    Args:
        contender: Configuration with everything measured of it.
        score: Expected goal, more being better; a logarithm where all values are positive.
        chances: Probability that each limit is kept, by the limit's text.
        fresh: Finished launches made to confirm it, doubtful ones apart.
        lost: Launches that were to confirm it and gave no measurement.
    """

    contender: Contender
    score: float
    chances: Mapping[str, float]
    fresh: int
    lost: int

    @property
    def chance(self) -> float:
        """Probability that every limit is kept; limits are taken as independent."""
        return math.prod(self.chances.values())

    @property
    def key(self) -> str:
        """Canonical text of the configuration."""
        return self.contender.trial.key


@dataclass(frozen=True)
class MetricLevel:
    """A metric of one configuration by its launches that count: a mixture over the spread between launches.

    Args:
        weights: Posterior probability of each spread, shape ``g``.
        means: Mean at each spread with the sign such that more is better, a logarithm where asked.
        variances: Variance of that mean at each spread.
        estimate: Pooled estimate of the metric.
        logarithm: Whether means are logarithms.
        maximize: Whether more of the metric is better.
        launches: Number of launches.
        known: Whether replicates, or the launches' own errors, tell how far it may be off.
    """

    weights: Array
    means: Array
    variances: Array
    estimate: Estimate
    logarithm: bool
    maximize: bool
    launches: int
    known: bool

    @property
    def plain(self) -> MetricLevel:
        """The level on the scale of its values."""
        if not self.logarithm:
            return self
        value = _bounded(self.estimate.value)
        means = np.full(len(self.weights), value if self.maximize else -value)
        return replace(self, means=means, variances=self.variances * value**2, logarithm=False)


def improvement(later: MetricLevel, earlier: MetricLevel) -> Improvement:
    """Return by how much one level is better than another one, of another study, with a 95 % interval.

    The two are independent: each has the spread between launches of its own study, and the difference is
    averaged over both of them.
    """
    if later.logarithm != earlier.logarithm:
        later, earlier = later.plain, earlier.plain
    weights = np.outer(later.weights, earlier.weights).ravel()
    difference = np.subtract.outer(later.means, earlier.means).ravel()
    deviations = np.sqrt(np.add.outer(later.variances, earlier.variances).ravel())
    low = high = None
    if later.known or earlier.known:
        low, high = _interval(weights, difference, deviations)
    value, low, high = (_shown(v, later.logarithm) for v in (float(weights @ difference), low, high))
    counts, unit = (later.launches, earlier.launches), "1" if later.logarithm else later.estimate.unit
    return Improvement(value or 0.0, low, high, later.logarithm, counts, later.maximize, unit)


class Decision:
    """The configuration to recommend, by all measurements and what a model predicts.

    Args:
        trials: All trials of the study.
        objective: Objective with limits relative to the default (:func:`autotune.core.ranking.anchored`).
        default_key: Key of the default configuration; its launches are not selected, so all of them count as
            fresh.
        confirm: Fresh launches that make a configuration confirmed; 0 where the study does not confirm.
            From the first such launch on, nothing else is recommended.
        predictions: Predictions of a model; without one, the mean of all others.
        usual: Decision of an earlier study whose spreads between launches are expected here too, within a
            factor of about two; without one, those of servers are.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        objective: Objective,
        default_key: str,
        *,
        confirm: int = 0,
        predictions: Predictions | None = None,
        usual: Decision | None = None,
    ) -> None:
        self.usual = usual
        self.objective, self.default_key, self.confirm = objective, default_key, confirm
        self.trials = trials
        found = contenders(trials, objective)
        self.contenders = [c for c in found if not c.failures and not c.outcome.missing]
        self.limits = [limit for limit in objective.limits if not limit.relative]
        self.awaited = objective.awaited
        self._predictions = predictions or {}
        made = (trial for trial in trials if trial.suggestion.reason is Reason.CONFIRM)
        # one that was cut short is made again
        self.confirmations = [trial for trial in made if trial.state is not TrialState.ABANDONED]
        self.launched: dict[str, list[Trial]] = {}
        for trial in self.confirmations:
            self.launched.setdefault(trial.key, []).append(trial)
        self.confirming = bool(confirm and self.launched)

    # -- the posterior ---------------------------------------------------------------------------------

    @cached_property
    def goals(self) -> list[Quantity]:
        """Posterior of each goal, more being better."""
        return [self._goal(i, goal) for i, goal in enumerate(self.objective.goals)]

    @cached_property
    def excesses(self) -> list[Quantity]:
        """Posterior of each limit's violation."""
        first = len(self.objective.goals)
        return [self._excess(first + i, limit) for i, limit in enumerate(self.limits)]

    def _goal(self, at: int, goal: Goal) -> Quantity:
        logarithm = logarithmic(self._values(goal.metric))
        rows = [
            [goal_value(goal, e.value, logarithm=logarithm) for e in self._launches(c, goal.metric)]
            for c in self.contenders
        ]
        return self._posterior(at, goal.metric, rows, logarithm)

    def _excess(self, at: int, limit: Limit) -> Quantity:
        logarithm = limit.bound > 0 and logarithmic(self._values(limit.metric))
        rows = [
            [excess(limit, e.value, logarithm=logarithm) for e in self._launches(c, limit.metric)]
            for c in self.contenders
        ]
        found = self._posterior(at, limit.metric, rows, logarithm)
        kept = [sum(row) <= 0.0 for row in rows]
        return replace(found, slack=np.where(kept, KEPT_WITHIN * found.unit, 0.0))

    def _launches(self, contender: Contender, metric: str) -> list[Estimate]:
        return [found for trial in contender.trials if (found := self._comparable(trial, metric)) is not None]

    def _comparable(self, trial: Trial, metric: str) -> Estimate | None:
        """Return what a trial measured, ``None`` if nothing or in a unit of another dimension."""
        found = trial.metrics.get(metric)
        known = found is not None and self.objective.value_of(metric, found) is not None
        return found if known else None

    def _values(self, metric: str) -> list[float]:
        """Return every value that a launch gave, those of configurations that also failed included."""
        done = (self._comparable(t, metric) for t in self.trials if t.state is TrialState.COMPLETED)
        return [found.value for found in done if found is not None]

    def _posterior(self, at: int, metric: str, rows: list[list[float]], logarithm: bool) -> Quantity:
        launches = [self._launches(c, metric) for c in self.contenders]
        errors = [[_variance(e, logarithm=logarithm) for e in found] for found in launches]
        means, variances = self._expected(at)
        known = None if self.usual is None or not rows else self.usual.quantity(metric)
        if logarithm or not rows:
            usual = None if known is None or not known.logarithm else (known.weights, known.spreads)
            return posterior(rows, errors, means, variances, logarithm=logarithm, usual=usual)
        unit, grows = _scale([[_bounded(e.value) for e in found] for found in launches], errors)
        middles = np.array([statistics.fmean(_bounded(e.value) / unit for e in found) for found in launches])
        sizes = _grown(middles) if grows else 1.0
        usual = None if known is None or known.logarithm else (known.weights, known.spread_of(unit) / unit**2)
        return posterior(
            rows, errors, means, variances, logarithm=False, unit=unit, grows=grows, sizes=sizes, usual=usual
        )  # fmt: skip

    def _expected(self, at: int) -> tuple[Array, Array]:
        """Return means and variances that a model predicts, shape ``n``; nan where it does not."""
        found = [self._predictions.get(c.trial.key, ()) for c in self.contenders]
        pairs = [known[at] if at < len(known) else (math.nan, math.nan) for known in found]
        return np.array([m for m, _ in pairs]), np.array([v for _, v in pairs])

    def gain(
        self, candidate: Candidate, base: Candidate, at: int = 0, *, launches: int | None = None
    ) -> Improvement:
        """Return by how much a candidate is better than another one in a goal, with a 95 % interval.

        Fresh launches are compared where there are some: they were not chosen for being good, and those of
        the two sides ran in balanced order. The spread between launches is that of the whole study,
        averaged over its posterior.

        Args:
            candidate: One side.
            base: The other.
            at: Index of the goal; the first by default.
            launches: Launches of each side, to foresee the interval of so many more that measure what
                was measured until now; those that were made by default.
        """
        goal, quantity = self.objective.goals[at], self.goals[at]
        sides = [self._counted(c.contender, goal, logarithm=quantity.logarithm) for c in (candidate, base)]
        difference, variance = np.zeros(len(quantity.weights)), np.zeros(len(quantity.weights))
        for sign, side, (values, errors) in zip((1.0, -1.0), (candidate, base), sides, strict=True):
            spreads = quantity.spread_of(side.contender.metrics[goal.metric].value)
            means, variances = _weighed(spreads, values, errors)
            difference += sign * means
            variance += (1.0 if launches is None else len(values) / launches) * variances
        middle = float(quantity.weights @ difference)
        low = high = None
        replicated = any(len(c.trials) > 1 for c in self.contenders)
        if replicated or all(np.isfinite(errors).all() for _, errors in sides):
            low, high = _interval(quantity.weights, difference, np.sqrt(variance))
        value, low, high = (_shown(v, quantity.logarithm) for v in (middle, low, high))
        counts = (len(sides[0][0]), len(sides[1][0])) if launches is None else (launches, launches)
        unit = "1" if quantity.logarithm else candidate.contender.metrics[goal.metric].unit
        return Improvement(value or 0.0, low, high, quantity.logarithm, counts, goal.maximize, unit)

    def quantity(self, metric: str) -> Quantity | None:
        """Return the posterior of a goal or of a limit's metric; ``None`` of another metric."""
        names = [*(goal.metric for goal in self.objective.goals), *(limit.metric for limit in self.limits)]
        return (*self.goals, *self.excesses)[names.index(metric)] if metric in names else None

    def level(self, contender: Contender, goal: Goal) -> MetricLevel | None:
        """Return a metric of a configuration as its launches that count have it.

        Args:
            contender: The configuration.
            goal: Metric of a goal or of a limit, and the direction in which it is better.

        Returns:
            ``None`` where it is neither, or was not measured.
        """
        quantity = self.quantity(goal.metric) if self.contenders else None
        if quantity is None or goal.metric not in contender.metrics:
            return None
        values, errors = self._counted(contender, goal, logarithm=quantity.logarithm)
        if not len(values):
            return None
        estimate = contender.metrics[goal.metric]
        spreads, inverse = np.unique(quantity.spread_of(estimate.value), return_inverse=True)
        weights: Array = np.bincount(inverse, quantity.weights, len(spreads)).astype(float)
        means, variances = _weighed(spreads, values, errors)
        known = any(len(c.trials) > 1 for c in self.contenders) or bool(np.isfinite(errors).all())
        return MetricLevel(
            weights, means, variances, estimate, quantity.logarithm, goal.maximize, len(values), known
        )  # fmt: skip

    def half_width(self, contender: Contender, metric: str) -> float | None:
        """Return the half-width of the 95 % interval of a configuration's pooled metric, in its unit.

        By the same spread between launches as :meth:`gain`, so that what is shown of a configuration and of
        its gain agree: two launches by themselves say next to nothing of their spread.

        Returns:
            ``None`` for a metric that is no goal and no limit, where no error is known, and where nothing
            measured all of these.
        """
        quantity = self.quantity(metric) if self.contenders else None
        if quantity is None:
            return None
        found = [t.metrics[metric] for t in contender.counted if metric in t.metrics]
        if not found:
            return None
        errors = np.array([_variance(e, logarithm=quantity.logarithm) for e in found])
        replicated = any(len(c.trials) > 1 for c in self.contenders)
        if not (replicated or np.isfinite(errors).all()):
            return None
        if len({e.value for e in found}) == 1 < len(found) and not np.nan_to_num(errors).any():
            return 0.0  # a size that never varies: the least spread of the grid is no error to show
        k = len(found)
        value = contender.metrics[metric].value
        variance = quantity.spread_of(value) / k + float(np.nan_to_num(errors).sum()) / k**2
        _, half = _interval(quantity.weights, np.zeros(len(variance)), np.sqrt(variance))
        return half * (abs(value) if quantity.logarithm else 1.0)

    def _counted(self, contender: Contender, goal: Goal, *, logarithm: bool) -> tuple[Array, Array]:
        """Return values and own variances (nan where unknown) of the launches that are compared."""
        found = [e for t in contender.counted if (e := self._comparable(t, goal.metric)) is not None]
        errors = np.array([_variance(e, logarithm=logarithm) for e in found])
        values = np.array([goal_value(goal, e.value, logarithm=logarithm) for e in found])
        return values, errors

    # -- the rule --------------------------------------------------------------------------------------

    @cached_property
    def candidates(self) -> list[Candidate]:
        """Every configuration that may be recommended, in the order of first trials."""
        if not self.contenders:
            return []
        score = self.goals[0].mean
        kept = [quantity.probability_kept() for quantity in self.excesses]
        result = []
        for i, contender in enumerate(self.contenders):
            launched = self.launched.get(contender.trial.key, [])
            if contender.trial.key == self.default_key:
                fresh = sum(not t.doubt for t in contender.trials)
            else:
                fresh = sum(t.state is TrialState.COMPLETED and not t.doubt for t in launched)
            lost = sum(t.state is TrialState.FAILED for t in launched)
            chances = {str(limit): float(p[i]) for limit, p in zip(self.limits, kept, strict=True)}
            result.append(Candidate(contender, float(score[i]), chances, fresh, lost))
        return result

    @cached_property
    def holding(self) -> list[Candidate]:
        """The candidates that keep every limit with the confidence asked for, confirmed or not."""
        return [c for c in self.candidates if self.holds(c)]

    def holds(self, candidate: Candidate) -> bool:
        """Return whether every limit is kept with the confidence that the objective asks for.

        No limit is judged on doubtful launches alone, and none that is relative to a default that was not
        measured.
        """
        if self.awaited:
            return False
        if self.limits and candidate.contender.doubtful:
            return False
        return candidate.chance >= self.objective.confidence and self._kept_by_most(candidate)

    def _kept_by_most(self, candidate: Candidate) -> bool:
        """Return whether more than half of the launches that count kept each limit."""
        for limit in self.limits:
            found = [
                t.metrics[limit.metric].value
                for t in candidate.contender.counted
                if limit.metric in t.metrics
            ]
            kept = sum(limit.violation(value) <= 0 for value in found)
            if 2 * kept <= len(found):
                return False
        return True

    def confirmed(self, candidate: Candidate) -> bool:
        """Return whether the launches that confirm a configuration were made; until one was, all count."""
        if not self.confirming:
            return True
        if candidate.key == self.default_key and not self.limits:
            return True
        return candidate.fresh >= 1 and candidate.fresh + candidate.lost >= self.confirm

    @cached_property
    def winner(self) -> Candidate | None:
        """The configuration to deploy: the best that keeps the limits, confirmed where the study confirms."""
        sure = [c for c in self.holding if self.confirmed(c)]
        return max(sure, key=lambda c: (c.score, -c.contender.trial.number), default=None)

    @cached_property
    def front(self) -> list[Candidate]:
        """The candidates that no other one is expected to beat in every goal, best of the first goal first.

        Of those that keep every limit with the confidence asked for; of the likely ones while none does.
        None is while a limit cannot be judged.
        """
        if self.awaited:
            return []
        among = self.holding or [c for c in self.candidates if c.chance >= EVEN]
        front = undominated([(c, self.expected(c)) for c in among])
        return sorted(front, key=lambda c: (-c.score, c.contender.trial.number))

    def expected(self, candidate: Candidate) -> tuple[float, ...]:
        """Return the expected value of each goal, more being better."""
        at = next(i for i, c in enumerate(self.candidates) if c.key == candidate.key)
        return tuple(float(quantity.mean[at]) for quantity in self.goals)

    @cached_property
    def corners(self) -> list[Candidate]:
        """The ends of the front, the best of each goal, and its knee: the nearest to the best of all goals.

        Goals are scaled to their range over the front, as in [Branke2004].
        """
        if not self.front:
            return []
        values = np.array([self.expected(c) for c in self.front])
        ends = list(dict.fromkeys(int(i) for i in values.argmax(0)))
        span = np.ptp(values, axis=0)
        short = (values.max(0) - values) / np.where(span > 0, span, 1.0)
        knee = int(np.argmin(np.square(short).sum(1)))
        return [self.front[i] for i in dict.fromkeys([*ends, knee])]

    def tied(self, one: Candidate, other: Candidate) -> bool:
        """Return whether no goal tells two candidates apart with 95 % confidence."""
        for at in range(len(self.goals)):
            gain = self.gain(one, other, at)
            nothing = 1.0 if gain.relative else 0.0
            if gain.low is not None and gain.high is not None and not gain.low <= nothing <= gain.high:
                return False
        return True

    @cached_property
    def nearest(self) -> Candidate | None:
        """The configuration to look at where there is no winner.

        The best that keeps the limits with the confidence asked for but was not confirmed; else the one that
        most likely keeps them. Of equally likely ones, as where none has a chance, it is the one whose worst
        violation is the smallest: the goal of what breaks a limit by far says nothing. None is while a limit
        cannot be judged.
        """
        if self.awaited:
            return None
        if self.holding:
            return max(self.holding, key=lambda c: (c.score, -c.contender.trial.number))
        return max(
            self.candidates,
            key=lambda c: (round(c.chance, 2), -c.contender.excess, c.score, -c.contender.trial.number),
            default=None,
        )

    @property
    def unbounded(self) -> str:
        """Why a limit relative to the default cannot be judged, in words; empty where each can."""
        if not self.awaited:
            return ""
        limits = list(dict.fromkeys(map(str, self.awaited)))
        named = f"the limit{'s' if len(limits) > 1 else ''} {' and '.join(limits)}"
        return f"{named} cannot be judged, since the default configuration {self.default_lacks}"

    @property
    def default_lacks(self) -> str:
        """What keeps limits relative to the default from being judged: ``failed (out of memory)``."""
        mine = [trial for trial in self.trials if trial.key == self.default_key]
        if any(trial.metrics for trial in mine):
            metrics = " and ".join(dict.fromkeys(limit.metric for limit in self.awaited))
            return f"gave no {metrics} to compare with"
        if self.default_pending:
            return "was not measured yet"
        cause = next((t.failure.cause.value for t in reversed(mine) if t.failure is not None), "")
        failed = any(trial.state is TrialState.INFEASIBLE for trial in mine)
        why = f" ({cause.replace('_', ' ')})" if cause else ""
        return f"{'failed' if failed else 'was not measured'}{why}"

    @property
    def default_pending(self) -> bool:
        """Whether a launch of the default is still to end."""
        return any(t.key == self.default_key and not t.state.finished for t in self.trials)

    @property
    def leader(self) -> Candidate | None:
        """The winner, else the nearest."""
        return self.winner or self.nearest

    @property
    def recommended(self) -> Candidate | None:
        """What to deploy: the winner; until something was launched to confirm, else the likely nearest."""
        if self.winner is not None or self.confirming:
            return self.winner
        return self.nearest if self.nearest is not None and self.nearest.chance >= EVEN else None

    def _worth(self, candidate: Candidate) -> float:
        """Return the expected goal in (0, 1], 1 being the best of all candidates."""
        scores = [c.score for c in self.candidates]
        best = max(scores)
        if self.goals[0].logarithm:
            return math.exp(max(candidate.score - best, -700.0))
        least = min(scores)
        return 1.0 if best == least else max((candidate.score - least) / (best - least), 1e-9)

    def gains(self, launches: Mapping[str, int], known: Candidate | None) -> dict[str, float]:
        """Return by key how much better than ``known`` what is recommended is expected to become.

        Formula: what the expected goal is higher, in parts of the best one of all, times the probability that
        the launches show every limit kept with the confidence that the objective asks for.

        Args:
            launches: More launches that each configuration would get, by key.
            known: Configuration that would be recommended without them; ``None`` for nothing.
        """
        if not self.candidates:
            return {}
        more = np.array([float(launches.get(c.key, 0)) for c in self.candidates])
        shown = np.ones(len(more))
        for quantity in self.excesses:
            shown *= quantity.probability_shown(more, self.objective.confidence)
        result = {}
        for candidate, chance, n in zip(self.candidates, shown, more, strict=True):
            sure = float(self.holds(candidate)) if n == 0 else float(chance)
            apart = self._worth(candidate) - (0.0 if known is None else self._worth(known))
            result[candidate.key] = max(apart, 0.0) * sure
        return result


def posterior(
    values: Sequence[Sequence[float]],
    errors: Sequence[Sequence[float]],
    means: Array,
    variances: Array,
    *,
    logarithm: bool,
    unit: float = 1.0,
    grows: bool = False,
    sizes: Array | float = 1.0,
    usual: tuple[Array, Array] | None = None,
) -> Quantity:
    """Return the posterior of the noise-free value of each configuration.

    Args:
        values: Values of the launches of each of ``n`` configurations, at least one each.
        errors: Variances of their own errors, as ``values``; nan where unknown.
        means: Predictions from all other configurations, shape ``n``; nan where nothing predicts: such a
            configuration is expected to be like the others without a prediction, with an unknown mean.
        variances: Variances of the predictions, shape ``n``.
        logarithm: Whether values are logarithms.
        unit: Size of a value, which spreads are relative to.
        grows: Whether a configuration's spread grows with the size of its values beyond ``unit``.
        sizes: Factor by which it does, shape ``n``; 1 where it does not.
        usual: Probabilities and variances, in ``unit`` squared, of the spread that is expected.
    """
    owner = np.repeat(np.arange(len(values)), [len(row) for row in values])
    y = np.array([v for row in values for v in row]) / unit
    y = np.clip(y, -_ANYTHING, _ANYTHING)
    with np.errstate(over="ignore"):
        own = np.minimum(np.array([v for row in errors for v in row]) / unit**2, _ANYTHING)
        m = np.clip(np.asarray(means) / unit, -_ANYTHING, _ANYTHING)
        f = np.minimum(np.asarray(variances) / unit**2, _ANYTHING)
    own = np.where(np.isfinite(own), own, 0.0)
    count = np.bincount(owner, minlength=len(values))

    size_of = np.broadcast_to(np.asarray(sizes), len(values))
    v = _SPREADS[:, None] ** 2 * np.square(size_of)[owner] + own + _LEAST_VARIANCE  # spreads x launches
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    precision, weighted = np.add.reduceat(1.0 / v, first, 1), np.add.reduceat(y / v, first, 1)  # spreads x n
    centre = weighted / precision
    residual = y - centre[:, owner]
    # of one configuration: an idle default is calmer than what serves at its limit, so that its launches tell
    # less of the others' than their number says
    heard = np.minimum(1.0, _HEARD / np.maximum(count - 1, 1))
    each = np.add.reduceat(np.log(v) + residual**2 / v, first, 1) + np.log(precision)
    within = -0.5 * each @ heard
    prior = _prior(usual)

    plain = np.bincount(owner, y, len(values)) / count
    apart = np.where(np.isfinite(m), plain - m, plain - np.average(plain, weights=1.0 / np.square(size_of)))
    size = max(float(np.sqrt(np.mean((apart / size_of) ** 2))), 1e-6)
    particular = np.concatenate([[0.0], (_PARTICULAR * size) ** 2])  # variances
    each_own = particular[:, None] * np.square(size_of)  # particular x n
    m, f = _completed(m, f, centre, precision, each_own)  # spreads x particular x n
    before = f + each_own + _LEAST_VARIANCE
    total = before + 1.0 / precision[:, None]
    between = -0.5 * (np.log(total) + (centre[:, None] - m) ** 2 / total)
    # half-Cauchy on the deviation, as [Gelman2006] has it for few groups; points are spaced by factors
    shares = particular / size**2
    doubt = np.log(np.sqrt(np.maximum(shares, _PARTICULAR[0] ** 2)) / (1.0 + shares))
    logs = (within + prior)[:, None] + doubt + between.sum(2)

    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    a, b = np.nonzero(weights > _NEGLIGIBLE)
    w = weights[a, b] / weights[a, b].sum()
    know = 1.0 / before[a, b]
    variance = 1.0 / (know + precision[a])
    mean = variance * (know * m[a, b] + weighted[a])
    typical = np.bincount(owner, own, len(values)) / count
    return Quantity(
        w, mean * unit, variance * unit**2, (_SPREADS[a] * unit) ** 2, typical * unit**2, logarithm, unit,
        grows, sizes,
    )  # fmt: skip


def _grown(part: Array | float) -> Array:
    """Return what the spread of a value is relative to, the value in parts of the unit of all."""
    found: Array = np.minimum(np.hypot(part, 1.0), _ANYTHING)
    return found


def _scale(values: Sequence[Sequence[float]], errors: Sequence[Sequence[float]]) -> tuple[float, bool]:
    """Return the size of values that may be negative, which spreads are relative to, and whether these grow.

    Their largest one may be a penalty of -1e9: it is the size of those near zero. Without replicates, what
    launches claim of their errors is heard as well. Spreads grow with the size of the values where that
    explains the errors, those that replicates show or else the claimed ones, better than one for all.

    Args:
        values: Values of the launches of each configuration.
        errors: Variances of their own errors, as ``values``; nan where unknown.
    """
    middles = [abs(statistics.fmean(row)) for row in values]
    near = float(np.quantile(middles, _NEAR_ZERO)) or max(middles) or 1.0
    shown = [(m, statistics.stdev(row)) for m, row in zip(middles, values, strict=True) if len(row) > 1]
    claimed = [(m, math.sqrt(statistics.median(e))) for m, e in zip(middles, errors, strict=True)
               if np.isfinite(e).all()]  # fmt: skip
    known = shown if len(shown) > 1 or not claimed else claimed
    if not known:
        return max(near, _LEAST_UNIT), False
    sizes, errors_ = np.array([m for m, _ in known]), np.array([e for _, e in known])
    middle = float(np.median(errors_))
    if known is claimed and middle:
        near = math.sqrt(near * min(near, middle / _USUAL_SPREAD))
    unit = max(near, 2.0 * middle, _LEAST_UNIT)
    logs = np.log(np.maximum(errors_, 1e-6 * unit))
    grows = len(known) >= _KNOWN and float(np.std(logs - np.log(np.hypot(sizes / unit, 1.0)))) < np.std(logs)
    return (unit if grows else max(unit, 2.0 * float(errors_.max()))), bool(grows)


def _completed(
    means: Array, variances: Array, centre: Array, precision: Array, particular: Array
) -> tuple[Array, Array]:
    """Return the predictions at each point of the grid, ``spreads x particular x n`` each.

    ``particular`` is ``particular x n``. A configuration without one is predicted by the weighted mean of the
    others without one.
    """
    shape = (len(precision), len(particular), len(means))
    alone = ~np.isfinite(means)
    m, f = np.broadcast_to(means, shape).copy(), np.broadcast_to(variances, shape).copy()
    if alone.any():
        weight = 1.0 / (particular[:, alone] + 1.0 / precision[:, None, alone] + _LEAST_VARIANCE)
        others = weight.sum(2, keepdims=True) - weight
        known = others > _LEAST_VARIANCE
        others = np.where(known, others, 1.0)
        value = weight * centre[:, None, alone]
        m[:, :, alone] = np.where(
            known, (value.sum(2, keepdims=True) - value) / others, centre[:, None, alone]
        )
        f[:, :, alone] = np.where(known, 1.0 / others, _ANYTHING)
    return m, f


def _prior(usual: tuple[Array, Array] | None) -> Array:
    """Return the log prior of each relative spread between launches, but for a constant."""
    anywhere: Array = -0.5 * (np.log(_SPREADS / _USUAL_SPREAD) / _SPREAD_DOUBT) ** 2
    if usual is None:
        return anywhere
    weights, variances = usual
    apart = np.log(_SPREADS[:, None]) - 0.5 * np.log(variances + _LEAST_VARIANCE)
    near = np.exp(-0.5 * (apart / _AGAIN_DOUBT) ** 2) @ weights + _LEAST_VARIANCE
    found = (1.0 - _CHANGED) * near / near.sum() + _CHANGED * np.exp(anywhere) / np.exp(anywhere).sum()
    return np.asarray(np.log(found))


def _weighed(spreads: Array, values: Array, errors: Array) -> tuple[Array, Array]:
    """Return the mean of launches, weighed by their variances, and its variance, at each spread."""
    precision = 1.0 / (spreads[:, None] + np.nan_to_num(errors) + _LEAST_VARIANCE)
    return (precision @ values) / precision.sum(1), 1.0 / precision.sum(1)


def _shown(value: float | None, logarithm: bool) -> float | None:
    return math.exp(min(value, 700.0)) if logarithm and value is not None else value


def _interval(weights: Array, means: Array, deviations: Array) -> tuple[float, float]:
    """Return the 95 % interval of a mixture of normal distributions: Newton's steps, else bisection."""
    ends = []
    for share in (0.025, 0.975):
        low, high = float((means - 10 * deviations).min()), float((means + 10 * deviations).max())
        middle, least = 0.5 * (low + high), 1e-12 * (high - low)
        for _ in range(100):
            z = (middle - means) / deviations
            missing = share - float(weights @ _normal_cdf(z))
            low, high = (middle, high) if missing > 0 else (low, middle)
            density = float(weights @ (np.exp(-0.5 * z * z) / deviations)) / math.sqrt(2 * math.pi)
            nearer = middle + missing / density if density > 0 else math.nan
            if not low < nearer < high:
                nearer = 0.5 * (low + high)
            middle, step = nearer, abs(nearer - middle)
            if step <= least:
                break
        ends.append(middle)
    return ends[0], ends[1]


def _variance(estimate: Estimate, *, logarithm: bool) -> float:
    """Return the variance of a launch's own error: that of a normal one whose 95 % interval is as wide.

    Few observations say little of their spread: their plain standard error would make a limit surer than the
    interval that is shown beside it.
    """
    half = estimate.half_width
    if half is None:
        return math.nan
    error = half / NORMAL
    return _bounded(error / estimate.value if logarithm else error) ** 2


def _mixed(weights: Array, probabilities: Array) -> Array:
    """Return the mean of probabilities, a probability too where weights sum to 1 + 2e-16."""
    found: Array = np.clip(weights @ probabilities, 0.0, 1.0)
    return found


def _normal_cdf(z: Array) -> Array:
    """Return the standard normal distribution function, shape as given."""
    flat = np.clip(z.ravel(), -38.0, 38.0) / -math.sqrt(2.0)
    # over plain numbers: NumPy's scalars take half as long again
    found = np.fromiter(map(math.erfc, flat.tolist()), float, len(flat))
    return 0.5 * found.reshape(z.shape)


def stored(found: Predictions | None, trials: Sequence[Trial], objective: Objective) -> dict[str, object]:
    """Return predictions as plain JSON data, with what they are of; :func:`restored` reads them back."""
    kept = None if found is None else {key: _plain(pairs) for key, pairs in found.items()}
    return {"of": _of(trials, objective), "found": kept}


def restored(note: JsonObject, trials: Sequence[Trial], objective: Objective) -> Predictions | None:
    """Return stored predictions of exactly these trials and this objective.

    Raises:
        LookupError: They are of others.
    """
    if note.get("of") != _of(trials, objective):
        raise LookupError("the predictions are of other trials")
    found = note["found"]
    if found is None:
        return None
    return {key: [(_number(m), _number(v)) for m, v in pairs] for key, pairs in found.items()}


def _of(trials: Sequence[Trial], objective: Objective) -> list[Any]:
    return [sum(t.state.finished for t in trials), objective.fingerprint]


def _plain(pairs: Sequence[tuple[float, float]]) -> list[list[float | None]]:
    return [[v if math.isfinite(v) else None for v in pair] for pair in pairs]


def _number(value: float | None) -> float:
    return math.nan if value is None else value
