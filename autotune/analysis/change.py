"""How what was measured of a configuration changed: earlier launches against later ones, or two studies.

The launches of the two sides enter one :class:`autotune.core.decision.Decision` as two configurations, so
that the spread between launches, and with it every interval, is that of all replicates of the study: two or
three launches by themselves say next to nothing of their spread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from autotune.core.decision import EVEN, Decision
from autotune.core.measurement import Estimate
from autotune.core.objective import Goal, Limit, Objective
from autotune.core.ranking import Improvement
from autotune.core.trial import Config, Trial, TrialState, config_key

Status = Literal["worse", "broken", "unsettled", "kept", "better"]

_SIDE = "compared side"
"""Key that tells the same configuration on two sides apart; no parameter's name has a space."""


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
    """

    metric: str
    then: Measured
    now: Measured
    gain: Improvement
    limit: Limit | None = None
    chance: float | None = None
    held: float | None = None

    def status(self, tolerance: float, confidence: float) -> Status:
        """Return what the change amounts to.

        ``worse``: with 97.5 % probability worse by more than the tolerance. ``broken``: the limit held then
        and surely does not now. ``unsettled``: it may be worse by more than the tolerance. ``kept``: it is
        not. ``better``: better by more than the tolerance.

        Args:
            tolerance: Part by which a metric may become worse.
            confidence: Probability with which limits are to hold.
        """
        held = self.held is not None and self.held >= EVEN
        if held and self.chance is not None and self.chance <= 1.0 - confidence:
            return "broken"
        low, high = (self.gain.value if end is None else end for end in (self.gain.low, self.gain.high))
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


def changes(
    then: Sequence[Trial],
    now: Sequence[Trial],
    configs: tuple[Config, Config],
    objective: Objective,
    default: Config,
) -> list[Change]:
    """Return how each goal and each limit's metric of a configuration changed, goals first.

    Args:
        then: All trials of the earlier side: its replicates tell the spread between launches.
        now: All trials of the later side.
        configs: Configuration of each side that is compared.
        objective: Goals, and limits relative to the default bound.
        default: Default configuration of the earlier side.

    Returns:
        One change for each metric that both sides measured.
    """
    trials = [*_marked(then, "then", 0), *_marked(now, "now", len(then))]
    keys = [config_key({**c, _SIDE: side}) for c, side in zip(configs, ("then", "now"), strict=True)]
    measured = [{name for t in trials if t.key == key for name in t.metrics} for key in keys]
    goals = [goal for goal in _as_goals(objective) if all(goal.metric in names for names in measured)]
    if not goals:
        return []
    limits = tuple(x for x in objective.limits if not x.relative and x.metric in {g.metric for g in goals})
    asked = Objective(tuple(goals), limits, confidence=objective.confidence)
    decision = Decision(trials, asked, config_key({**default, _SIDE: "then"}))
    sides = [next((c for c in decision.candidates if c.key == key), None) for key in keys]
    if sides[0] is None or sides[1] is None:
        return []
    old, new = sides[0], sides[1]
    found = {}
    for at, goal in enumerate(asked.goals):
        pair = [
            Measured(side.contender.metrics[goal.metric], decision.half_width(side.contender, goal.metric))
            for side in (old, new)
        ]
        limit = next((x for x in limits if x.metric == goal.metric), None)
        chances = [None if limit is None else side.chances[str(limit)] for side in (new, old)]
        gain = decision.gain(new, old, at)
        found[goal.metric] = Change(goal.metric, pair[0], pair[1], gain, limit, *chances)
    return [found[goal.metric] for goal in goals]


def _marked(trials: Sequence[Trial], side: str, first: int) -> list[Trial]:
    """Return the measured trials of a side with configurations of their own, failed ones apart."""
    return [
        replace(
            trial,
            number=first + trial.number,
            suggestion=replace(trial.suggestion, config={**trial.config, _SIDE: side}),
        )
        for trial in trials
        if trial.state is TrialState.COMPLETED and trial.metrics
    ]


def _as_goals(objective: Objective) -> list[Goal]:
    """Return the goals, and the metric of each limit as one: less where it bounds from above."""
    found: Mapping[str, Goal] = {
        **{x.metric: Goal(x.metric, not x.upper) for x in objective.limits},
        **{goal.metric: goal for goal in objective.goals},
    }
    return [found[name] for name in objective.metrics]
