"""The effects of the parameters that matter most, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune.analysis.effects import effect
from autotune.analysis.importance import importance
from autotune.analysis.study_view import StudyView
from autotune.core.arguments import check_arguments, read_count
from autotune.plot.effect_figure import caption, draw_effect, effect_axis
from autotune.plot.reasons import without_model
from autotune.plot.theme import Viewed, nothing, panels, subtitled, view_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

_COLUMNS = 2
_HEIGHT = 270  # of one row, pixels


@check_arguments("study")
def effects(study: StudyView | Viewed, metric: str | None = None, most: int = 6) -> go.Figure:
    """Return the effects of the most important parameters on a metric.

    Args:
        study: A study or its view.
        metric: A goal's or a limit's; by default that of the first goal.
        most: Parameters shown at most.

    Raises:
        SpecError: The study's objective has no such metric.
    """
    read_count(most, "most", 1)
    view = view_of(study)
    name = view.metric_named(metric)
    title = f"Effects on {name}"
    found = importance(view, name)
    if found is None:
        return nothing(title, without_model(view, name))
    shown = [effect(view, each.name, name) for each in found.parameters[:most]]
    axis = effect_axis(view, shown)
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    spacing = {"vertical_spacing": 0.32 / rows, "horizontal_spacing": 0.05}
    result = panels(title, rows, columns, shared_yaxes=True, **spacing)
    drawn: set[str] = set()
    for at, each in enumerate(shown):
        row, col = divmod(at, columns)
        draw_effect(result, view, each, axis, row=row + 1, col=col + 1)
        if col:
            result.update_yaxes(title_text="", row=row + 1, col=col + 1)
    for trace in result.data:  # one entry for each kind
        trace.showlegend = trace.showlegend and trace.name not in drawn
        drawn |= {trace.name} if trace.showlegend else set()
    result.update_layout(height=110 + _HEIGHT * rows)
    left = len(found.parameters) - len(shown)
    text = caption(view, shown)
    return subtitled(result, f"{text}; the {len(shown)} parameters that matter most" if left else text)
