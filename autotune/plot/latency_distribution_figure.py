"""Latencies of the recommended and of the default configuration as distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune.analysis.latency import FAMILIES, latency_distributions
from autotune.core.arguments import check_arguments
from autotune.plot import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from autotune.analysis.study_view import StudyView

_NAMES = {
    "ttft": "time to first token",
    "tpot": "time per output token",
    "itl": "gap between tokens",
    "e2e": "whole answer",
}
_BEST = (theme.BEST, "solid", "star")
_STYLES = {"recommended": _BEST, "nearest": _BEST, "default": (theme.DEFAULT, "dash", "square")}


@check_arguments("study")
def latency_distribution(study: StudyView | theme.Viewed) -> go.Figure:
    """Return which share of requests (of gaps) was served within which time, by latency and configuration.

    Args:
        study: A study or its view.
    """
    found = latency_distributions(theme.view_of(study))
    title = "Latency distributions"
    metrics = [name for name in FAMILIES if any(d.metric == name for d in found)]
    if not metrics:
        return theme.nothing(title, "no latencies were measured")
    columns = min(2, len(metrics))
    rows = -(-len(metrics) // columns)
    figure = theme.panels(
        title,
        rows,
        columns,
        subplot_titles=[f"{name}: {_NAMES[name]}" for name in metrics],
        horizontal_spacing=0.12,
        vertical_spacing=0.22,
    )
    figure.update_layout(height=330 * rows + 90, margin={"t": 110}, legend={"y": 1 + 30 / (330 * rows)})
    shown: set[str] = set()
    for i, metric in enumerate(metrics):
        where = {"row": i // columns + 1, "col": i % columns + 1}
        mine = [d for d in found if d.metric == metric]
        factor, symbol = theme.axis_unit([d.seconds[len(d.seconds) // 2] for d in mine], "s")
        for one in mine:
            color, dash, marker = _STYLES[one.side]
            figure.add_scatter(
                x=[seconds * factor for seconds in one.seconds],
                y=[100 * level for level in one.levels],
                mode="lines+markers",
                name=f"{one.side}, trial {one.trial}",
                legendgroup=one.side,
                showlegend=one.side not in shown,
                line={"color": color, "dash": dash},
                marker={"symbol": marker, "size": 7},
                hovertext=[
                    f"{one.side}: {100 * level:g} % within {seconds * factor:.4g} {symbol}"
                    for level, seconds in zip(one.levels, one.seconds, strict=True)
                ],
                hoverinfo="text",
                **where,
            )
            shown.add(one.side)
        figure.update_xaxes(type="log", dtick="D2", title_text=symbol, **where)
        figure.update_yaxes(title_text="served within (%)", **where)
    return figure
