"""The default configuration through the study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune.analysis.noise import noise
from autotune.core.arguments import check_arguments
from autotune.plot import theme
from autotune.plot.names import short_name, titled, upright, whole_name

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from autotune.analysis.study_view import StudyView


@check_arguments("study")
def drift(study: StudyView | theme.Viewed) -> go.Figure:
    """Return every launch of the default configuration in the order they ran: whether the machine changed.

    Args:
        study: A study or its view.
    """
    view = theme.view_of(study)
    found = noise(view)
    title = "Drift of the default configuration"
    if len(found.default) < 2:
        return theme.nothing(title, "the default configuration was measured less than twice")
    estimates = [launch.estimate for launch in found.default]
    factor, symbol = theme.axis_unit([e.value for e in estimates], estimates[0].unit)
    figure = theme.figure(title, "trial", upright(titled(short_name(view, found.metric), symbol)))
    figure.add_scatter(
        x=[launch.trial for launch in found.default],
        y=[e.value * factor for e in estimates],
        error_y={
            "type": "data",
            "array": [(e.half_width or 0.0) * factor for e in estimates],
            "color": theme.GRID_INK,
        },
        mode="markers+lines",
        line={"color": theme.DEFAULT, "dash": "dot", "width": 1},
        marker={"symbol": "square", "size": 10, "color": theme.DEFAULT},
        hovertext=[
            f"{whole_name(found.metric)}trial {launch.trial}, {theme.plain(launch.reason)}: "
            f"{launch.estimate.value * factor:.4g} {theme.plain(symbol)}"
            for launch in found.default
        ],
        hoverinfo="text",
        showlegend=False,
    )
    mean = sum(e.value for e in estimates) / len(estimates) * factor
    figure.add_hline(
        y=mean, line={"color": theme.INK, "width": 1}, annotation={"text": "mean"},
        annotation_position="bottom right",
    )  # fmt: skip
    figure.update_yaxes(rangemode="tozero")
    return figure
