"""Which configuration is best, and by how much: pure functions of trials and an objective.

Trials of the same configuration are repeats and are pooled. Two facts about measured serving systems
shape the rules. Launches of the same configuration differ by more than the standard error within a
launch says, so the spread between launches is estimated from every configuration that was measured
more than once. And the search picks the luckiest measurement, so a winner that was confirmed is judged
by its fresh launches only, without the measurement that made it the winner.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from autotune.core.measurement import Estimate
from autotune.core.objective import Goal, Objective, Outcome
from autotune.core.space import Space
from autotune.core.trial import Config, Reason, Trial, TrialState, config_key

_Z = 1.959963984540054

# Two-sided 95 % quantiles of Student's t for 1 to 10 degrees of freedom; the expansion in `_quantile`
# is right within 0.1 % from 11 on.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True)
class Contender:
    """Hold one configuration with everything measured of it.

    Args:
        trials: Its completed trials in number order.
        metrics: Pooled over the launches that count.
        outcome: The objective applied to ``metrics``.
        launches: How many trials ``metrics`` are pooled over.
        confirmed: Whether those are fresh launches made to confirm it.
        failures: Trials of this configuration that failed through its own fault.
    """

    trials: tuple[Trial, ...]
    metrics: Mapping[str, Estimate]
    outcome: Outcome
    launches: int
    confirmed: bool
    failures: int = 0

    @property
    def trial(self) -> Trial:
        """The trial that stands for the configuration: its first."""
        return self.trials[0]

    @property
    def config(self) -> Config:
        """Values of all active parameters."""
        return self.trial.config

    @property
    def feasible(self) -> bool:
        """Whether every limit is kept and no launch failed: what crashed once is not to be deployed."""
        return self.outcome.feasible and not self.failures

    @property
    def goals(self) -> tuple[float, ...]:
        """Value of each goal, higher is better; minus infinity where it was not measured."""
        return tuple(-math.inf if value is None else value for value in self.outcome.values)


@dataclass(frozen=True)
class Spread:
    """Hold how much launches of one configuration differ.

    Args:
        variance: Of one launch: of the logarithm of the metric, or of the metric itself.
        freedom: Degrees of freedom behind it; 0 when no configuration was measured twice.
    """

    variance: float
    freedom: int


@dataclass(frozen=True)
class Improvement:
    """Say by how much one configuration is better than another, with its 95 % interval.

    Args:
        value: Ratio of the goal values turned so that above 1 is better; a difference (above 0 is
            better) where values are not positive.
        low: Lower end of the interval; ``None`` when no error is known.
        high: Upper end.
        relative: Whether it is a ratio.
        launches: Trials behind the two sides.
        maximize: Direction of the goal.
    """

    value: float
    low: float | None
    high: float | None
    relative: bool
    launches: tuple[int, int]
    maximize: bool = True

    @property
    def clear(self) -> bool:
        """Whether the interval lies wholly on the better side."""
        return self.low is not None and self.low > (1.0 if self.relative else 0.0)

    def percent(self) -> tuple[float, float | None, float | None]:
        """Return value, low and high as per cent more (maximize) or less (minimize) of the goal's metric."""
        low = None if self.low is None else self._percent(self.low)
        high = None if self.high is None else self._percent(self.high)
        return self._percent(self.value), low, high

    def _percent(self, ratio: float) -> float:
        return 100 * (ratio - 1) if self.maximize else 100 * (1 - 1 / ratio)


def anchored(trials: Sequence[Trial], objective: Objective, space: Space) -> Objective:
    """Return the objective with limits relative to the default bound by all its launches, pooled."""
    if not any(limit.relative for limit in objective.limits):
        return objective
    key = config_key(space.default_config)
    return objective.anchored(pool([t.metrics for t in trials if t.metrics and t.key == key]))


