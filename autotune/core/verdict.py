"""What a study found, in words: whether the winner is better, and whether its limits hold."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from autotune.core.decision import EVEN, Candidate, Decision
from autotune.core.ranking import Improvement
from autotune.core.trial import TrialState
from autotune.core.units import format_quantity

Kind = Literal[
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
    """What a study found.

    Args:
        kind: ``better``, ``tie`` (the interval holds no difference), ``unproven`` (no error is known, or one
            launch each), ``default`` (it is the best), ``only feasible`` (the default fails or breaks a
            limit), ``no default`` (it was not measured), ``not confirmed`` (the confirmation was not
            completed), ``limits in doubt`` (nothing keeps the limits with the confidence asked for) or
            ``nothing feasible``.
        text: Words for people.
        limits: One line for each limit: in how many launches it was kept, and the chance that it holds; then
            one for each goal of which only a bound is known.
        improvement: Improvement of the best over the default where both have a goal value.
    """

    kind: Kind
    text: str
    limits: tuple[str, ...] = ()
    improvement: Improvement | None = None


def verdict(decision: Decision) -> Verdict:
    """Return what a decision says, in words."""
    leader = decision.leader
    if leader is None:
        return Verdict("nothing feasible", "no configuration keeps every limit")
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
        text += f"; the default itself keeps every limit with a chance of {show_chance(base.chance)}"
    if len(decision.goals) > 1:
        text = f"{decision.objective.goals[0].metric}: {text}{_other_goals(decision, leader, base)}"
    return Verdict(kind, text, limits, gain)


def _other_goals(decision: Decision, leader: Candidate, base: Candidate) -> str:
    """Return what the best of the first goal is in the others."""
    said = ""
    for at, goal in enumerate(decision.objective.goals[1:], 1):
        gain = decision.gain(leader, base, at)
        nothing = 1.0 if gain.relative else 0.0
        if gain.value >= nothing:
            said += f"; {goal.metric}: {show_improvement(gain)}"
        else:
            turned = replace(
                decision.gain(base, leader, at), maximize=not goal.maximize
            )  # of the default's value
            said += f"; {goal.metric}: {show_improvement(turned).replace('better', 'worse')}"
    return said


def limit_lines(decision: Decision, candidate: Candidate) -> tuple[str, ...]:
    """Return such as ``kept tpot.p95 <= 60 ms in 2 of 2 fresh launches; chance that it holds 97 %``."""
    counted, word = candidate.contender.counted, "fresh " if candidate.contender.confirmed else ""
    lines = []
    for limit in decision.limits:
        found = [t.metrics[limit.metric].value for t in counted if limit.metric in t.metrics]
        kept = sum(limit.violation(value) <= 0 for value in found)
        launches = "launch" if len(found) == 1 else "launches"
        chance = show_chance(candidate.chances[str(limit)])
        doubtful = sum(bool(t.doubt) for t in counted)
        said = f" ({doubtful} of them doubtful)" if doubtful else ""
        lines.append(
            f"kept {limit} in {kept} of {len(found)} {word}{launches}{said}; chance that it holds {chance}"
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
        return Verdict("not confirmed", text, limits)
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
    return Verdict("limits in doubt", text, limits)


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
    text, confirmed = show_improvement(gain), decision.confirming
    if gain.low is None:
        said = "" if confirmed else "; not confirmed"
        return "unproven", f"{text} than the default, but no error is known{said}"
    fresh = " fresh" if confirmed else ""
    left, right = gain.launches
    launches = f"{left} and {right}{fresh} launches"
    if left == right:
        launches = f"one{fresh} launch each" if left == 1 else f"{left}{fresh} launches each"
    how = f"95 % interval, {launches}{'' if confirmed else ', not confirmed'}"
    if min(left, right) == 1 and confirmed:
        more = ", `confirm: 2` would" if decision.confirm == 1 else ""
        return "unproven", f"{text} than the default ({how}); one launch decides nothing{more}"
    if gain.clear:
        return "better", f"{text} than the default ({how})"
    return "tie", f"no clear winner: {text} than the default ({how})"


_FACTOR = 3.0  # from here on "better by 1150 %" says less than "11.5 times as good"
_WIDE = 4.0  # width of an interval over its middle from which the middle says little


def show_improvement(gain: Improvement) -> str:
    """Return such as ``better by 34 % [29, 40]`` or ``12.7 times better [11, 14]``.

    Of an interval so wide that its middle says little: ``better, by anything from 0.1 to 150 %``.
    """
    if gain.relative and gain.value >= _FACTOR:
        return f"{gain.value:.3g} times better{_interval(gain.low, gain.high)}"
    if not gain.relative:
        return f"better by {gain.value:.3g}{_interval(gain.low, gain.high)}"
    value, low, high = gain.percent()
    if low is not None and high is not None and low > 0 and high - low > _WIDE * max(low, 1.0):
        return f"better, by anything from {_percent(low)} to {_percent(high)} %"
    digits = _decimals(value, low, high)
    ends = "" if low is None or high is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"better by {value:.{digits}f} %{ends}"


def _decimals(*values: float | None) -> int:
    """Return how many decimals show two digits of the widest part of an interval, at most two."""
    known = [v for v in values if v is not None]
    width = max(known) - min(known) if len(known) > 1 else abs(known[0])
    return 0 if width >= 10 or not math.isfinite(width) else 1 if width >= 1 else 2


def _percent(value: float) -> str:
    return f"{value:.0f}" if value >= 9.5 else f"{value:.1f}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{low:.3g}, {high:.3g}]"
