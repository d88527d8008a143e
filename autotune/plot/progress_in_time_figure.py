"""The best so far against the time spent measuring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune.analysis.progress import progress
from autotune.core.arguments import check_arguments
from autotune.plot import theme
from autotune.plot.progress_figure import draw

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from autotune.analysis.study_view import StudyView


@check_arguments("study")
def progress_in_time(study: StudyView | theme.Viewed) -> go.Figure:
    """Return every trial's first goal and the best so far, against the time that the study had measured.

    Args:
        study: A study or its view.
    """
    view = theme.view_of(study)
    found = progress(view)
    title = "Progress in time"
    times = [step.seconds for step in found.steps if step.seconds is not None]
    if not times:
        return theme.nothing(title, "no trial says when it ran")
    factor, symbol = theme.axis_unit(times, "s")
    x = f"time spent measuring ({symbol})"
    return draw(view, found, title, x, lambda step: step.seconds, unit=factor)
