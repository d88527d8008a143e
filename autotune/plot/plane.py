"""Configurations in planes of two metrics, side by side, with the limits drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autotune.analysis.trade_off import Plane, PlanePoint
from autotune.plot import theme
from autotune.plot.names import short_name, titled, upright, whole_name

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from autotune.analysis.study_view import StudyView


def draw(view: StudyView, title: str, planes: Sequence[Plane], *, front: bool = True) -> go.Figure:
    """Return a figure with one panel for each plane.

    Args:
        view: The study.
        title: Title of the figure.
        planes: Planes, one or more.
        front: Whether the front is drawn as a line.
    """
    columns = min(2, len(planes))
    rows = -(-len(planes) // columns)
    figure = theme.panels(title, rows, columns, horizontal_spacing=0.12, vertical_spacing=0.16)
    figure.update_layout(height=420 * rows + 60)
    shown: set[str] = set()
    for i, plane in enumerate(planes):
        where = {"row": i // columns + 1, "col": i % columns + 1}
        _panel(figure, view, plane, where, shown, front=front)
    return figure


def _panel(
    figure: go.Figure, view: StudyView, plane: Plane, where: dict[str, int], shown: set[str], *, front: bool
) -> None:
    x_wanted, y_wanted = (
        next((x.shown_unit for x in limits), "") for limits in (plane.x_limits, plane.y_limits)
    )
    x_factor, x_symbol = theme.axis_unit([p.x for p in plane.points], plane.x_unit, x_wanted)
    y_factor, y_symbol = theme.axis_unit([p.y for p in plane.points], plane.y_unit, y_wanted)
    x, y = (
        titled(_sided(short_name(view, metric), maximize), symbol)
        for metric, maximize, symbol in (
            (plane.x, plane.x_maximize, x_symbol),
            (plane.y, plane.y_maximize, y_symbol),
        )
    )
    figure.update_xaxes(title_text=x, **where)
    figure.update_yaxes(title_text=upright(y), **where)
    whole = whole_name(plane.x, plane.y)

    _frame(figure, plane, where, x_factor, y_factor)

    def add(points: Sequence[PlanePoint], name: str, **style: object) -> None:
        if not points:
            return
        figure.add_scatter(
            x=[p.x * x_factor for p in points],
            y=[p.y * y_factor for p in points],
            error_x=_bars([(p.x, p.x_half) for p in points], x_factor),
            error_y=_bars([(p.y, p.y_half) for p in points], y_factor),
            name=name,
            legendgroup=name,
            showlegend=name not in shown,
            hovertext=[
                f"{whole}trial {p.trial}: {p.x * x_factor:.4g} {theme.plain(x_symbol)}, "
                f"{p.y * y_factor:.4g} {theme.plain(y_symbol)}"
                for p in points
            ],
            hoverinfo="text",
            **{"mode": "markers", **style},
            **where,
        )
        shown.add(name)

    for kind in ("kept", "limit", "unknown", "doubtful"):
        marker = {"symbol": theme.SYMBOLS[kind], "color": theme.COLORS[kind], "size": 8}
        add(
            [p for p in plane.points if p.kind == kind and not (p.best or p.default)],
            theme.WORDS[kind],
            marker=marker,
        )
    if front and len(plane.front) > 1:
        figure.add_scatter(
            x=[p.x * x_factor for p in plane.front],
            y=[p.y * y_factor for p in plane.front],
            mode="lines",
            line={"color": theme.INK, "width": 1.5, "shape": "linear"},
            name="not beaten in both",
            legendgroup="front",
            showlegend="front" not in shown,
            hoverinfo="skip",
            **where,
        )
        shown.add("front")
    edge = {"color": theme.INK, "width": 1}
    add(
        [p for p in plane.points if p.default and not p.best],
        "default",
        marker={"symbol": "square", "color": theme.DEFAULT, "size": 12, "line": edge},
    )
    add(
        [p for p in plane.points if p.best],
        view.best_role,
        marker={"symbol": "star", "color": theme.BEST, "size": 16, "line": edge},
    )
    _limits(figure, plane, where, x_factor, y_factor)


def _limits(figure: go.Figure, plane: Plane, where: dict[str, int], x_factor: float, y_factor: float) -> None:
    """Draw the limits on the two metrics."""
    for limits, add_line, factor in (
        (plane.x_limits, figure.add_vline, x_factor),
        (plane.y_limits, figure.add_hline, y_factor),
    ):
        for limit in limits:
            if limit.relative:
                continue
            sense = "at most" if limit.upper else "at least"
            add_line(
                limit.bound * factor,
                line={"color": theme.FAILED, "dash": "dot", "width": 2},
                annotation={
                    "text": f"limit: {sense} {theme.plain(limit.shown_bound)}",
                    "font": {"color": "#a34400"},
                },
                **where,
            )


def _frame(figure: go.Figure, plane: Plane, where: dict[str, int], x_factor: float, y_factor: float) -> None:
    """Keep intervals that are far wider than the values from choosing the axes."""
    for update, ends, limits, factor in (
        (
            figure.update_xaxes,
            [(p.x, p.x + (p.x_half or 0.0)) for p in plane.points],
            plane.x_limits,
            x_factor,
        ),
        (
            figure.update_yaxes,
            [(p.y, p.y + (p.y_half or 0.0)) for p in plane.points],
            plane.y_limits,
            y_factor,
        ),
    ):
        frame = theme.framed(ends, [limit.bound for limit in limits])
        if frame is not None:
            update(range=[end * factor for end in frame], **where)


def _sided(metric: str, maximize: bool) -> str:
    return f"{metric}, {'more' if maximize else 'less'} is better"


def _bars(estimates: Sequence[tuple[float, float | None]], factor: float) -> dict[str, object]:
    """Return the bars of values with their half-widths; that of what is above zero does not end below it."""
    up = [(half or 0.0) * factor for _, half in estimates]
    down = [
        min(bar, value * factor) if value > 0 else bar for bar, (value, _) in zip(up, estimates, strict=True)
    ]
    style = {"thickness": 1, "width": 0, "color": theme.GRID_INK}
    return {"type": "data", "array": up, "arrayminus": down, **style}
