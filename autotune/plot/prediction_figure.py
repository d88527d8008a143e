"""Prediction against measurement: how far the model may be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune.analysis.cross_validation import CrossValidation, LeftOut, cross_validation
from autotune.analysis.study_view import StudyView
from autotune.core.arguments import check_arguments
from autotune.plot.axes import MetricAxis, metric_axis
from autotune.plot.names import upright
from autotune.plot.reasons import without_model
from autotune.plot.theme import (
    BROKEN,
    DEFAULT,
    INK,
    OTHER,
    Viewed,
    figure,
    nothing,
    percent,
    plain,
    subtitled,
    view_of,
)
from autotune.plot.thin import said, thinned

if TYPE_CHECKING:
    import plotly.graph_objects as go


@check_arguments("study")
def prediction(study: StudyView | Viewed, metric: str | None = None) -> go.Figure:
    """Return what was measured of each trial against what the model predicts of it from all others.

    Args:
        study: A study or its view.
        metric: A goal's or a limit's; by default that of the first goal.

    Raises:
        SpecError: The study's objective has no such metric.
    """
    import plotly.graph_objects as go

    view = view_of(study)
    name = view.metric_named(metric)
    title = f"Prediction against measurement of {name}"
    found = cross_validation(view, name)
    if found is None:
        return nothing(title, without_model(view, name))
    drawn = [v for p in found.points for v in (p.measured, p.predicted, p.low, p.high)]
    axis = metric_axis(view, name, drawn)
    result = figure(title, f"measured {axis.title}", upright(f"predicted {axis.title}"))
    ends = [end for point in found.points for end in (point.measured, point.predicted)]
    ends = [min(ends) * axis.factor, max(ends) * axis.factor]
    result.add_trace(
        go.Scatter(
            x=ends, y=ends, mode="lines", name="predicted as measured", hoverinfo="skip",
            line={"color": OTHER, "dash": "dot"},
        )
    )  # fmt: skip
    kept = thinned(found.points)
    for label, symbol, color, inside in (
        ("inside its 95 % interval", "circle", DEFAULT, True),
        ("outside", "x", BROKEN, False),
    ):
        own = [point for point in kept if point.inside is inside]
        if own:
            result.add_trace(_points(own, axis, label, symbol, color))
    if axis.logarithmic:
        result.update_xaxes(type="log", dtick="D2").update_yaxes(type="log", dtick="D2")
    return subtitled(result, _caption(found))


def _points(own: list[LeftOut], axis: MetricAxis, label: str, symbol: str, color: str) -> go.Scatter:
    import plotly.graph_objects as go

    factor, unit, whole = axis.factor, plain(axis.symbol), axis.whole

    return go.Scatter(
        x=[point.measured * factor for point in own],
        y=[point.predicted * factor for point in own],
        error_y={
            "type": "data",
            "array": [(point.high - point.predicted) * factor for point in own],
            "arrayminus": [(point.predicted - point.low) * factor for point in own],
            "thickness": 1, "width": 0, "color": color,
        },
        mode="markers", name=label,
        marker={"symbol": symbol, "size": 8, "color": color, "line": {"color": INK, "width": 0.5}},
        hovertext=[
            f"{whole}trial {p.trial}: measured {p.measured * factor:.4g}, "
            f"predicted {p.predicted * factor:.4g} [{p.low * factor:.4g}, {p.high * factor:.4g}] {unit}, "
            f"residual {p.residual:+.1f}"
            for p in own
        ],
        hoverinfo="text",
    )  # fmt: skip


def _caption(found: CrossValidation) -> str:
    explained = "" if found.r2 is None else f"predicts {percent(max(0.0, found.r2))} of the variance, "
    text = (
        f"each configuration from all the others: {explained}"
        f"{percent(found.coverage)} of {len(found.points)} measurements inside their 95 % intervals"
    )
    left_out = said(found.points)
    return f"{text}; {left_out}" if left_out else text
