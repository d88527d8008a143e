"""The trade-off between goals, or between the goal and what is limited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune.analysis.trade_off import pareto_planes
from autotune.core.arguments import check_arguments
from autotune.plot import theme
from autotune.plot.plane import draw

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from autotune.analysis.study_view import StudyView


@check_arguments("study")
def pareto_front(study: StudyView | theme.Viewed) -> go.Figure:
    """Return the configurations by two goals, or by the goal and the metric of each limit.

    The line joins those that keep every limit and that no other one beats in both; limits are dotted.

    Args:
        study: A study or its view.
    """
    view, title = theme.view_of(study), "Trade-off"
    planes = pareto_planes(view)
    if planes:
        return draw(view, title, planes)
    lone = len(view.objective.goals) == 1 and not view.stated.limits
    why = "one goal and no limits: there is no trade-off" if lone else "no trial has measured both metrics"
    return theme.nothing(title, why)
