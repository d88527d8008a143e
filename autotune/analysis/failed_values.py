"""Where trials fail: by value of each parameter the share that failed by cause, and what a model expects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from autotune.analysis.study_view import StudyView
from autotune.core.trial import Trial, Value
from autotune.engine.base import Posterior

_DRAWS = 256  # configurations that a chance is averaged over
_MOST_VALUES = 5  # of a parameter; more are grouped


@dataclass(frozen=True)
class FailedValue:
    """The fate of the trials with some neighbouring values of a parameter.

    Args:
        values: Lowest and highest value of the group; both ``None`` where the parameter is inactive.
        trials: Trials that ended with them.
        causes: Count of those that failed by cause, the most frequent cause first.
        chance: Probability that a configuration with them fails, by the model, on average over the allowed
            ones; ``None`` without a model, or where nothing failed.
    """

    values: tuple[Value | None, Value | None]
    trials: int
    causes: Mapping[str, int]
    chance: float | None

    @property
    def failed(self) -> int:
        """Number of trials that failed."""
        return sum(self.causes.values())

    @property
    def share(self) -> float:
        """Share of the trials that failed."""
        return self.failed / self.trials if self.trials else 0.0


def failed_values(view: StudyView) -> dict[str, tuple[FailedValue, ...]]:
    """Return by parameter where trials failed; the parameters whose values tell failures apart best first.

    Parameters that never varied are left out; without a failed trial, all are.
    """
    ended = [trial for trial in view.trials if trial.state.finished]
    if not any(trial.failure for trial in ended):
        return {}
    found = {name: _groups(view, i, ended) for i, name in enumerate(view.space.names)}
    varied = {name: groups for name, groups in found.items() if len(groups) > 1}
    return dict(sorted(varied.items(), key=lambda pair: -_told_apart(pair[1])))


def _told_apart(groups: tuple[FailedValue, ...]) -> float:
    """Return the variance of the share of failures between the groups, less what chance makes."""
    trials = np.array([group.trials for group in groups], float)
    shares = np.array([group.share for group in groups])
    mean = np.average(shares, weights=trials)
    between = float((trials * (shares - mean) ** 2).sum())
    chance = (len(groups) - 1) * mean * (1.0 - mean)
    return (between - float(chance)) / float(trials.sum())


def _groups(view: StudyView, i: int, ended: list[Trial]) -> tuple[FailedValue, ...]:
    parameter = view.space.parameters[i]
    by_level: dict[int | None, list[Trial]] = {}
    for trial in ended:
        value = trial.config.get(parameter.name)
        by_level.setdefault(None if value is None else parameter.level_of(value), []).append(trial)
    seen = sorted(level for level in by_level if level is not None)
    parts = (
        [seen] if not seen else [list(part) for part in np.array_split(seen, min(len(seen), _MOST_VALUES))]
    )
    if not parameter.ordered:
        parts = [[level] for level in seen]
    groups = [_group(view, i, [int(level) for level in part], by_level) for part in parts if part]
    if None in by_level:
        groups.append(_group(view, i, [], by_level))
    return tuple(groups)


def _group(
    view: StudyView, i: int, levels: list[int], by_level: Mapping[int | None, list[Trial]]
) -> FailedValue:
    parameter = view.space.parameters[i]
    trials = [trial for level in (levels or (None,)) for trial in by_level[level]]
    causes = Counter(trial.failure.cause.value for trial in trials if trial.failure is not None)
    ends = (parameter.levels[levels[0]], parameter.levels[levels[-1]]) if levels else (None, None)
    return FailedValue(ends, len(trials), dict(causes.most_common()), _chance(view, i, levels))


def _chance(view: StudyView, i: int, levels: list[int]) -> float | None:
    def computed() -> float | None:
        return None if view.model is None else _p_failed(view, view.model, i, levels)

    place = f"{levels[0]} {levels[-1]}" if levels else "inactive"
    found: float | None = view.facts.recall(f"failures {view.space.names[i]} {place}", computed)
    return found


def _p_failed(view: StudyView, model: Posterior, i: int, levels: list[int]) -> float | None:
    known = view.allowed.levels(i)
    inside = known[(known >= levels[0]) & (known <= levels[-1])] if levels else known[known < 0]
    each = max(1, _DRAWS // max(1, len(inside)))
    rng = np.random.default_rng(0)
    rows = [view.allowed.draw_with({i: int(level)}, each, rng) for level in inside]
    if not rows:
        return None
    return float(1.0 - model.p_measured(np.concatenate(rows)).mean())
