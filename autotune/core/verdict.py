"""What a study found, in words: whether the winner is better, and whether its limits hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from autotune.core.decision import EVEN, Candidate, Decision
from autotune.core.failures import failure_groups
from autotune.core.html import html_table, short
from autotune.core.improvement_text import show_improvement
from autotune.core.ranking import Improvement
from autotune.core.settlement import Settlement, settle
from autotune.core.trial import TrialState
from autotune.core.units import counted, format_quantity

Kind = Literal[
    "undecided",
    "better",
    "tie",
    "unproven",
    "default",
    "only feasible",
    "no default",
    "not confirmed",
    "limits in doubt",
    "nothing feasible",
]


@dataclass(frozen=True)
class Verdict:
    """A verdict on a study: whether a configuration is better than the default and keeps the limits.

    Args:
        kind: ``undecided`` (the study runs, or nothing was measured yet), ``better``, ``tie`` (the interval
            holds no difference), ``unproven`` (no error is known, or one launch each), ``default`` (it is the
            best), ``only feasible`` (the default fails, breaks a limit, or is better and not known to keep
            them), ``no default`` (it was not measured), ``not confirmed`` (the confirmation was not
            completed), ``limits in doubt`` (nothing keeps the limits with the confidence asked for, or one is
            relative to a default that was not measured) or ``nothing feasible``.
        text: Words for people.
        limits: One line for each limit: in how many launches it was kept, and the chance that it holds, or
            that it cannot be judged; then one for each goal of which only a bound is known.
        improvement: Improvement of the best over the default where both have a goal value.
        settlement: Launches that would tell what is left open; ``None`` where nothing is, or none would.
    """

    kind: Kind
    text: str
    limits: tuple[str, ...] = ()
    improvement: Improvement | None = None
    settlement: Settlement | None = None

    def _repr_html_(self) -> str:
        return html_table(f"verdict: {self.text}", (), [(line,) for line in self.limits])


REMEDY = "write the limit in absolute numbers, or choose another default"
"""What to do about a limit relative to a default that cannot be measured."""

UNDECIDED = Verdict("undecided", "nothing is decided while the study runs")
"""Verdict of a study that runs."""


def verdict(decision: Decision) -> Verdict:
    """Return what a decision says, in words."""
    if decision.awaited and decision.contenders:
        return _unjudged(decision)
    leader = decision.leader
    if leader is None:
        return _nothing(decision)
    limits = (*limit_lines(decision, leader), *bound_lines(decision, leader))
    if decision.winner is None:
        return _no_winner(decision, leader, limits)
    base = next((c for c in decision.candidates if c.key == decision.default_key), None)
    if base is not None and base is not leader:
        limits += bound_lines(decision, base)
    if leader.key == decision.default_key:
        return Verdict("default", _default_text(decision, leader), limits)
    gain = None if base is None else decision.gain(leader, base)
    if base is None:
        kind, text = _without_default(decision)
        return Verdict(kind, text, limits)
    if base.chance < EVEN and not base.contender.feasible:
        broken = ", ".join(base.contender.outcome.violations)
        text = f"the default configuration breaks its limit ({broken}), this one keeps it"
        if 1 - base.chance < decision.objective.confidence:
            text = f"the default configuration probably breaks its limit ({broken}), this one keeps it"
        return Verdict("only feasible", text, limits, gain)
    assert gain is not None  # noqa: S101 - there is a base
    kind, text = _judge(gain, decision)
    if not decision.holds(base):
        kept = f"the default itself keeps every limit with a chance of {show_chance(base.chance)}"
        text = f"{text}; {kept}"
        if gain.side < 0:
            kind = "only feasible"
    if len(decision.goals) > 1:
        others = "".join(
            f"; {goal.metric}: {show_improvement(decision.gain(leader, base, at))}"
            for at, goal in enumerate(decision.objective.goals[1:], 1)
        )
        text = f"{decision.objective.goals[0].metric}: {text}{others}"
    return Verdict(kind, text, limits, gain, settle(decision, kind, leader, base))


def why_unjudged(decision: Decision) -> str:
    """Return why a limit cannot be judged, and what to do where no measurement of the default is to come."""
    return decision.unbounded if decision.default_pending else f"{decision.unbounded}; {REMEDY}"


def _unjudged(decision: Decision) -> Verdict:
    """Return the verdict where nothing says what a limit bounds: whatever was measured may break it."""
    text = f"nothing is recommended: {why_unjudged(decision)}"
    lines = tuple(
        f"not judged: {limit} (nothing was measured that it is relative to)" for limit in decision.awaited
    )
    return Verdict("limits in doubt", text, lines)


def _nothing(decision: Decision) -> Verdict:
    """Return the verdict where there is no configuration to speak of."""
    tried = any(t.state in (TrialState.COMPLETED, TrialState.INFEASIBLE) for t in decision.trials)
    if tried or any(t.failure is not None for t in decision.trials if t.state.finished):
        return Verdict("nothing feasible", _nothing_text(decision))
    return Verdict("undecided", "nothing was measured yet")


def _nothing_text(decision: Decision) -> str:
    """Return why there is no configuration to speak of."""
    ended = [trial for trial in decision.trials if trial.state.finished]
    groups = failure_groups(ended)
    if groups and sum(group.count for group in groups) == len(ended):
        cause, message = groups[0].cause, short(groups[0].message)
        often = sum(group.count for group in groups if group.cause is cause)
        said = f" ({message})" if message else ""
        what = "the only trial failed" if len(ended) == 1 else f"every one of {len(ended)} trials failed"
        most = f", {often} of them by" if often < len(ended) else ":"
        return f"{what}{most} {cause.value.replace('_', ' ')}{said}"
    measured = any(trial.state is TrialState.COMPLETED for trial in decision.trials)
    if measured and decision.limits:
        return "no configuration keeps every limit"
    return "no configuration was measured"


def limit_lines(decision: Decision, candidate: Candidate) -> tuple[str, ...]:
    """Return such as ``kept tpot.p95 <= 60 ms in 2 of 2 fresh launches; chance that it holds 97 %``."""
    launches, word = candidate.contender.counted, "fresh " if candidate.contender.confirmed else ""
    lines = []
    for limit in decision.limits:
        found = [t.metrics[limit.metric].value for t in launches if limit.metric in t.metrics]
        kept = sum(limit.violation(value) <= 0 for value in found)
        chance = show_chance(candidate.chances[str(limit)])
        doubtful = sum(bool(t.doubt) for t in launches)
        said = f" ({doubtful} of them doubtful)" if doubtful else ""
        lines.append(
            f"kept {limit} in {kept} of {counted(len(found), f'{word}launch')}{said}; "
            f"chance that it holds {chance}"
        )
    return tuple(lines)


def bound_lines(decision: Decision, candidate: Candidate) -> tuple[str, ...]:
    """Return a line for each goal of which a candidate's measurement is only a bound."""
    found = {goal.metric: candidate.contender.metrics.get(goal.metric) for goal in decision.objective.goals}
    return tuple(
        f"{name} of trial {candidate.contender.trial.number} is only a bound: {e.bound} "
        f"{format_quantity(e.value, e.unit)}"
        for name, e in found.items()
        if e is not None and e.bound
    )


