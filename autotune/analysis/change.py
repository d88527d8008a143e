"""How what was measured of a configuration changed: earlier launches against later ones, or two studies.

Each side has a :class:`autotune.core.decision.Decision` of its own, and with it its own spread between
launches: what is said of a quiet study stays as it is, however noisy the other one was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from autotune.core.decision import EVEN, Decision, improvement
from autotune.core.measurement import Estimate
from autotune.core.objective import Goal, Limit, Objective
from autotune.core.ranking import Improvement, contenders
from autotune.core.trial import Trial, TrialState

Status = Literal["worse", "broken", "unsettled", "kept", "better"]


@dataclass(frozen=True)
class Measured:
    """A metric of one side, all its launches pooled.

    Args:
        estimate: Pooled estimate.
        half: Half-width of its 95 % interval by the spread between launches; ``None`` where unknown.
    """

    estimate: Estimate
    half: float | None


@dataclass(frozen=True)
class Change:
    """A metric then and now.

    Args:
        metric: Name of the metric.
        then: Earlier side.
        now: Later side.
        gain: Improvement of the later side over the earlier one.
        limit: Limit on the metric; ``None`` for a goal without one.
        chance: Chance that the limit holds now; ``None`` without one.
        held: Chance that the limit held then.
        symbol: Unit that the limit was written in; empty for the one that reads best.
        asked: Whether the limit is to hold now, whether or not it did then.
    """

    metric: str
    then: Measured
    now: Measured
    gain: Improvement
    limit: Limit | None = None
    chance: float | None = None
    held: float | None = None
    symbol: str = ""
    asked: bool = False

    def status(self, tolerance: float, confidence: float) -> Status:
        """Return what the change amounts to.

        ``worse``: with 97.5 % probability worse by more than the tolerance. ``broken``: the limit held then,
        or is asked for, and surely does not hold now. ``unsettled``: it may be worse by more than the
        tolerance, or no error is known. ``kept``: it is not. ``better``: better by more than the tolerance.

        Args:
            tolerance: Part by which a metric may become worse.
            confidence: Probability with which limits are to hold.
        """
        held = self.asked or (self.held is not None and self.held >= EVEN)
        if held and self.chance is not None and self.chance <= 1.0 - confidence:
            return "broken"
        low, high = self.gain.low, self.gain.high
        if low is None or high is None:  # no error is known: one launch each may differ by anything
            return "unsettled"
        least, most = self._bounds(tolerance)
        if high < least:
            return "worse"
        if low > most:
            return "better"
        return "unsettled" if low < least else "kept"

    def _bounds(self, tolerance: float) -> tuple[float, float]:
        """Return the improvements at which a metric is worse, and better, by the tolerance."""
        if not self.gain.relative:
            size = tolerance * abs(self.then.estimate.value)
            return -size, size
        more, less = 1.0 + tolerance, 1.0 - tolerance
        return (less, more) if self.gain.maximize else (1.0 / more, 1.0 / less)


def changes(then: Decision, now: Decision, keys: tuple[str, str], objective: Objective) -> list[Change]:
    """Return how each goal and each limit's metric of a configuration changed, goals first.

    Args:
        then: Decision of the earlier side: its replicates tell the spread between its launches.
        now: Decision of the later side.
        keys: Key of the configuration of each side that is compared.
        objective: Goals and limits.

    Returns:
        One change for each metric that both sides measured, one for each limit on it where there are some.
    """
    found = [
        next((c for c in contenders(side.trials, side.objective) if c.trial.key == key), None)
        for side, key in zip((then, now), keys, strict=True)
    ]
    old, new = found
    if old is None or new is None:
        return []
    result = []
    for goal in _as_goals(objective):
        earlier, later = then.level(old, goal), now.level(new, goal)
        if earlier is None or later is None:
            continue
        result.append(
            Change(
                metric=goal.metric,
                then=Measured(earlier.estimate, then.half_width(old, goal.metric)),
                now=Measured(later.estimate, now.half_width(new, goal.metric)),
                gain=improvement(later, earlier),
                symbol=objective.symbol_of(goal.metric),
            )
        )
    return [part for change in result for part in _by_limit(change, then, now, keys)]


def _by_limit(change: Change, then: Decision, now: Decision, keys: tuple[str, str]) -> list[Change]:
    """Return a change once for each limit on its metric, with the chances that it holds; once without one."""
    held, chances = (_chances(side, key) for side, key in zip((then, now), keys, strict=True))
    return [
        replace(change, limit=limit, chance=chances.get(place), held=held.get(place))
        for limit in then.limits
        if limit.metric == change.metric
        for place in [(limit.metric, limit.upper)]
    ] or [change]


def _chances(side: Decision, key: str) -> dict[tuple[str, bool], float]:
    """Return the chance that a configuration keeps each limit, by its metric and side."""
    one = next((c for c in side.candidates if c.key == key), None)
    return {} if one is None else {(x.metric, x.upper): one.chances[str(x)] for x in side.limits}


def decision_again(trials: Sequence[Trial], then: Decision, objective: Objective) -> Decision:
    """Return the decision over new launches of configurations of a study.

    Failed launches and metrics that are not measured any more are left out. Two or three launches by
    themselves say next to nothing of their spread: it is expected to be about that of the study.

    Args:
        trials: The launches.
        then: Decision of the study.
        objective: Its goals and limits.
    """
    done = [t for t in trials if t.state is TrialState.COMPLETED and t.metrics]
    goals = tuple(goal for goal in _as_goals(objective) if any(goal.metric in t.metrics for t in done))
    if not goals:
        return Decision((), objective, then.default_key)
    known = {goal.metric for goal in goals}
    limits = tuple(x for x in objective.limits if not x.relative and x.metric in known)
    asked = Objective(goals, limits, confidence=objective.confidence)
    return Decision(done, asked, then.default_key, usual=then)


def _as_goals(objective: Objective) -> list[Goal]:
    """Return the goals, and the metric of each limit as one: less where it bounds from above."""
    found: Mapping[str, Goal] = {
        **{x.metric: Goal(x.metric, not x.upper) for x in objective.limits},
        **{goal.metric: goal for goal in objective.goals},
    }
    return [found[name] for name in objective.metrics]