def contenders(trials: Sequence[Trial], objective: Objective) -> list[Contender]:
    """Return every configuration that has a completed trial, in the order of first trials."""
    groups: dict[str, list[Trial]] = {}
    failures: dict[str, int] = {}
    for trial in sorted(trials, key=lambda t: t.number):
        key = trial.key
        if trial.state is TrialState.COMPLETED and trial.metrics:
            groups.setdefault(key, []).append(trial)
        elif trial.state is TrialState.INFEASIBLE:
            failures[key] = failures.get(key, 0) + 1
    result = []
    for key, group in groups.items():
        fresh = [t for t in group if t.suggestion.reason is Reason.CONFIRM]
        counted = fresh or group
        metrics = pool([t.metrics for t in counted])
        result.append(
            Contender(
                tuple(group),
                metrics,
                objective.score(metrics),
                len(counted),
                bool(fresh),
                failures.get(key, 0),
            )
        )
    return result


def pool(measured: Sequence[Mapping[str, Estimate]]) -> dict[str, Estimate]:
    """Return one estimate per metric from several launches of the same configuration.

    The value is the plain mean: launches differ more than their standard errors say, so weighing by
    those would trust the luckiest. The standard error is the larger of what the launches claim and what
    their spread shows, and ``n`` is the count of launches.
    """
    names = dict.fromkeys(name for metrics in measured for name in metrics)
    return {name: _pool_one([m[name] for m in measured if name in m]) for name in names}


def _pool_one(estimates: Sequence[Estimate]) -> Estimate:
    if len(estimates) == 1:
        return estimates[0]
    n = len(estimates)
    # halved or doubled until squares are numbers, which changes no digit
    _, power = math.frexp(max(max(abs(e.value), e.sem or 0.0) for e in estimates))
    values = [math.ldexp(e.value, -power) for e in estimates]
    errors = [math.ldexp(e.sem or 0.0, -power) for e in estimates]
    mean = math.fsum(values) / n
    between = math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n
    within = math.fsum(error**2 for error in errors) / n**2
    error = min(math.sqrt(max(between, within)), math.nextafter(1.0, 0.0))  # doubled, it stays a number
    return Estimate(math.ldexp(mean, power), math.ldexp(error, power), n, estimates[0].unit)


def best(trials: Sequence[Trial], objective: Objective) -> Contender | None:
    """Return the best feasible configuration by the first goal, or ``None`` when nothing is feasible.

    Among those confirmed the best mean wins; one measured for the search only takes its place when it is
    better by more than the noise. A confirmation that has only begun decides nothing: the first side that
    was launched again would win for want of the other.
    """
    ranked = sorted((c for c in contenders(trials, objective) if c.feasible), key=_rank)
    again = {t.key for t in trials if t.suggestion.reason is Reason.CONFIRM and t.state.finished}
    champion = next((c for c in ranked if c.confirmed), None)
    if champion is None or len(again) < 2:
        return ranked[0] if ranked else None
    goal = objective.goals[0]
    for challenger in ranked:
        if challenger is champion:
            break
        if improvement(challenger, champion, goal, trials).clear:
            return challenger
    return champion


def best_after_each(
    trials: Sequence[Trial], objective: Objective, start: int = 0
) -> Iterator[Contender | None]:
    """Yield what :func:`best` says of the first 1, 2, ... trials; ``None`` of those numbered below ``start``.

    Only the configuration of the last trial can take the lead, so that each step costs what it changed.
    """
    groups: dict[str, list[Trial]] = {}
    leader: Contender | None = None
    known = confirming = False  # whether ``leader`` is that of the step before
    for i, trial in enumerate(trials):
        groups.setdefault(trial.key, []).append(trial)
        confirming = confirming or trial.suggestion.reason is Reason.CONFIRM
        if trial.number < start:
            yield None
            continue
        if not known or confirming or (leader is not None and leader.trial.key == trial.key):
            leader = best(trials[: i + 1], objective)
        else:
            for one in contenders(groups[trial.key], objective):
                if one.feasible and (leader is None or _rank(one) < _rank(leader)):
                    leader = one
        known = True
        yield leader


def _rank(contender: Contender) -> tuple[float, int]:
    return -contender.goals[0], contender.trial.number


def best_trial(trials: Sequence[Trial], objective: Objective) -> Trial | None:
    """Return the first trial of the :func:`best` configuration, or ``None``."""
    found = best(trials, objective)
    return None if found is None else found.trial


