"""The recommended configuration over the default, metric by metric, and its limits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from autotune.analysis.comparison import LimitRow, MetricRow
from autotune.analysis.comparison import comparison as find_comparison
from autotune.core.arguments import check_arguments
from autotune.core.verdict import show_chance
from autotune.plot import theme
from autotune.plot.names import beside, most_lines

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from autotune.analysis.study_view import StudyView

_MOST = 12  # metrics
_LINE, _LEAST, _BETWEEN, _AROUND = 18, 110, 90, 140  # pixels: of a label's line, a panel, its axis, all else
_FRAME = 30.0  # times beyond the ratios to which an interval is followed
_ARROWS = {"more": "\u2191", "less": "\u2193", "": ""}  # the direction in which a metric is better


@check_arguments("study")
def comparison(study: StudyView | theme.Viewed) -> go.Figure:
    """Return the ratio of each metric to the default's with its 95 % interval, and how far limits are used.

    Args:
        study: A study or its view.
    """
    view = theme.view_of(study)
    found, title = find_comparison(view), f"{view.best_role.capitalize()} against default"
    if found is None:
        measured = any(trial.metrics for trial in view.trials)
        return theme.nothing(
            title, "no configuration to compare with the default" if measured else "nothing was measured"
        )
    rows = [row for row in found.metrics if row.ratio is not None][:_MOST]
    limits = [row for row in found.limits if row.value is not None and row.bound > 0]
    if not rows and not limits:
        why = "the default was not measured" if found.default is None else "no metric has a ratio"
        why = f"the default is the {view.best_role} configuration" if found.same else why
        return theme.nothing(title, why)
    names = [beside(view, row.metric, f" {_ARROWS[row.better]}".rstrip()) for row in rows]
    bounds = [_bound(view, row) for row in limits]
    labels = [each for each in (names, bounds) if each]
    heights = [max(_LEAST, _LINE * len(each) * (1 + most_lines(each))) for each in labels]
    drawn = sum(heights) + _BETWEEN * (len(heights) - 1)
    figure = theme.panels(
        title, len(heights), row_heights=heights, vertical_spacing=_BETWEEN / drawn if limits and rows else 0
    )
    figure.update_layout(height=drawn + _AROUND, showlegend=False)
    if rows:
        _ratios(figure, rows, names)
    if limits:
        _limits(figure, limits, bounds, len(heights))
    figure.update_yaxes(title_text="")
    for at, part in enumerate(labels, 1):
        # the first on top, with room for its label
        figure.update_yaxes(range=[len(part) - 0.5, -0.75], row=at, col=1)
    return figure


def _bound(view: StudyView, row: LimitRow) -> str:
    """Return what stands beside the bar of a limit: its text, and the chance that it holds."""
    text = beside(view, row.metric, row.limit.removeprefix(row.metric))
    # below the name: within a bar it is cut off where the bar is short, and crossed by the interval
    return text if row.chance is None else f"{text}<br>chance {show_chance(row.chance)}"


def _ratios(figure: go.Figure, rows: list[MetricRow], names: list[str]) -> None:
    ratios = [r.ratio or 1.0 for r in rows]
    better = [_is_better(r) for r in rows]
    words = {True: "better", False: "worse", None: "no clear difference"}
    figure.add_scatter(
        x=ratios,
        y=names,
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [(r.high or v) - v for r, v in zip(rows, ratios, strict=True)],
            "arrayminus": [v - (r.low or v) for r, v in zip(rows, ratios, strict=True)],
            "color": theme.INK,
        },
        mode="markers+text",
        text=[f"{v:.3g} x" for v in ratios],
        textposition="top center",
        cliponaxis=False,
        marker={
            "size": 11,
            "color": [{True: theme.BEST, False: theme.FAILED, None: theme.OTHER}[b] for b in better],
            "symbol": [{True: "triangle-up", False: "triangle-down", None: "circle"}[b] for b in better],
        },
        hovertext=[
            f"{theme.folded(r.metric)}: {v:.4g} times the default, {words[b]}"
            for r, v, b in zip(rows, ratios, better, strict=True)
        ],
        hoverinfo="text",
        row=1,
        col=1,
    )
    figure.update_xaxes(type="log", title_text="times the default (1 = as the default)", row=1, col=1)
    ends = [1.0, *(r.low or v for r, v in zip(rows, ratios, strict=True))]
    tops = [1.0, *(r.high or v for r, v in zip(rows, ratios, strict=True))]
    if max(tops) > _FRAME * max(1.0, *ratios) or min(ends) < min(1.0, *ratios) / _FRAME:
        low = max(
            min(ends), min(1.0, *ratios) / _FRAME
        )  # an interval that says nothing runs out of the frame
        high = min(max(tops), _FRAME * max(1.0, *ratios))
        figure.update_xaxes(range=[math.log10(low) - 0.05, math.log10(high) + 0.05], row=1, col=1)
    figure.add_vline(1.0, line={"color": theme.DEFAULT, "dash": "dash"}, row=1, col=1)


def _is_better(row: MetricRow) -> bool | None:
    """Return whether the interval says that the recommended one is better; ``None`` where it says neither."""
    if row.low is None or row.high is None or not row.better or row.low <= 1.0 <= row.high:
        return None
    return (row.low > 1.0) == (row.better == "more")


def _limits(figure: go.Figure, rows: list[LimitRow], names: list[str], at: int) -> None:
    used = [row.value.value / row.bound if row.value else 0.0 for row in rows]
    halves = [(row.half or 0.0) / row.bound for row in rows]
    figure.add_bar(
        x=used,
        y=names,
        orientation="h",
        error_x={
            "type": "data",
            "symmetric": False,
            "array": halves,
            "arrayminus": [min(half, v) if v > 0 else half for half, v in zip(halves, used, strict=True)],
            "color": theme.INK,
        },
        marker={
            "color": theme.OTHER,
            "pattern": {"shape": ["" if row.upper else "/" for row in rows], "fillmode": "overlay"},
        },
        hovertext=[f"{theme.folded(r.limit)}: {v:.3g} of the bound" for r, v in zip(rows, used, strict=True)],
        hoverinfo="text",
        row=at,
        col=1,
    )
    figure.add_vline(1.0, line={"color": theme.FAILED, "dash": "dot", "width": 2}, row=at, col=1)
    figure.update_xaxes(
        title_text="measured over the bound (1 = on the limit)", rangemode="tozero", row=at, col=1
    )
