"""How much launches of one configuration differ, and how the machine changed meanwhile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autotune.analysis.progress import busy_seconds
from autotune.analysis.study_view import StudyView
from autotune.core.drift import Drift
from autotune.core.measurement import Estimate
from autotune.core.trial import Trial, TrialState, config_key


@dataclass(frozen=True)
class Launch:
    """One launch of a configuration.

    Args:
        trial: Number of the trial.
        reason: Reason why it was measured.
        estimate: Estimate of the goal.
        relative: Deviation from the mean of the configuration's launches, relative to it.
        own: Half-width of its own 95 % interval, relative to the mean; ``None`` where it is not known.
        seconds: Measuring time of the study until it ended; ``None`` where it is not known.
    """

    trial: int
    reason: str
    estimate: Estimate
    relative: float
    own: float | None
    seconds: float | None


@dataclass(frozen=True)
class Noise:
    """The differences between launches of one configuration in the first goal.

    Args:
        metric: Metric of the goal.
        groups: Launches of every configuration launched more than once, by its first trial.
        spread: Relative standard deviation between launches, by all of them; ``None`` where values are not
            positive or nothing was launched twice.
        own: Median relative standard error that launches claim themselves; ``None`` where none does.
        drift: Change of the default through the study; ``None`` before it was looked at again.
        default: Launches of the default configuration in the order they ran.
    """

    metric: str
    groups: dict[int, tuple[Launch, ...]]
    spread: float | None
    own: float | None
    drift: Drift | None
    default: tuple[Launch, ...]


def noise(view: StudyView) -> Noise:
    """Return how much launches differ, by the first goal."""
    metric = view.objective.goals[0].metric
    ended = busy_seconds(view.trials)
    by_key: dict[str, list[Trial]] = {}
    for trial in view.trials:
        if trial.state is TrialState.COMPLETED and metric in trial.metrics:
            by_key.setdefault(trial.key, []).append(trial)
    groups = {
        trials[0].number: _launches(trials, metric, ended)
        for trials in by_key.values()
        if len(trials) > 1 and _mean(trials, metric)
    }
    claimed = sorted(
        e.sem / abs(e.value)
        for trials in by_key.values()
        for e in (t.metrics[metric] for t in trials)
        if e.sem is not None and e.value
    )
    spread = None
    if groups and view.decision.contenders and (quantity := view.decision.goals[0]).logarithm:
        spread = float(quantity.weights @ np.sqrt(quantity.spreads))
    default = by_key.get(config_key(view.default_config), [])
    return Noise(
        metric,
        groups,
        spread,
        claimed[len(claimed) // 2] if claimed else None,
        view.drift,
        _launches(default, metric, ended),
    )


def _mean(trials: Sequence[Trial], metric: str) -> float:
    return math.fsum(t.metrics[metric].value / len(trials) for t in trials)


def _launches(trials: Sequence[Trial], metric: str, ended: dict[int, float]) -> tuple[Launch, ...]:
    mean = _mean(trials, metric) if trials else 0.0
    result = []
    for trial in trials:
        found = trial.metrics[metric]
        half = found.half_width
        result.append(
            Launch(
                trial.number,
                trial.suggestion.reason.value,
                found,
                found.value / mean - 1 if mean else 0.0,
                None if half is None or not mean else half / abs(mean),
                ended.get(trial.number),
            )
        )
    return tuple(result)
