"""Every trial as a line across its parameters and what was measured of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autotune.analysis.importance import importance
from autotune.analysis.study_view import StudyView, varying_parameters
from autotune.core.parameter.base import show
from autotune.core.trial import Trial
from autotune.plot.axes import INACTIVE, metric_axis, round_values
from autotune.plot.reasons import without_model
from autotune.plot.theme import INK, Viewed, figure, nothing, subtitled, view_of
from autotune.plot.thin import said, thinned

if TYPE_CHECKING:
    import plotly.graph_objects as go

_MOST = 10  # parameters shown
_LOW = -0.15  # place of inactive parameters


def parallel_coordinates(study: StudyView | Viewed, metric: str | None = None) -> go.Figure:
    """Return the measured trials as lines across the parameters, the most important one beside the metrics.

    Args:
        study: A study or its view.
        metric: A goal's or a limit's that lines are coloured by; by default that of the first goal.

    Raises:
        SpecError: The study's objective has no such metric.
    """
    import plotly.graph_objects as go

    view = view_of(study)
    name = view.metric_named(metric)
    title = "Trials across parameters and metrics"
    measured = [trial for trial, _, _ in view.measured(name)]
    if not measured:
        return nothing(title, without_model(view, name))
    trials = thinned(measured)
    found = importance(view, name)
    varying = varying_parameters(view)
    names = [each for each in (found.names if found else varying) if each in varying][:_MOST][::-1]
    dimensions = [_parameter(view, each, trials) for each in names]
    metrics = [each for each in view.objective.metrics if each != name] + [name]
    dimensions += [_metric(view, each, trials) for each in metrics]
    values = [view.objective.value_of(name, trial.metrics[name]) for trial in trials]
    result = figure(title)
    result.add_trace(
        go.Parcoords(
            line={"color": values, "colorscale": "Cividis"},
            dimensions=dimensions,
            labelangle=-20,
            labelfont={"color": INK, "size": 12},
        )
    )
    result.update_layout(margin={"t": 150, "l": 80, "r": 80, "b": 30}, height=480)
    failed = sum(trial.failure is not None for trial in view.trials)
    parts = [
        f"{len(measured)} measured trials",
        f"{failed} failed ones have no line" if failed else "",
        said(measured),
    ]
    return subtitled(result, "; ".join(part for part in parts if part) + "; drag along an axis to select")


def _parameter(view: StudyView, name: str, trials: list[Trial]) -> dict[str, Any]:
    parameter = view.space[name]
    values = [trial.config.get(name) for trial in trials]
    places = [_LOW if value is None else parameter.position(value) for value in values]
    levels = list(parameter.levels)
    if hasattr(parameter, "scale") and len(levels) > 1:
        logarithmic = parameter.scale != "linear"
        ticks = round_values([float(v) for v in levels], logarithmic=logarithmic)
        at, texts = [parameter.position(tick) for tick in ticks], [f"{tick:g}" for tick in ticks]
    else:
        at, texts = [parameter.position(level) for level in levels], [show(level) for level in levels]
    low = 0.0
    if None in values:
        at, texts, low = [_LOW, *at], [INACTIVE, *texts], _LOW
    return {"label": name, "values": places, "tickvals": at, "ticktext": texts, "range": [low, 1.0]}


def _metric(view: StudyView, name: str, trials: list[Trial]) -> dict[str, Any]:
    found = [trial.metrics.get(name) for trial in trials]
    values = [None if e is None else view.objective.value_of(name, e) for e in found]
    known = [value for value in values if value is not None]
    axis = metric_axis(name, view.unit(name), known)
    lowest = min(known, default=0.0)
    return {"label": axis.title, "values": [(lowest if v is None else v) * axis.factor for v in values]}
