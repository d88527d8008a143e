"""What mattered: the share that each parameter has in how a metric varies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune.analysis.importance import Importance, ParameterImportance
from autotune.analysis.importance import importance as importance_of
from autotune.analysis.study_view import StudyView
from autotune.core.arguments import check_arguments
from autotune.core.units import counted
from autotune.plot.names import beside, most_lines, short_name
from autotune.plot.reasons import without_model
from autotune.plot.theme import BEST, INK, Viewed, figure, folded, nothing, percent, subtitled, view_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

_MOST = 20  # parameters shown
_TICKS = 7  # at most
_WIDE = 0.3  # width of an interval from which the figure says that the trials are few


@check_arguments("study")
def importance(study: StudyView | Viewed, metric: str | None = None) -> go.Figure:
    """Return how much each parameter mattered for a metric, with 95 % intervals.

    Args:
        study: A study or its view.
        metric: A goal's or a limit's; by default that of the first goal.

    Raises:
        SpecError: The study's objective has no such metric.
    """
    import plotly.graph_objects as go

    view = view_of(study)
    name = view.metric_named(metric)
    title = f"What mattered for {name}"
    found = importance_of(view, name)
    if found is None:
        return nothing(title, without_model(view, name))
    shown = found.parameters[:_MOST][::-1]
    names = [beside(view, each.name) for each in shown]
    result = figure(title, f"share of the variation of {short_name(view, name)}")
    result.add_trace(
        go.Bar(
            x=[each.share.value for each in shown],
            y=names,
            orientation="h",
            name="share, with its 95 % interval",
            marker={"color": BEST, "line": {"color": INK, "width": 1}},
            error_x={
                "type": "data",
                "array": [each.share.high - each.share.value for each in shown],
                "arrayminus": [each.share.value - each.share.low for each in shown],
                "color": INK,
            },
            hovertext=[_words(each) for each in shown],
            hoverinfo="text",
        )
    )
    result.add_trace(
        go.Scatter(
            x=[each.alone.value for each in shown],
            y=names,
            mode="markers",
            name="by itself, without interactions",
            marker={"symbol": "diamond", "size": 10, "color": "white", "line": {"color": INK, "width": 2}},
            hoverinfo="skip",
        )
    )
    furthest = [max(each.share.high, each.alone.value) for each in shown]
    result.add_trace(
        go.Scatter(
            x=furthest,
            y=names,
            mode="text",
            text=[f"\u2002\u2002{percent(each.share.value)}" for each in shown],
            textposition="middle right",
            showlegend=False,
            hoverinfo="skip",
            cliponaxis=False,
        )
    )
    # room for the words, on a phone too, and no tick beyond all there is
    end = 1.25 * max(furthest)
    step = next(size for size in (0.02, 0.05, 0.1, 0.2, 0.5) if end / size <= _TICKS or size == 0.5)
    ticks = [k * step for k in range(round(min(end, 1.0) / step) + 1) if k * step <= 1.0]
    result.update_xaxes(tickformat=".0%", range=[0, end], tickvals=ticks)
    result.update_yaxes(type="category", showgrid=False)
    result.update_layout(height=180 + (16 + 18 * most_lines(names)) * len(shown), bargap=0.3)
    return subtitled(result, _caption(found))


def _words(each: ParameterImportance) -> str:
    share, alone = each.share, each.alone
    return (
        f"{folded(each.name)}: {percent(share.value)} ({percent(share.low)} to {percent(share.high)}), "
        f"by itself {percent(alone.value)} ({percent(alone.low)} to {percent(alone.high)})"
    )


def _caption(found: Importance) -> str:
    trials = counted(found.trials, "measured trial")
    text = f"Shapley effects over the allowed configurations, by a model of {trials}"
    if max(each.share.high - each.share.low for each in found.parameters) > _WIDE:
        text += "; the wide intervals say that more trials may change the order"
    if any(each.alone.value > each.share.high for each in found.parameters):
        text += (
            "; where constraints tie parameters together they share what both say, so that one may explain "
            "more by itself than its share"
        )
    rest = len(found.parameters) - _MOST
    return f"{text}; the {rest} least important parameters are left out" if rest > 0 else text
