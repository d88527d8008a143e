"""The effect of one parameter on a metric: the model's mean with its band, and the measured trials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autotune.analysis.effects import Effect, EffectLevel, TrialPoint
from autotune.analysis.effects import effect as effect_of
from autotune.analysis.study_view import StudyView
from autotune.core.arguments import check_arguments
from autotune.plot.axes import MetricAxis, ParameterAxis, metric_axis, parameter_axis
from autotune.plot.reasons import without_model
from autotune.plot.theme import (
    BEST,
    BROKEN,
    DEFAULT,
    INK,
    OTHER,
    Viewed,
    figure,
    nothing,
    plain,
    subtitled,
    view_of,
)
from autotune.plot.thin import said, thinned

if TYPE_CHECKING:
    import plotly.graph_objects as go

_BAND = "rgba(0, 114, 178, 0.18)"
CAPTION = "mean over the allowed configurations with its 95 % band"


@check_arguments("study")
def effect(study: StudyView | Viewed, parameter: str, metric: str | None = None) -> go.Figure:
    """Return the effect of a parameter on a metric.

    Args:
        study: A study or its view.
        parameter: Name of the parameter.
        metric: A goal's or a limit's; by default that of the first goal.

    Raises:
        SpecError: There is no such parameter or metric.
    """
    view = view_of(study)
    found = effect_of(view, parameter, metric)
    title = f"Effect of {parameter} on {found.metric}"
    if not found.points:
        return nothing(title, without_model(view, found.metric))
    axis = effect_axis(view, [found])
    result = figure(title)
    draw_effect(result, view, found, axis)
    return subtitled(result, caption(view, [found]))


def caption(view: StudyView, found: list[Effect]) -> str:
    """Return what some effects show, and what they leave out."""
    shown = CAPTION if found[0].average else without_model(view, found[0].metric).rstrip(".")
    left_out = said(found[0].points)
    return f"{shown}; {left_out}" if left_out else shown


def effect_axis(view: StudyView, found: list[Effect]) -> MetricAxis:
    """Return one axis of the metric for some effects."""
    values = [point.metric for each in found for point in each.points]
    values += [end for each in found for level in each.average for end in (level.low, level.mean, level.high)]
    values += [level.mean for each in found for level in each.slice]
    return metric_axis(view, found[0].metric, values)


def draw_effect(
    result: go.Figure,
    view: StudyView,
    found: Effect,
    axis: MetricAxis,
    *,
    row: int | None = None,
    col: int | None = None,
    legend: bool = True,
) -> None:
    """Draw an effect into a figure, or into one place of its grid.

    Args:
        result: Figure that is drawn into.
        view: The study.
        found: The effect.
        axis: Axis of the metric.
        row: Row of the grid; ``None`` where there is none.
        col: Column of the grid.
        legend: Whether what is drawn has an entry in the legend.
    """
    inactive = any(level.value is None for level in found.average)
    inactive |= any(point.values[0] is None for point in found.points)
    across = parameter_axis(view, found.parameter, inactive=inactive)
    traces = [*_average(found, across, axis), *_slice(found, across, axis), *_points(found, across, axis)]
    for trace in traces:
        trace.showlegend = legend and trace.showlegend is not False
        trace.legendgroup = trace.name
        result.add_trace(trace, row=row, col=col)
    result.update_xaxes(**across.layout, row=row, col=col)
    result.update_yaxes(**axis.layout, row=row, col=col)


def _average(found: Effect, across: ParameterAxis, axis: MetricAxis) -> list[Any]:
    import plotly.graph_objects as go

    active = [level for level in found.average if level.value is not None]
    rest = [level for level in found.average if level.value is None]
    line = {"color": DEFAULT, "width": 2}
    traces = []
    if across.numeric and active:
        places = [across.place(level.value) for level in active]
        band = [level.high * axis.factor for level in active]
        band += [level.low * axis.factor for level in reversed(active)]
        traces.append(
            go.Scatter(
                x=[*places, *reversed(places)], y=band, mode="lines", line={"width": 0},
                fill="toself", fillcolor=_BAND, name="95 % band", hoverinfo="skip", showlegend=False,
            )
        )  # fmt: skip
        traces.append(
            go.Scatter(
                x=places, y=[level.mean * axis.factor for level in active], mode="lines", line=line,
                name="average", hovertext=[_words(level, across, axis) for level in active], hoverinfo="text",
            )
        )  # fmt: skip
        active = []
    listed = [*active, *rest]
    if listed:
        traces.append(
            go.Scatter(
                x=[across.place(level.value) for level in listed],
                y=[level.mean * axis.factor for level in listed],
                error_y={
                    "type": "data",
                    "array": [(level.high - level.mean) * axis.factor for level in listed],
                    "arrayminus": [(level.mean - level.low) * axis.factor for level in listed],
                    "color": DEFAULT,
                },
                mode="markers", marker={"symbol": "line-ew", "size": 26, "line": line},
                name="average", showlegend=not across.numeric,
                hovertext=[_words(level, across, axis) for level in listed], hoverinfo="text",
            )
        )  # fmt: skip
    return traces


def _slice(found: Effect, across: ParameterAxis, axis: MetricAxis) -> list[Any]:
    import plotly.graph_objects as go

    if len(found.slice) < 2:
        return []
    return [
        go.Scatter(
            x=[across.place(level.value) for level in found.slice],
            y=[level.mean * axis.factor for level in found.slice],
            mode="lines+markers" if not across.numeric else "lines",
            line={"color": BEST, "width": 2, "dash": "dash"},
            marker={"symbol": "diamond", "size": 8},
            name="beside the best",
            hovertext=[_words(level, across, axis) for level in found.slice],
            hoverinfo="text",
        )
    ]


def _points(found: Effect, across: ParameterAxis, axis: MetricAxis) -> list[Any]:
    import plotly.graph_objects as go

    traces = []
    drawn = thinned(found.points)
    for name, symbol, color, feasible in (
        ("measured", "circle", OTHER, True),
        ("breaks a limit", "x", BROKEN, False),
    ):
        own = [point for point in drawn if point.feasible is feasible]
        if own:
            traces.append(
                go.Scatter(
                    x=[across.place(point.values[0]) for point in own],
                    y=[point.metric * axis.factor for point in own],
                    mode="markers", name=name,
                    marker={"symbol": symbol, "size": 7, "color": color, "opacity": 0.75,
                            "line": {"color": INK, "width": 0.5}},
                    hovertext=[_of_trial(point, across) for point in own],
                    hoverinfo="text+y",
                )
            )  # fmt: skip
    return traces


def _of_trial(point: TrialPoint, across: ParameterAxis) -> str:
    return f"trial {point.trial}: {across.words(point.values[0])}"


def _words(level: EffectLevel, across: ParameterAxis, axis: MetricAxis) -> str:
    mean, low, high = (f"{value * axis.factor:.4g}" for value in (level.mean, level.low, level.high))
    return f"{axis.whole}{across.words(level.value)}: {mean} [{low}, {high}] {plain(axis.symbol)}"
