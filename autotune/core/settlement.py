"""What would settle a verdict that leaves something open: how many more launches, and how long they take."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from autotune.core.decision import EVEN, Candidate, Decision
from autotune.core.improvement_text import nearly_equal, show_improvement

MOST_LAUNCHES = 16
"""Launches of each side up to which it is computed whether they would settle a verdict."""


@dataclass(frozen=True)
class Settlement:
    """The measurements that would tell what a verdict leaves open.

    Args:
        effect: Effect of the launches, as the end of a sentence that begins with them.
        launches: Fresh launches of each configuration in all, ``budget.confirm``; 0 where those that are
            planned already would do.
        trial: Trial to name, where the study would not launch that one again by itself.
        seconds: Time that the launches take, by those measured; ``None`` where no time was measured.
        enough: Whether they would; where not even the most that are thought of would, it is said.
    """

    effect: str
    launches: int = 0
    trial: int | None = None
    seconds: float | None = None
    enough: bool = True

    @property
    def options(self) -> tuple[str, ...]:
        """Options of `autotune resume` that make these launches."""
        named = () if self.trial is None else ("--confirm-trial", str(self.trial))
        return (*named, *(("--confirm", str(self.launches)) if self.launches else ()))


def settle(
    decision: Decision, kind: str, leader: Candidate, base: Candidate | None = None
) -> Settlement | None:
    """Return what would settle a verdict; ``None`` where it is settled, or where launches would not do it.

    Args:
        decision: The decision.
        kind: Kind of its verdict.
        leader: Candidate that the verdict is about.
        base: The default where it was measured.
    """
    number = leader.contender.trial.number
    base = base or next((c for c in decision.candidates if c.key == decision.default_key), None)
    if kind == "not confirmed":
        seconds = _seconds(decision, decision.confirm, leader, base)
        return Settlement("would complete its confirmation", seconds=seconds)
    if kind == "limits in doubt":
        return _settle_limits(decision, leader, base)
    if base is None or kind not in ("tie", "unproven", "better"):
        return None
    gain = decision.gain(leader, base)
    if decision.confirm and not decision.confirming:
        seconds = _seconds(decision, decision.confirm, leader, base)
        return Settlement("would go on to the confirmation", seconds=seconds)
    if kind == "better":
        seconds = _seconds(decision, 2, leader, base)
        return None if decision.confirming else Settlement("would confirm it", 2, seconds=seconds)
    made = min(gain.launches) if decision.confirming else 0
    least = max(2, decision.confirm, made + 1)
    lost = max(leader.lost, base.lost)  # launches without a measurement count among those asked for
    if gain.low is None or (kind == "unproven" and gain.clear):
        seconds = _seconds(decision, least + lost, leader, base)
        return Settlement("would show how much launches differ", least + lost, number, seconds)
    if nearly_equal(gain) and decision.confirming and made > 1:
        return None
    return _settle_difference(decision, leader, base, least, lost)


def _settle_difference(
    decision: Decision, leader: Candidate, base: Candidate, least: int, lost: int
) -> Settlement:
    """Return the launches after which an interval would hold a difference, if it stays as measured."""
    number = leader.contender.trial.number
    for launches in range(least, MOST_LAUNCHES + 1):
        then = decision.gain(leader, base, launches=launches)
        if then.side or nearly_equal(then):
            effect = f"would settle it if the difference stays as measured ({show_improvement(then)})"
            return Settlement(
                effect, launches + lost, number, _seconds(decision, launches + lost, leader, base)
            )
    then = decision.gain(leader, base, launches=MOST_LAUNCHES)
    left = show_improvement(then).partition(": ")[2] or show_improvement(then)
    seconds = _seconds(decision, MOST_LAUNCHES + lost, leader, base)
    return Settlement(f"would leave it open ({left})", MOST_LAUNCHES + lost, number, seconds, enough=False)


def _settle_limits(decision: Decision, leader: Candidate, base: Candidate | None) -> Settlement | None:
    """Return the launches that likely show every limit kept with the confidence asked for."""
    at = next(i for i, c in enumerate(decision.candidates) if c.key == leader.key)
    made = len(decision.launched.get(leader.key, ()))
    for launches in range(max(2, made + 1), MOST_LAUNCHES + 1):
        more = np.full(len(decision.candidates), float(launches - made))
        shown = math.prod(
            float(quantity.probability_shown(more, decision.objective.confidence)[at])
            for quantity in decision.excesses
        )
        if shown >= EVEN:
            asked = f"{100 * decision.objective.confidence:g} %"
            effect = f"would show it to keep them with {asked} confidence"
            effect += f" with a chance of {math.floor(100 * shown)} %"
            seconds = _seconds(decision, launches, leader, base)
            return Settlement(effect, launches, leader.contender.trial.number, seconds)
    return None


def _seconds(decision: Decision, launches: int, *sides: Candidate | None) -> float | None:
    """Return the seconds that launches not made yet take, by those of the same configuration."""
    total = 0.0
    for side in sides:
        if side is None:
            continue
        took = [t.measurement.seconds for t in side.contender.trials if t.measurement is not None]
        missing = max(0, launches - len(decision.launched.get(side.key, ())))
        total += missing * sum(took) / max(1, len(took))
    return total or None
