"""The effect of two parameters together on a metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from autotune.analysis.effects import PairEffect, pair_effect
from autotune.analysis.study_view import StudyView
from autotune.core.parameter.base import show
from autotune.core.trial import Value
from autotune.errors import SpecError
from autotune.plot.axes import INACTIVE, ParameterAxis, metric_axis
from autotune.plot.reasons import without_model
from autotune.plot.theme import INK, Viewed, figure, nothing, subtitled, view_of
from autotune.plot.thin import thinned

if TYPE_CHECKING:
    import plotly.graph_objects as go


def pair(study: StudyView | Viewed, a: str, b: str, metric: str | None = None) -> go.Figure:
    """Return what the model expects of a metric by two parameters, with the measured trials.

    Args:
        study: A study or its view.
        a: Name of the parameter across.
        b: Name of the parameter upwards.
        metric: A goal's or a limit's; by default that of the first goal.

    Raises:
        SpecError: There is no such parameter or metric, or both parameters are the same.
    """
    import plotly.graph_objects as go

    view = view_of(study)
    name = view.metric_named(metric)
    if view.space[a].name == view.space[b].name:
        raise SpecError(f"a pair needs two parameters, found {a!r} twice")
    title = f"{a} and {b}: effect on {name}"
    found = pair_effect(view, a, b, name)
    if found is None:
        return nothing(title, without_model(view, name))
    axes = [ParameterAxis(view.space[each]) for each in (a, b)]
    known = found.mean[np.isfinite(found.mean)]
    axis = metric_axis(name, view.unit(name), known.tolist())
    names = [[INACTIVE if value is None else show(value) for value in values] for values in found.values]
    values = (found.mean * axis.factor).T
    result = figure(title, axes[0].title, axes[1].title)
    result.add_trace(
        go.Heatmap(
            x=names[0], y=names[1], z=values, colorscale="Cividis",
            colorbar={"title": {"text": axis.symbol or name}}, xgap=1, ygap=1,
            text=[["" if not np.isfinite(v) else f"{v:.3g}" for v in row] for row in values],
            texttemplate="%{text}", hovertemplate="%{x}, %{y}: %{z:.4g}<extra></extra>",
        )
    )  # fmt: skip
    points = thinned(found.points)
    for label, symbol, feasible in (("measured", "circle-open", True), ("breaks a limit", "x-open", False)):
        own = [point for point in points if point.feasible is feasible]
        if own:
            result.add_trace(
                go.Scatter(
                    x=[_nearest(found, 0, names[0], point.values[0]) for point in own],
                    y=[_nearest(found, 1, names[1], point.values[1]) for point in own],
                    mode="markers", name=label,
                    marker={"symbol": symbol, "size": 16, "color": "white",
                            "line": {"color": INK, "width": 2}},
                    hovertext=[f"trial {p.trial}: {p.metric * axis.factor:.4g} {axis.symbol}" for p in own],
                    hoverinfo="text",
                )
            )  # fmt: skip
    for update, shown in ((result.update_xaxes, names[0]), (result.update_yaxes, names[1])):
        update(type="category", categoryorder="array", categoryarray=shown, showgrid=False)
    blank = "; blank cells are not allowed" if len(known) < found.mean.size else ""
    return subtitled(result, f"mean over the allowed configurations{blank}")


def _nearest(found: PairEffect, side: int, names: list[str], value: Value | None) -> str:
    """Return the shown level that is nearest to a value."""
    values = found.values[side]
    if value in values:
        return names[values.index(value)]
    numbers = [
        (abs(float(v) - float(value)), i) for i, v in enumerate(values) if v is not None and value is not None
    ]
    return names[min(numbers)[1]]
