"""Which configuration is best as measured: pure functions of trials and an objective.

Trials of the same configuration are repeats and are pooled. The search picks the luckiest measurement, so
what was confirmed is shown by its fresh launches only, without the measurement that made it a candidate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from autotune.core.measurement import ABOUT, Estimate
from autotune.core.objective import Objective, Outcome
from autotune.core.space import Space
from autotune.core.trial import Config, Reason, Trial, TrialState, config_key

T = TypeVar("T")


@dataclass(frozen=True)
class Contender:
    """A configuration with everything measured of it.

    Args:
        trials: Its completed trials in number order.
        metrics: Estimates by metric, pooled over the launches that count.
        outcome: The objective applied to ``metrics``.
        launches: Number of trials that ``metrics`` are pooled over.
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
    def excess(self) -> float:
        """The worst violation of a limit; 0 where every limit that was measured is kept."""
        return max(self.outcome.violations.values(), default=0.0)

    @property
    def counted(self) -> tuple[Trial, ...]:
        """Trials that ``metrics`` are pooled over."""
        fresh = [t for t in self.trials if t.suggestion.reason is Reason.CONFIRM]
        return tuple(fresh) or self.trials

    @property
    def doubtful(self) -> bool:
        """Whether all launches that count are doubtful: no limit is judged on such."""
        return all(trial.doubt for trial in self.counted)

    @property
    def goals(self) -> tuple[float, ...]:
        """Value of each goal, higher is better; minus infinity where it was not measured."""
        return tuple(-math.inf if value is None else value for value in self.outcome.values)


@dataclass(frozen=True)
class Improvement:
    """Improvement of one configuration over another, with its 95 % interval.

    Args:
        value: Ratio of the goal values turned so that above 1 is better; a difference (above 0 is
            better) where values are not positive.
        low: Lower end of the interval; ``None`` when no error is known.
        high: Upper end.
        relative: Whether it is a ratio.
        launches: Trials behind the two sides.
        maximize: Direction of the goal.
        unit: Unit of a difference.
    """

    value: float
    low: float | None
    high: float | None
    relative: bool
    launches: tuple[int, int]
    maximize: bool = True
    unit: str = "1"

    @property
    def nothing(self) -> float:
        """The value that says that there is no difference."""
        return 1.0 if self.relative else 0.0

    @property
    def side(self) -> int:
        """Where the whole interval lies: 1 better, -1 worse, 0 neither, or not known."""
        if self.low is None or self.high is None:
            return 0
        return 1 if self.low > self.nothing else -1 if self.high < self.nothing else 0

    @property
    def clear(self) -> bool:
        """Whether the interval lies wholly on the better side."""
        return self.side > 0

    def percent_of(self, ratio: float) -> float:
        """Return a ratio as per cent more (maximize) or less (minimize) of the goal's metric."""
        return 100 * (ratio - 1) if self.maximize else 100 * (1 - 1 / ratio)


def anchored(trials: Sequence[Trial], objective: Objective, space: Space) -> Objective:
    """Return the objective with limits relative to the default bound by all its launches, pooled."""
    if not any(limit.relative for limit in objective.limits):
        return objective
    key = config_key(space.default_config)
    return objective.anchored(pool([t.metrics for t in trials if t.metrics and t.key == key]))


def judged(feasible: bool, objective: Objective) -> bool | None:
    """Return whether something is feasible; ``None`` while a limit still bounds nothing."""
    return None if feasible and objective.awaited else feasible


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
    projected = any(e.projected for e in estimates)
    bounds = {e.bound for e in estimates if e.bound}
    bound = bounds.pop() if len(bounds) == 1 else ABOUT if bounds else ""
    return Estimate(math.ldexp(mean, power), math.ldexp(error, power), n, estimates[0].unit, projected, bound)


def best(trials: Sequence[Trial], objective: Objective) -> Contender | None:
    """Return the best feasible configuration as measured, by the first goal; ``None`` without any.

    What is recommended is not this, which is often the luckiest: see :mod:`autotune.core.decision`.
    """
    return min((c for c in contenders(trials, objective) if c.feasible), key=_rank, default=None)


def best_after_each(
    trials: Sequence[Trial], objective: Objective, start: int = 0
) -> Iterator[Contender | None]:
    """Yield what :func:`best` says of the first 1, 2, ... trials; ``None`` of those numbered below ``start``.

    Only the configuration of the last trial can take the lead, so that each step costs what it changed.
    """
    groups: dict[str, list[Trial]] = {}
    leader: Contender | None = None
    known = False  # whether ``leader`` is that of the step before
    for i, trial in enumerate(trials):
        groups.setdefault(trial.key, []).append(trial)
        if trial.number < start:
            yield None
            continue
        if not known or (leader is not None and leader.trial.key == trial.key):
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

    None while a limit waits for what it is relative to: nothing is known to keep it.
    """
    return [] if objective.awaited else undominated_trials(trials, objective)


def undominated_trials(trials: Sequence[Trial], objective: Objective) -> list[Trial]:
    """Return the same by the limits that can be judged."""
    feasible = (c for c in contenders(trials, objective) if c.feasible)
    return [contender.trial for contender in undominated([(c, c.goals) for c in feasible])]


def undominated(points: Sequence[tuple[T, tuple[float, ...]]]) -> list[T]:
    """Return what no other one dominates: is at least as good in every goal and better in one.

    Args:
        points: Each with its goals, higher being better.
    """
    return [
        point
        for point, values in points
        if not any(
            other != values and all(a >= b for a, b in zip(other, values, strict=True)) for _, other in points
        )
    ]


def find(trials: Sequence[Trial], objective: Objective, config: Config) -> Contender | None:
    """Return what was measured of ``config``, or ``None`` when it has no completed trial."""
    key = config_key(config)
    return next((c for c in contenders(trials, objective) if c.trial.key == key), None)
