"""How a metric depends on one parameter, or on two, by the model and as measured.

The effect of a value is the metric's mean over the allowed configurations that have it, weighed as
:mod:`autotune.analysis.distribution` says (a conditional expectation, as the main effect of a functional
ANOVA is of: what :mod:`autotune.analysis.importance` calls ``alone`` is the variance of this curve). Where a
metric is positive its logarithm is averaged, so that the mean is the geometric one. The slice is what the
model expects where the best configuration changes in this parameter only. Bands hold 95 % of the functions
sampled from the model's posterior.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt

from autotune.analysis.study_view import StudyView
from autotune.core.quantiles import NORMAL
from autotune.core.space import Space
from autotune.core.table import INACTIVE, Indices, allowed_mask, condition_mask
from autotune.core.trial import Config, Value, config_key
from autotune.engine.base import Array, Posterior

_DRAWS, _LEAST_DRAWS = 96, 24  # configurations that a value is averaged over
_ROWS = 1200  # and all values of a parameter together: the model of a large study takes its time for each
_PAIR_DRAWS = 32
_MOST_LEVELS = 12  # of each parameter of a pair
_TAIL = 2.5  # per cent on either side of a band


@dataclass(frozen=True)
class EffectLevel:
    """The expectation at one value, in the metric's base unit.

    Args:
        value: Value of the parameter; ``None`` where it is inactive.
        mean: Expected metric.
        low: Lower bound of the 95 % band.
        high: Upper bound.
    """

    value: Value | None
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class TrialPoint:
    """A measured trial.

    Args:
        trial: Its number.
        values: Values of the parameters asked for; ``None`` where one is inactive.
        metric: Measured value, in the metric's base unit.
        feasible: Whether it keeps every limit that can be judged.
    """

    trial: int
    values: tuple[Value | None, ...]
    metric: float
    feasible: bool


@dataclass(frozen=True)
class Effect:
    """Effect of one parameter on one metric.

    Args:
        parameter: Name of the parameter.
        metric: Name of the metric.
        average: Expectations over the allowed configurations, by value; empty without a model.
        slice: Expectations beside the best configuration, by value that is allowed there; empty without one.
        points: The measured trials.
        winner: The best configuration's value; ``None`` where it is inactive or nothing is feasible.
    """

    parameter: str
    metric: str
    average: tuple[EffectLevel, ...]
    slice: tuple[EffectLevel, ...]
    points: tuple[TrialPoint, ...]
    winner: Value | None


@dataclass(frozen=True)
class PairEffect:
    """Effect of two parameters on one metric.

    Args:
        parameters: Names of the two.
        metric: Name of the metric.
        values: Values of the first, then of the second; ``None`` stands for inactive.
        mean: Expected metric, first by second; nan where the two values are not allowed together.
        half_width: Half-width of the 95 % band, relative to the mean where the metric is positive.
        points: The measured trials.
    """

    parameters: tuple[str, str]
    metric: str
    values: tuple[tuple[Value | None, ...], tuple[Value | None, ...]]
    mean: Array
    half_width: Array
    points: tuple[TrialPoint, ...]


def effect(view: StudyView, parameter: str, metric: str | None = None) -> Effect:
    """Return the effect of one parameter.

    Args:
        view: The study.
        parameter: Name of the parameter.
        metric: A goal's or a limit's; by default that of the first goal.

    Raises:
        SpecError: There is no such parameter or metric.
    """
    name = view.metric_named(metric)
    i = view.space.names.index(view.space[parameter].name)
    best = view.best
    winner = None if best is None else best.config

    def computed() -> list[list[tuple[Value | None, float, float, float]]] | None:
        model = view.model
        if model is None or name not in model.logarithm:
            return None
        curves = (
            _average(view, model, name, i),
            () if winner is None else _slice(view, model, name, i, winner),
        )
        return [[astuple(level) for level in curve] for curve in curves]

    key = f"effect {parameter} {name} {'' if winner is None else config_key(winner)}"
    average, beside = view.facts.recall(key, computed) or ((), ())
    return Effect(
        parameter,
        name,
        tuple(EffectLevel(*level) for level in average),
        tuple(EffectLevel(*level) for level in beside),
        measured_points(view, name, (parameter,)),
        None if winner is None else winner.get(parameter),
    )


def pair_effect(view: StudyView, a: str, b: str, metric: str | None = None) -> PairEffect | None:
    """Return the effect of two parameters; ``None`` without a model of the metric.

    Raises:
        SpecError: There is no such parameter or metric.
    """
    name = view.metric_named(metric)
    columns = [view.space.names.index(view.space[each].name) for each in (a, b)]
    levels = [_spread(view.allowed.levels(i)) for i in columns]
    found = view.facts.recall(f"pair {a} {b} {name}", lambda: _pair(view, name, columns, levels))
    if found is None:
        return None
    mean, half = (np.array(each, dtype=float) for each in found)  # None becomes nan
    shown = [
        tuple(_value(view.space, i, level) for level in own) for i, own in zip(columns, levels, strict=True)
    ]
    points = measured_points(view, name, (a, b))
    return PairEffect((a, b), name, (shown[0], shown[1]), mean, half, points)


def _pair(
    view: StudyView, name: str, columns: Sequence[int], levels: Sequence[Indices]
) -> list[object] | None:
    """Return mean and half-width by the levels of two parameters, ``None`` in cells that are not allowed."""
    model, distribution = view.model, view.allowed
    if model is None or name not in model.logarithm:
        return None
    cells = [(int(x), int(y)) for x in levels[0] for y in levels[1]]
    drawn = [
        distribution.draw_with(dict(zip(columns, cell, strict=True)), _PAIR_DRAWS, np.random.default_rng(0))
        for cell in cells
    ]
    shape = (len(levels[0]), len(levels[1]))
    mean, half = np.full(shape, np.nan), np.full(shape, np.nan)
    kept = [at for at, rows in enumerate(drawn) if len(rows)]
    means = _means(model, name, [drawn[at] for at in kept])
    logarithm = model.logarithm[name]
    for at, of in zip(kept, means, strict=True):
        place = np.unravel_index(at, shape)
        mean[place] = np.exp(of.mean()) if logarithm else of.mean()
        half[place] = NORMAL * of.std()
    return [
        [[v if math.isfinite(v) else None for v in row] for row in each.tolist()] for each in (mean, half)
    ]


def measured_points(view: StudyView, metric: str, parameters: Sequence[str]) -> tuple[TrialPoint, ...]:
    """Return the trials that measured a metric, by their values of some parameters."""
    return tuple(
        TrialPoint(
            trial.number,
            tuple(trial.config.get(name) for name in parameters),
            value,
            view.objective.score(trial.metrics).feasible,
        )
        for trial, value, _ in view.measured(metric)
    )


def _average(view: StudyView, model: Posterior, metric: str, i: int) -> tuple[EffectLevel, ...]:
    distribution = view.allowed
    levels = distribution.levels(i)
    draws = max(_LEAST_DRAWS, min(_DRAWS, _ROWS // max(1, len(levels))))
    drawn = [distribution.draw_with({i: int(v)}, draws, np.random.default_rng(0)) for v in levels]
    means = _means(model, metric, drawn)
    logarithm = model.logarithm[metric]
    return tuple(
        _level(_value(view.space, i, int(level)), of, logarithm)
        for level, of in zip(levels, means, strict=True)
    )


def _means(model: Posterior, metric: str, groups: Sequence[Indices]) -> list[Array]:
    """Return the mean of the sampled functions over each group of rows, each of shape ``s``."""
    if not groups:
        return []
    rows, place = np.unique(np.concatenate(groups), axis=0, return_inverse=True)
    values = model.values(metric, rows)
    ends = np.cumsum([len(group) for group in groups])
    return [values[:, at].mean(1) for at in np.split(place.ravel(), ends[:-1])]


def _slice(view: StudyView, model: Posterior, metric: str, i: int, config: Config) -> tuple[EffectLevel, ...]:
    space = view.space
    row = space.as_table(np.empty((0, len(space)), np.int32)).encode(config)
    if row[i] == INACTIVE:
        return ()
    levels = np.union1d(view.allowed.levels(i), row[i])
    levels = levels[levels != INACTIVE].astype(np.int32)
    rows = np.repeat(row[None], len(levels), axis=0)
    rows[:, i] = levels
    rows = rows[_allowed(space, rows)]
    values = model.values(metric, rows)
    logarithm = model.logarithm[metric]
    return tuple(
        _level(_value(space, i, int(row[i])), of, logarithm) for row, of in zip(rows, values.T, strict=True)
    )


def _allowed(space: Space, rows: Indices) -> npt.NDArray[np.bool_]:
    """Return which rows are configurations of the space, shape ``n``."""
    if space.configurations is not None:
        table = space.table()
        listed = {row.tobytes() for row in table.indices} if table is not None else set()
        return np.array([row.tobytes() in listed for row in rows], dtype=bool)
    kept = np.ones(len(rows), dtype=bool)
    for i, parameter in enumerate(space.parameters):
        kept &= condition_mask(parameter, space.parameters, rows) == (rows[:, i] != INACTIVE)
    for constraint in space.constraint_expressions:
        kept &= allowed_mask(constraint, space.parameters, rows)
    return kept


def _level(value: Value | None, of: Array, logarithm: bool) -> EffectLevel:
    low, high = np.percentile(of, [_TAIL, 100 - _TAIL])
    found = np.array([of.mean(), low, high])
    mean, low, high = (np.exp(found) if logarithm else found).tolist()
    return EffectLevel(value, mean, low, high)


def _value(space: Space, i: int, level: int) -> Value | None:
    return None if level == INACTIVE else space.parameters[i].levels[level]


def _spread(levels: Indices) -> Indices:
    if len(levels) <= _MOST_LEVELS:
        return levels
    few: Indices = levels[np.unique(np.linspace(0, len(levels) - 1, _MOST_LEVELS).round().astype(int))]
    return few
