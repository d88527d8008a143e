"""The best so far against the trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from autotune.analysis.progress import Progress, Step
from autotune.analysis.progress import progress as find_progress
from autotune.core.arguments import check_arguments
from autotune.plot import theme
from autotune.plot.names import short_name, titled, upright, whole_name

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from autotune.analysis.study_view import StudyView


@check_arguments("study")
def progress(study: StudyView | theme.Viewed) -> go.Figure:
    """Return every trial's first goal and the best so far, against the number of the trial.

    Args:
        study: A study or its view.
    """
    view = theme.view_of(study)
    return draw(view, find_progress(view), "Progress by trial", "trial", lambda step: float(step.number))


def draw(
    view: StudyView,
    found: Progress,
    title: str,
    x: str,
    place: Callable[[Step], float | None],
    *,
    unit: float = 1.0,
) -> go.Figure:
    """Return the figure of a progress over any axis.

    Args:
        view: The study.
        found: Its progress.
        title: Title of the figure.
        x: Title of the axis.
        place: Place of a step on the axis, or ``None`` where it has none.
        unit: Factor of the places.
    """
    import plotly.graph_objects as go

    steps = [(at * unit, step) for step in found.steps if (at := place(step)) is not None]
    measured = [(at, step) for at, step in steps if step.estimate is not None]
    if not measured:
        return theme.nothing(title, "no trial has measured the goal")
    factor, symbol = theme.axis_unit(
        [s.estimate.value for _, s in measured if s.estimate], found.unit, found.shown_unit
    )
    figure = theme.figure(title, x, upright(titled(short_name(view, found.metric), symbol)))
    for kind in theme.SYMBOLS:
        words = f"{whole_name(found.metric)}trial "
        _points(figure, [(at, s) for at, s in measured if s.kind == kind], kind, factor, symbol, words)
    failed = [(at, s) for at, s in steps if s.estimate is None]
    if failed:
        figure.add_scatter(
            x=[at for at, _ in failed],
            y=[0.02] * len(failed),
            yaxis="y2",
            mode="markers",
            name=theme.WORDS["failed"],
            marker={"symbol": theme.SYMBOLS["failed"], "color": theme.FAILED, "size": 9},
            hovertext=[f"trial {s.number}: failed" for _, s in failed],
            hoverinfo="text",
        )
        figure.update_layout(
            yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
        )
    line = [(at, s.best * factor) for at, s in steps if s.best is not None]
    if line:
        figure.add_trace(
            go.Scatter(
                x=[at for at, _ in line],
                y=[value for _, value in line],
                mode="lines",
                line={"shape": "hv", "color": theme.INK, "width": 2},
                name="best so far, as measured",
                hoverinfo="skip",
            )
        )
    if found.default is not None:
        figure.add_hline(
            y=found.default.value * factor,
            line={"color": theme.DEFAULT, "dash": "dash", "width": 2},
            annotation={"text": "default", "font": {"color": theme.DEFAULT}},
            annotation_position="bottom right",
        )
    _recommended(figure, found, steps, factor, symbol)
    return figure


def _points(
    figure: go.Figure, steps: list[tuple[float, Step]], kind: str, factor: float, symbol: str, words: str
) -> None:
    if not steps:
        return
    halves = [(s.estimate.half_width or 0.0) * factor if s.estimate else 0.0 for _, s in steps]
    figure.add_scatter(
        x=[at for at, _ in steps],
        y=[s.estimate.value * factor if s.estimate else None for _, s in steps],
        error_y={"type": "data", "array": halves, "thickness": 1, "width": 0, "color": theme.GRID_INK},
        mode="markers",
        name=theme.WORDS[kind],
        marker={"symbol": theme.SYMBOLS[kind], "color": theme.COLORS[kind], "size": 8},
        hovertext=[words + _hover(s, factor, symbol) for _, s in steps],
        hoverinfo="text",
    )


def _recommended(
    figure: go.Figure, found: Progress, steps: list[tuple[float, Step]], factor: float, symbol: str
) -> None:
    if found.best is None:
        return
    at = next((place for place, s in steps if s.number == found.best_trial), steps[-1][0])
    figure.add_scatter(
        x=[at],
        y=[found.best.value * factor],
        error_y=_interval(found, factor),
        mode="markers",
        name=f"{found.best_role}, launches pooled",
        marker={"symbol": "star", "size": 15, "color": theme.BEST, "line": {"color": theme.INK, "width": 1}},
        hovertext=[
            f"{whole_name(found.metric)}{found.best_role}: trial {found.best_trial}, "
            f"{found.best.value * factor:.4g} {theme.plain(symbol)}"
        ],
        hoverinfo="text",
    )


def _interval(found: Progress, factor: float) -> dict[str, object]:
    """Return the interval of the best; of a metric that is positive everywhere it ends at 0."""
    half = (found.best_half or 0.0) * factor
    values = [step.estimate.value for step in found.steps if step.estimate is not None]
    positive = found.best is not None and min([found.best.value, *values]) > 0
    below = min(half, found.best.value * factor) if found.best is not None and positive else half
    return {"type": "data", "symmetric": False, "array": [half], "arrayminus": [below], "color": theme.BEST}


def _hover(step: Step, factor: float, symbol: str) -> str:
    value = "" if step.estimate is None else f"{step.estimate.value * factor:.4g} {theme.plain(symbol)}"
    return f"{step.number}, {theme.plain(step.reason)}: {value}"