def show_chance(chance: float) -> str:
    """Return such as ``97 %``, rounded down: ``95 %`` is at least that."""
    if chance > 0.999:
        return "over 99.9 %"
    return f"{math.floor(1000 * chance) / 10:g} %" if chance > 0.99 else f"{math.floor(100 * chance)} %"


def _no_winner(decision: Decision, leader: Candidate, limits: tuple[str, ...]) -> Verdict:
    asked = f"{100 * decision.objective.confidence:g} %"
    number = leader.contender.trial.number
    if decision.holds(leader):
        text = f"trial {number} is the best by the search, but its confirmation was not completed"
        return Verdict("not confirmed", text, limits, None, settle(decision, "not confirmed", leader))
    if leader.chance < 1 - decision.objective.confidence and not leader.contender.feasible:
        return Verdict(
            "nothing feasible", f"no configuration keeps every limit; nearest: trial {number}", limits
        )
    if leader.contender.doubtful:
        text = f"not recommended: every launch of trial {number}, the nearest, is doubtful"
        return Verdict("limits in doubt", text, limits)
    text = (
        f"not recommended: no configuration keeps every limit with {asked} confidence; "
        f"nearest: trial {number}, chance {show_chance(leader.chance)}"
    )
    return Verdict("limits in doubt", text, limits, None, settle(decision, "limits in doubt", leader))


def _default_text(decision: Decision, leader: Candidate) -> str:
    others = [c for c in decision.candidates if c.key != leader.key]
    better = [c for c in others if c.score > leader.score]
    text = "the default configuration is the best found"
    if not better or not decision.limits:
        return text
    return f"{text} that keeps every limit with {100 * decision.objective.confidence:g} % confidence"


def _without_default(decision: Decision) -> tuple[Kind, str]:
    mine = [t for t in decision.trials if t.key == decision.default_key]
    if any(t.state is TrialState.INFEASIBLE for t in mine):
        return "only feasible", "the default configuration fails, this one does not"
    return "no default", "the default configuration was not measured"


def _judge(gain: Improvement, decision: Decision) -> tuple[Kind, str]:
    text, confirmed = show_improvement(gain, "the default"), decision.confirming
    left, right = gain.launches
    fresh = "fresh launch" if confirmed else "launch"
    launches = f"{left} and {right} {fresh}es"
    if left == right:
        launches = f"one {fresh} each" if left == 1 else f"{left} {fresh}es each"
    unconfirmed = "" if confirmed else ", not confirmed"
    if gain.low is None:
        how = f"{launches}{unconfirmed}"
        return "unproven", f"not proven: measured {text}, but no error is known ({how})"
    how = f"95 % interval, {launches}{unconfirmed}"
    if confirmed and min(left, right) == 1:
        proven = "not proven: " if gain.side else ""
        return "unproven", f"{proven}{text} ({how}); one launch decides nothing"
    return "better" if gain.clear else "tie", f"{text} ({how})"
