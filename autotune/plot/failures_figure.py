"""Where trials fail: by value of each parameter the share that failed, by cause."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autotune.analysis.failed_values import FailedValue, failed_values
from autotune.analysis.study_view import StudyView
from autotune.core.arguments import check_arguments
from autotune.core.failures import failure_counts
from autotune.core.parameter.base import show
from autotune.plot.axes import INACTIVE
from autotune.plot.names import short_name, whole_name
from autotune.plot.theme import INK, Viewed, folded, nothing, panels, subtitled, tick_labels, view_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

_MOST = 6  # parameters shown
_COLUMNS = 2
_HEIGHT = 240  # of one row, pixels
_FILLS = (
    ("#d55e00", "/"),
    ("#e69f00", "x"),
    ("#cc79a7", "."),
    ("#0072b2", "-"),
    ("#56b4e9", "+"),
    ("#7a828c", ""),
)
"""Colour and pattern by cause, the most frequent first; the last stands for all others."""


@check_arguments("study")
def failures(study: StudyView | Viewed) -> go.Figure:
    """Return where trials failed, by value of the parameters that tell failures apart best."""
    import plotly.graph_objects as go

    view = view_of(study)
    title = "Where trials fail"
    ended = [trial for trial in view.trials if trial.state.finished]
    if not ended:
        return nothing(title, "No trial has ended yet.")
    counts = failure_counts(ended)
    if not counts:
        return nothing(title, f"None of {len(ended)} trials failed.")
    found = list(failed_values(view).items())[:_MOST]
    if not found:
        return nothing(title, f"{_summary(counts, len(ended))}; no parameter varied.")
    columns = min(_COLUMNS, len(found))
    rows = -(-len(found) // columns)
    spacing = {"vertical_spacing": 0.36 / rows, "horizontal_spacing": 0.05}
    result = panels(title, rows, columns, shared_yaxes=True, **spacing)
    causes = list(counts)
    for at, (name, groups) in enumerate(found):
        place = {"row": at // columns + 1, "col": at % columns + 1}
        labels, whole = _labels(groups)
        for k, cause in enumerate(causes):
            color, pattern = _FILLS[min(k, len(_FILLS) - 1)]
            result.add_trace(
                go.Bar(
                    x=labels, y=[g.causes.get(cause, 0) / max(1, g.trials) for g in groups],
                    name=cause.replace("_", " "), legendgroup=cause, showlegend=at == 0,
                    marker={"color": color, "pattern": {
                                "shape": pattern, "bgcolor": color, "fgcolor": "white", "solidity": 0.3,
                            },
                            "line": {"color": INK, "width": 1}},
                    hovertext=[
                        f"{whole_name(name)}{value}{g.causes.get(cause, 0)} of {g.trials}"
                        for value, g in zip(whole, groups, strict=True)
                    ],
                    hoverinfo="text+name",
                ),
                **place,
            )  # fmt: skip
        chances = [group.chance for group in groups]
        if any(chance is not None for chance in chances):
            result.add_trace(
                go.Scatter(
                    x=labels, y=chances, mode="markers", name="expected by the model",
                    legendgroup="model", showlegend=at == 0,
                    marker={"symbol": "diamond", "size": 10, "color": "white",
                            "line": {"color": INK, "width": 2}},
                ),
                **place,
            )  # fmt: skip
        result.update_xaxes(title_text=short_name(view, name), type="category", **place)
    result.update_xaxes(showgrid=False, tickangle=0, tickfont={"size": 11})
    result.update_yaxes(tickformat=".0%", range=[0, 1.02])
    result.update_yaxes(title_text="share that failed", col=1)
    result.update_layout(barmode="stack", height=130 + _HEIGHT * rows)
    return subtitled(result, _summary(counts, len(ended)))


def _summary(counts: dict[str, int], ended: int) -> str:
    parts = ", ".join(f"{count} {cause.replace('_', ' ')}" for cause, count in counts.items())
    return f"{sum(counts.values())} of {ended} trials failed: {parts}"


def _labels(groups: Sequence[FailedValue]) -> tuple[list[str], list[str]]:
    """Return the labels of groups of values, and what appears under the pointer with the whole values."""
    ends = [f"{v:.3g}" if isinstance(v, float) else show(v) for group in groups for v in group.values]
    short = tick_labels(ends)
    labels, whole = [], []
    for k, group in enumerate(groups):
        pairs = [dict.fromkeys(texts[2 * k : 2 * k + 2]) for texts in (short, ends)]
        label, value = (list(pair) if group.values[0] is not None else [INACTIVE] for pair in pairs)
        labels.append(" to<br>".join(label) + f"<br>n={group.trials}")
        whole.append(f"{folded(' to '.join(value))}<br>")
    return labels, whole
