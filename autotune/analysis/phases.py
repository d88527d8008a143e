"""Where the time of trials went: start, warm-up, the timed part, and what is around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune.analysis.progress import PURPOSES, purpose_of
from autotune.analysis.study_view import StudyView
from autotune.core.trial import Trial
from autotune.errors import AutotuneError
from autotune.spec.sections import Resources

PHASES = ("start", "warm-up", "timed", "around the load", "quality", "stop", "rest")
"""Phases of a trial in the order that they have; ``rest`` is what no phase accounts for."""


@dataclass(frozen=True)
class TrialTime:
    """Time of one trial.

    Args:
        number: Number of the trial.
        seconds: Wall-clock time of the attempt that decided it.
        phases: Seconds by phase, in the order of :data:`PHASES`; they add up to ``seconds``.
        purpose: One of :data:`autotune.analysis.progress.PURPOSES`.
    """

    number: int
    seconds: float
    phases: Mapping[str, float]
    purpose: str


def trial_times(view: StudyView) -> list[TrialTime]:
    """Return the time of every finished trial that says when it ran, in number order."""
    return [
        TrialTime(t.number, t.measurement.seconds, phases_of(t), purpose_of(t))
        for t in view.trials
        if t.state.finished and t.measurement is not None and t.measurement.seconds > 0
    ]


def phases_of(trial: Trial) -> dict[str, float]:
    """Return the seconds of a trial by phase; only ``rest`` where it tells nothing, as a function."""
    if trial.measurement is None:
        return {}
    told = _numbers(trial.measurement.facts.get("phases_s"))
    measured = _numbers(trial.measurement.facts.get("measured"))
    around = told.get("measure", 0.0) + told.get("system_metrics", 0.0)
    warm = min(measured.get("warmup_seconds", 0.0), around)
    timed = min(measured.get("seconds", 0.0), around - warm)
    found = {
        "start": told.get("startup", 0.0) + told.get("hardware", 0.0),
        "warm-up": warm,
        "timed": timed,
        "around the load": around - warm - timed,
        "quality": told.get("quality", 0.0),
        "stop": told.get("stop", 0.0),
    }
    found["rest"] = max(0.0, trial.measurement.seconds - sum(found.values()))
    return {name: found[name] for name in PHASES if found[name] > 0}


def _numbers(facts: object) -> dict[str, float]:
    if not isinstance(facts, Mapping):
        return {}
    return {
        str(key): float(value)
        for key, value in facts.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    }


def totals(times: Sequence[TrialTime]) -> dict[str, float]:
    """Return the seconds of all trials by phase."""
    return {name: found for name in PHASES if (found := sum(t.phases.get(name, 0.0) for t in times)) > 0}


@dataclass(frozen=True)
class Cost:
    """The cost of a study.

    Args:
        seconds: Time of trials by purpose, those there are in the order of
            :data:`autotune.analysis.progress.PURPOSES`.
        trials: Number of trials by purpose.
        gpu_seconds: Time of trials times their accelerators, by purpose; empty where no number is said.
        money: Price of the trials by purpose, in the currency of the study file's ``resources.price``;
            empty without one.
    """

    seconds: Mapping[str, float]
    trials: Mapping[str, int]
    gpu_seconds: Mapping[str, float]
    money: Mapping[str, float]


def cost(view: StudyView) -> Cost:
    """Return what the trials of a study cost, by what they were for."""
    by_number = {t.number: t for t in view.trials}
    resources = _resources(view)
    seconds, trials, gpus, money = (dict.fromkeys(PURPOSES, 0.0) for _ in range(4))
    priced = counted = False
    for time in trial_times(view):
        seconds[time.purpose] += time.seconds
        trials[time.purpose] += 1
        if resources is None:
            continue
        config = by_number[time.number].config
        price, used = resources.price_of(config), resources.needed(config).get("gpus")
        if price is not None:
            priced, money[time.purpose] = True, money[time.purpose] + price * time.seconds / 3600.0
        if used:
            counted, gpus[time.purpose] = True, gpus[time.purpose] + used * time.seconds
    there = [name for name in PURPOSES if trials[name]]
    return Cost(
        {name: seconds[name] for name in there},
        {name: int(trials[name]) for name in there},
        {name: gpus[name] for name in there} if counted else {},
        {name: money[name] for name in there} if priced else {},
    )


def _resources(view: StudyView) -> Resources | None:
    try:
        return view.spec.resources
    except AutotuneError:  # of another version of this program
        return None
