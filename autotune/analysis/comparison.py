"""The recommended configuration against the default: every metric with its interval, every limit."""

from __future__ import annotations

import math
from dataclasses import dataclass

from autotune.analysis.study_view import StudyView
from autotune.core.decision import Candidate
from autotune.core.measurement import Estimate
from autotune.core.metric import metric_info
from autotune.core.ranking import Contender, Improvement
from autotune.core.trial import config_key


@dataclass(frozen=True)
class MetricRow:
    """A metric of the two configurations.

    Args:
        metric: Name.
        role: ``goal``, ``limit`` or ``other``.
        better: ``more``, ``less``, or empty where neither is said to be better.
        best: The recommended configuration's, launches pooled; ``None`` where it was not measured.
        best_half: Half-width of its 95 % interval.
        default: The default's.
        default_half: Half-width of its 95 % interval.
        ratio: Value of the recommended over that of the default; ``None`` where it says nothing.
        low, high: 95 % interval of the ratio; ``None`` where no error is known.
        change: Gain of the recommended one over the default: of a goal that of the verdict, else the ratio
            as if more were better; ``None`` where neither says anything.
    """

    metric: str
    role: str
    better: str
    best: Estimate | None
    best_half: float | None
    default: Estimate | None
    default_half: float | None
    ratio: float | None
    low: float | None
    high: float | None
    change: Improvement | None = None


@dataclass(frozen=True)
class LimitRow:
    """A limit, and how sure one may be that it holds.

    Args:
        limit: Its text.
        metric: Metric that it bounds.
        upper: Whether the bound is the largest value allowed.
        bound: Bound in ``unit``.
        unit: Unit of the bound.
        value: The recommended configuration's, launches pooled.
        half: Half-width of its 95 % interval.
        kept, launches: In how many launches it was kept, and of how many.
        chance: Chance that the recommended configuration keeps it.
        default_chance: The same of the default configuration.
        symbol: Unit that the limit's author wants to read; empty for the one that reads best.
    """

    limit: str
    metric: str
    upper: bool
    bound: float
    unit: str
    value: Estimate | None
    half: float | None
    kept: int
    launches: int
    chance: float | None
    default_chance: float | None
    symbol: str = ""


@dataclass(frozen=True)
class Comparison:
    """The recommended configuration beside the default.

    Args:
        best: The recommended one, or the nearest where nothing is recommended.
        recommended: Whether it is recommended.
        default: The default; ``None`` where it was not measured.
        same: Whether both are the same configuration.
        metrics: Goals first, then limits, then whatever else was measured of both.
        limits: Limits of the objective.
    """

    best: Contender
    recommended: bool
    default: Contender | None
    same: bool
    metrics: tuple[MetricRow, ...]
    limits: tuple[LimitRow, ...]


def comparison(view: StudyView) -> Comparison | None:
    """Return the recommended configuration beside the default; ``None`` while nothing was measured."""
    nearest = view.decision.nearest if view.settled else None
    best = view.best or (None if nearest is None else nearest.contender)
    if best is None:
        return None
    default = view.default
    same = best.trial.key == config_key(view.default_config)
    goals = [goal.metric for goal in view.objective.goals]
    bounded = [limit.metric for limit in view.objective.limits]
    names = list(dict.fromkeys([*view.objective.metrics, *best.metrics]))
    rows = []
    for name in names:
        role = "goal" if name in goals else "limit" if name in bounded else "other"
        if role == "other" and (name not in best.metrics or default is None or name not in default.metrics):
            continue
        rows.append(_metric_row(view, name, role, best, None if same else default))
    candidates = {c.key: c for c in view.decision.candidates}
    limits = tuple(_limit_rows(view, best, candidates))
    return Comparison(best, view.recommends, default, same, tuple(rows), limits)


def _metric_row(
    view: StudyView, name: str, role: str, best: Contender, default: Contender | None
) -> MetricRow:
    a = best.metrics.get(name)
    b = None if default is None else default.metrics.get(name)
    halves = [_half(view, side, name) for side in (best, default)]
    ratio = low = high = change = None
    if a is not None and b is not None and a.unit == b.unit and a.value > 0 and b.value > 0:
        ratio = a.value / b.value
        if None not in halves:
            error = math.hypot((halves[0] or 0.0) / a.value, (halves[1] or 0.0) / b.value)
            low, high = ratio * math.exp(-min(error, 100.0)), ratio * math.exp(min(error, 100.0))
        change = Improvement(ratio, low, high, True, (best.launches, default.launches if default else 0))
    gain = None if role != "goal" or not view.settled or default is None else _gain(view, name, best, default)
    if gain is not None:  # in the words of the verdict
        change, (ratio, low, high) = gain, _ratio_of(gain)
    return MetricRow(name, role, _better(view, name), a, halves[0], b, halves[1], ratio, low, high, change)


def _gain(view: StudyView, name: str, best: Contender, default: Contender) -> Improvement | None:
    """Return the improvement of a goal by the decision; ``None`` where that has none."""
    found = {c.key: c for c in view.decision.candidates}
    mine, base = found.get(best.trial.key), found.get(default.trial.key)
    at = next(i for i, goal in enumerate(view.objective.goals) if goal.metric == name)
    return None if mine is None or base is None else view.decision.gain(mine, base, at)


def _ratio_of(gain: Improvement) -> tuple[float | None, float | None, float | None]:
    """Return the ratio of the metric itself with its interval; nothing of a difference."""
    if not gain.relative:
        return None, None, None
    if gain.maximize:
        return gain.value, gain.low, gain.high
    value, low, high = (None if v is None else 1.0 / v for v in (gain.value, gain.high, gain.low))
    return value, low, high


def _half(view: StudyView, side: Contender | None, name: str) -> float | None:
    if side is None or name not in side.metrics:
        return None
    found = view.half_width(side, name) if view.settled else None
    return side.metrics[name].half_width if found is None else found


def _better(view: StudyView, name: str) -> str:
    for goal in view.objective.goals:
        if goal.metric == name:
            return "more" if goal.maximize else "less"
    for limit in view.objective.limits:
        if limit.metric == name:
            return "less" if limit.upper else "more"
    info = metric_info(name)
    return "" if info is None else {"maximize": "more", "minimize": "less"}.get(info.direction, "")


def _limit_rows(view: StudyView, best: Contender, candidates: dict[str, Candidate]) -> list[LimitRow]:
    mine, base = candidates.get(best.trial.key), candidates.get(config_key(view.default_config))
    rows = []
    for limit in view.objective.limits:
        found = [t.metrics[limit.metric].value for t in best.counted if limit.metric in t.metrics]
        text = str(limit)
        rows.append(
            LimitRow(
                text,
                limit.metric,
                limit.upper,
                limit.bound,
                limit.unit,
                best.metrics.get(limit.metric),
                _half(view, best, limit.metric),
                sum(limit.violation(value) <= 0 for value in found),
                len(found),
                None if mine is None else mine.chances.get(text),
                None if base is None else base.chances.get(text),
                limit.symbol,
            )
        )
    return rows
