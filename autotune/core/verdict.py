"""Whether the best configuration is really better than the default, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from autotune.core.objective import Objective
from autotune.core.ranking import Improvement, best, find, improvement
from autotune.core.trial import Config, Trial, TrialState, config_key


@dataclass(frozen=True)
class Verdict:
    """Say whether the best configuration is better than the default.

    Args:
        kind: ``better``, ``tie`` (the interval holds no difference), ``unproven`` (no error is known),
            ``default`` (it is the best), ``only feasible`` (the default fails), ``no default`` (it was
            not measured) or ``nothing feasible``.
        text: For people.
        improvement: Of the best over the default where both have a goal value.
    """

    kind: Literal["better", "tie", "unproven", "default", "only feasible", "no default", "nothing feasible"]
    text: str
    improvement: Improvement | None = None


def verdict(trials: Sequence[Trial], objective: Objective, default: Config) -> Verdict:
    """Return whether the best configuration is really better than ``default``.

    Args:
        trials: All trials of the study.
        objective: What is wanted; with several goals the first one is compared.
        default: The default configuration.
    """
    winner = best(trials, objective)
    if winner is None:
        return Verdict("nothing feasible", "no configuration keeps every limit")
    if config_key(winner.config) == config_key(default):
        return Verdict("default", "the default configuration is the best found")
    base = find(trials, objective, default)
    goal = objective.goals[0]
    if base is None:
        failed = any(t.state is TrialState.INFEASIBLE and t.key == config_key(default) for t in trials)
        if failed:
            return Verdict("only feasible", "the default configuration fails, this one does not")
        return Verdict("no default", "the default configuration was not measured")
    gain = improvement(winner, base, goal, trials) if goal.metric in base.metrics else None
    if not base.feasible:
        broken = ", ".join(base.outcome.violations) or (
            "a launch of it failed" if base.failures else f"{', '.join(base.outcome.missing)} not measured"
        )
        return Verdict(
            "only feasible", f"the default configuration is not feasible ({broken}), this one is", gain
        )
    assert gain is not None  # noqa: S101 - a feasible contender has its goal measured
    return _judge(gain, winner.confirmed and base.confirmed)


def _judge(gain: Improvement, confirmed: bool) -> Verdict:
    text = show_improvement(gain)
    if gain.low is None:
        return Verdict("unproven", f"{text} than the default, but no error is known", gain)
    fresh = " fresh" if confirmed else ""
    left, right = gain.launches
    launches = f"{left} and {right}{fresh} launches"
    if left == right:
        launches = f"one{fresh} launch each" if left == 1 else f"{left}{fresh} launches each"
    how = f"95 % interval, {launches}"
    if gain.clear:
        return Verdict(
            "better", f"{text} than the default ({how}{'' if confirmed else ', not confirmed'})", gain
        )
    return Verdict("tie", f"no clear winner: {text} than the default ({how})", gain)


_FACTOR = 3.0  # from here on "better by 1150 %" says less than "11.5 times as good"


def show_improvement(gain: Improvement) -> str:
    """Return such as ``better by 34 % [29, 40]`` or ``12.7 times better [11, 14]``."""
    if gain.relative and gain.value >= _FACTOR:
        return f"{gain.value:.3g} times better{_interval(gain.low, gain.high)}"
    if gain.relative:
        value, low, high = gain.percent()
        return f"better by {value:.3g} %{_interval(low, high)}"
    return f"better by {gain.value:.3g}{_interval(gain.low, gain.high)}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{low:.3g}, {high:.3g}]"