def pareto_front(trials: Sequence[Trial], objective: Objective) -> list[Trial]:
    """Return the first trial of every feasible configuration that no other one dominates.

    One configuration dominates another when it is at least as good in every goal and better in one.
    """
    points = [(c, c.goals) for c in contenders(trials, objective) if c.feasible]
    return [
        contender.trial
        for contender, values in points
        if not any(
            other != values and all(a >= b for a, b in zip(other, values, strict=True)) for _, other in points
        )
    ]


def find(trials: Sequence[Trial], objective: Objective, config: Config) -> Contender | None:
    """Return what was measured of ``config``, or ``None`` when it has no completed trial."""
    key = config_key(config)
    return next((c for c in contenders(trials, objective) if c.trial.key == key), None)


def launch_spread(trials: Sequence[Trial], metric: str, *, logarithm: bool) -> Spread:
    """Return how much launches of the same configuration differ, pooled over all configurations.

    Args:
        trials: All trials of the study.
        metric: Which one.
        logarithm: Take the variance of the logarithm, for positive metrics.
    """
    groups: dict[str, list[float]] = {}
    for trial in trials:
        if trial.state is TrialState.COMPLETED and metric in trial.metrics:
            value = trial.metrics[metric].value
            if not logarithm or value > 0:
                groups.setdefault(trial.key, []).append(math.log(value) if logarithm else value)
    squares, freedom = 0.0, 0
    for values in groups.values():
        mean = math.fsum(values) / len(values)
        squares += math.fsum((v - mean) * (v - mean) for v in values)  # infinite rather than an error
        freedom += len(values) - 1
    return Spread(squares / freedom if freedom else 0.0, freedom)


def improvement(a: Contender, b: Contender, goal: Goal, trials: Sequence[Trial]) -> Improvement:
    """Return by how much ``a`` is better than ``b``, with a 95 % interval on the logarithmic scale.

    Formula: ``log(a / b) +- t * sqrt(v_a + v_b)`` with ``v = max(S2 / k, sum(sem_i ** 2) / k ** 2)``: S2 is
    the spread between launches pooled over the study, k the launches of the side, sem relative. The
    quantile t has the degrees of freedom of S2; without repeats only the errors within a launch count.
    """
    left, right = a.metrics[goal.metric], b.metrics[goal.metric]
    relative = left.value > 0 and right.value > 0
    spread = launch_spread(trials, goal.metric, logarithm=relative)
    first, second = _side(a, goal.metric, spread, relative), _side(b, goal.metric, spread, relative)
    apart = math.log(left.value / right.value) if relative else left.value - right.value
    apart *= goal.sign
    low = high = None
    if first is not None and second is not None:
        half = _quantile(spread.freedom) * math.sqrt(first + second)
        low, high = _from_log(apart - half, relative), _from_log(apart + half, relative)
    return Improvement(
        _from_log(apart, relative), low, high, relative, (a.launches, b.launches), goal.maximize
    )


def _from_log(value: float, relative: bool) -> float:
    return math.exp(min(value, 700.0)) if relative else value  # exp overflows beyond 709


def _side(side: Contender, metric: str, spread: Spread, relative: bool) -> float | None:
    """Return the variance of one side's mean, or ``None`` when nothing is known about it."""
    counted = [t for t in side.trials if not side.confirmed or t.suggestion.reason is Reason.CONFIRM]
    estimates = [t.metrics[metric] for t in counted if metric in t.metrics]
    if spread.freedom == 0 and any(e.sem is None for e in estimates):
        return None
    scaled = [(e.sem or 0.0) / (abs(e.value) if relative else 1.0) for e in estimates]
    k = len(estimates)
    return max(spread.variance / k, math.fsum(s * s for s in scaled) / k**2)


def _quantile(freedom: int) -> float:
    """Return the two-sided 95 % quantile of Student's t; of the normal distribution for 0."""
    if freedom <= 0:
        return _Z
    if freedom <= len(_T):
        return _T[freedom - 1]
    z = _Z
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
