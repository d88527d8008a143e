"""The effect of two parameters together on a metric."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from autotune.analysis.effects import PairEffect, pair_effect
from autotune.analysis.study_view import StudyView
from autotune.core.arguments import check_arguments
from autotune.core.cells import cut
from autotune.core.parameter.base import show
from autotune.core.short_texts import SHORT
from autotune.core.trial import Value
from autotune.errors import SpecError
from autotune.plot.axes import INACTIVE, MetricAxis, metric_axis, number, parameter_axis
from autotune.plot.names import upright, whole_name
from autotune.plot.reasons import without_model
from autotune.plot.theme import INK, Viewed, figure, folded, nothing, plain, subtitled, tick_labels, view_of
from autotune.plot.thin import thinned

if TYPE_CHECKING:
    import plotly.graph_objects as go

_ROW = 6  # trials shown in one cell


@check_arguments("study")
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
    axes = [parameter_axis(view, each) for each in (a, b)]
    known = found.mean[np.isfinite(found.mean)]
    axis = metric_axis(view, name, known.tolist())
    names = [[INACTIVE if value is None else show(value) for value in values] for values in found.values]
    values = (found.mean * axis.factor).T
    result = figure(title, axes[0].title, upright(axes[1].title))
    whole = whole_name(a, b, name)
    result.add_trace(
        go.Heatmap(
            z=values, colorscale="Cividis", xgap=1, ygap=1,
            colorbar={"title": {"text": plain(cut(axis.symbol or name, SHORT))}},
            text=[["" if not np.isfinite(v) else number(v) for v in row] for row in values],
            texttemplate="%{text}", hoverongaps=False,
            customdata=[[whole + folded(f"{x}, {y}") for x in names[0]] for y in names[1]],
            hovertemplate="%{customdata}: %{z:.4g}<extra></extra>",
        )
    )  # fmt: skip
    for trace in _points(found, axis, names):
        result.add_trace(trace)
    for update, own in ((result.update_xaxes, names[0]), (result.update_yaxes, names[1])):
        update(
            tickvals=list(range(len(own))),
            ticktext=tick_labels(own),
            range=[-0.5, len(own) - 0.5],
            showgrid=False,
        )
    blank = "; blank cells are not allowed" if len(known) < found.mean.size else ""
    return subtitled(result, f"mean over the allowed configurations, with the measured trials{blank}")


def _points(found: PairEffect, axis: MetricAxis, names: list[list[str]]) -> list[go.Scatter]:
    """Return the measured trials, in the lower right corner of their cells."""
    import plotly.graph_objects as go

    seen: Counter[tuple[int, int]] = Counter()
    traces = []
    for label, symbol, feasible in (("measured", "circle", True), ("breaks a limit", "x", False)):
        x, y, texts = [], [], []
        for point in thinned([each for each in found.points if each.feasible is feasible]):
            cell = _nearest(found, 0, point.values[0]), _nearest(found, 1, point.values[1])
            k = seen[cell]
            seen[cell] += 1
            if k >= _ROW:  # more say nothing more
                continue
            x.append(cell[0] + 0.36 - 0.72 * k / _ROW)
            y.append(cell[1] - 0.36)
            texts.append(f"trial {point.trial}: {point.metric * axis.factor:.4g} {plain(axis.symbol)}")
        if x:
            marker = {"symbol": symbol, "size": 8, "color": "white", "line": {"color": INK, "width": 1}}
            traces.append(
                go.Scatter(
                    x=x, y=y, mode="markers", name=label, marker=marker, hovertext=texts, hoverinfo="text"
                )
            )
    return traces


def _nearest(found: PairEffect, side: int, value: Value | None) -> int:
    """Return the place of the shown level that is nearest to a value."""
    values = found.values[side]
    if value in values:
        return values.index(value)
    numbers = [
        (abs(float(v) - float(value)), i) for i, v in enumerate(values) if v is not None and value is not None
    ]
    return min(numbers)[1]
