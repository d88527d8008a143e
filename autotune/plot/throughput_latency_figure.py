"""Latency against throughput."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune.analysis.trade_off import load_planes
from autotune.core.arguments import check_arguments
from autotune.plot import theme
from autotune.plot.plane import draw

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from autotune.analysis.study_view import StudyView


@check_arguments("study")
def throughput_latency(study: StudyView | theme.Viewed) -> go.Figure:
    """Return the latencies of every configuration against its throughput.

    Args:
        study: A study or its view.
    """
    view, title = theme.view_of(study), "Throughput against latency"
    planes = load_planes(view)
    if not planes:
        return theme.nothing(title, "no throughput and latency were measured")
    return draw(view, title, planes)
