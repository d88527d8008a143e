"""How much launches of one configuration differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune.analysis.noise import noise as find_noise
from autotune.core.arguments import check_arguments
from autotune.plot import theme
from autotune.plot.names import short_name, titled, upright, whole_name

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from autotune.analysis.study_view import StudyView

_MOST = 40  # configurations


@check_arguments("study")
def noise(study: StudyView | theme.Viewed) -> go.Figure:
    """Return the launches of every configuration that was launched again, relative to their mean.

    Bars are the 95 % intervals that each launch claims by itself; the band is one standard deviation
    between launches, by all of them.

    Args:
        study: A study or its view.
    """
    view = theme.view_of(study)
    found = find_noise(view)
    title = "Noise between launches"
    if not found.groups:
        return theme.nothing(title, "no configuration was launched twice")
    y = upright(titled(f"{short_name(view, found.metric)}, off its mean", "%"))
    figure = theme.figure(title, "configuration, by its first trial", y)
    whole = whole_name(found.metric)
    groups = list(found.groups.items())[:_MOST]
    points = [(f"trial {number}", launch) for number, group in groups for launch in group]
    figure.add_scatter(
        x=[name for name, _ in points],
        y=[100 * launch.relative for _, launch in points],
        error_y={
            "type": "data",
            "array": [100 * (launch.own or 0.0) for _, launch in points],
            "thickness": 1,
            "color": theme.GRID_INK,
        },
        mode="markers",
        marker={"color": theme.DEFAULT, "size": 9},
        hovertext=[
            f"{whole}trial {launch.trial}, {theme.plain(launch.reason)}: {100 * launch.relative:+.2g} %"
            for _, launch in points
        ],
        hoverinfo="text",
        showlegend=False,
    )
    figure.add_hline(y=0.0, line={"color": theme.INK, "width": 1})
    if found.spread is not None:
        half = 100 * found.spread
        words = {"text": f"one standard deviation: {half:.2g} %", "bgcolor": "rgba(255, 255, 255, 0.8)"}
        figure.add_hrect(
            y0=-half, y1=half, fillcolor=theme.BEST, opacity=0.15, line_width=0,
            annotation=words, annotation_position="top left",
        )  # fmt: skip
    return figure
