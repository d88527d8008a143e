"""Every trial as a line across its parameters and what was measured of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune.analysis.importance import importance
from autotune.analysis.quick_importance import varying_parameters
from autotune.analysis.study_view import StudyView
from autotune.core.arguments import check_arguments
from autotune.core.trial import Trial
from autotune.plot.axes import metric_axis, number, parameter_axis
from autotune.plot.names import whole_name
from autotune.plot.reasons import without_model
from autotune.plot.theme import (
    BEST,
    BROKEN,
    DEFAULT,
    INK,
    OTHER,
    WORDS,
    Viewed,
    figure,
    folded,
    nothing,
    plain,
    subtitled,
    view_of,
)  # fmt: skip
from autotune.plot.thin import said, thinned

if TYPE_CHECKING:
    import plotly.graph_objects as go

_MOST = 8  # parameters shown
_LINES = 300
_LEADING = 0.1  # share of the trials that is drawn as the best ones


@dataclass(frozen=True)
class _Axis:
    """One upright axis: title, whole name, places of the lines in [0, 1] and of the best, labelled ticks."""

    title: str
    whole: str
    places: list[float | None]
    best: float | None
    ticks: list[tuple[float, str, str]]


@check_arguments("study")
def parallel_coordinates(study: StudyView | Viewed, metric: str | None = None) -> go.Figure:
    """Return the measured trials as lines across the parameters, the most important one beside the metrics.

    Args:
        study: A study or its view.
        metric: A goal's or a limit's that decides which lines are the best; by default the first goal's.

    Raises:
        SpecError: The study's objective has no such metric.
    """
    view = view_of(study)
    name = view.metric_named(metric)
    title = "Trials across parameters and metrics"
    measured = [trial for trial, _, _ in view.measured(name)]
    if not measured:
        return nothing(title, without_model(view, name))
    trials = thinned(measured, _LINES)
    found, varying = importance(view, name), varying_parameters(view)
    order = found.names if found else varying
    names = [each for each in order if each in varying][:_MOST][::-1]
    axes = [_parameter(view, each, trials) for each in names]
    axes += [_metric(view, each, trials) for each in view.stated.metrics if each != name]
    axes += [_metric(view, name, trials)]
    result = figure(title)
    for trace in _lines(view, name, trials, axes):
        result.add_trace(trace)
    for at, axis in enumerate(axes):
        result.add_vline(x=at, line={"color": INK, "width": 1})
        for place, text, whole in axis.ticks:
            result.add_annotation(
                x=at, y=place, text=text, showarrow=False, xanchor="left", xshift=3, align="left",
                font={"size": 11}, bgcolor="rgba(255, 255, 255, 0.75)", borderpad=1,
                hovertext=None if text == plain(whole) else folded(whole),
            )  # fmt: skip
    texts = [axis.title.replace("_", "_\u200b") for axis in axes]
    result.update_xaxes(
        tickvals=list(range(len(axes))), ticktext=texts, tickangle=-35, showgrid=False, showline=False,
        range=[-0.2, len(axes) - 0.4],
    )  # fmt: skip
    result.update_yaxes(visible=False, range=[-0.2, 1.05])
    result.update_layout(height=560)
    failed = sum(trial.failure is not None for trial in view.trials)
    parts = [f"{len(measured)} measured trials", f"{failed} failed ones have no line" if failed else ""]
    left_out = said(measured, _LINES)
    return subtitled(result, "; ".join(part for part in (*parts, left_out) if part))


def _lines(view: StudyView, metric: str, trials: Sequence[Trial], axes: Sequence[_Axis]) -> list[go.Scatter]:
    import plotly.graph_objects as go

    values = {t.number: view.objective.value_of(metric, t.metrics[metric]) or 0.0 for t in trials}
    sign = next((goal.sign for goal in view.objective.goals if goal.metric == metric), 0.0)
    sign = sign or next(
        -1.0 if limit.upper else 1.0 for limit in view.objective.limits if limit.metric == metric
    )
    kept = {t.number for t in trials if view.objective.score(t.metrics).feasible}
    unjudged = bool(view.objective.awaited)  # then none is known to keep every limit, and none leads
    ranked = sorted(() if unjudged else kept, key=lambda number: -sign * values[number])
    leading = set(ranked[: max(1, round(_LEADING * len(trials)))])
    drawn = view.best is not None and view.best.feasible  # one line, not the one launch it began with
    best = {view.best.trial.number} if drawn and view.best is not None else set()
    groups = (
        ("breaks a limit", {t.number for t in trials} - kept, BROKEN, 1.0, "dot"),
        (WORDS["unknown" if unjudged else "kept"], kept - leading - best, OTHER, 1.0, "solid"),
        ("best tenth", leading - best, DEFAULT, 2.0, "dash"),
    )
    found = []
    for label, numbers, color, width, dash in groups:
        rows = [row for row, trial in enumerate(trials) if trial.number in numbers]
        if not rows:
            continue
        x: list[float | None] = []
        y: list[float | None] = []
        texts: list[str] = []
        for row in rows:  # one trace for all lines, with gaps between them
            x += [*range(len(axes)), None]
            y += [*(axis.places[row] for axis in axes), None]
            said = f"trial {trials[row].number}: {values[trials[row].number]:.4g}"
            texts += [*(axis.whole + said for axis in axes), said]
        found.append(
            go.Scatter(
                x=x, y=y, mode="lines", name=label, hovertext=texts, hoverinfo="text", connectgaps=False,
                line={"color": color, "width": width, "dash": dash}, opacity=1.0 if width > 1 else 0.6,
            )
        )  # fmt: skip
    if drawn:
        found.append(
            go.Scatter(
                x=list(range(len(axes))), y=[axis.best for axis in axes], mode="lines", hoverinfo="skip",
                name=f"{view.best_role if view.settled else 'best so far'}, launches pooled",
                line={"color": BEST, "width": 4.0, "dash": "solid"},
            )
        )  # fmt: skip
    return found


def _parameter(view: StudyView, name: str, trials: Sequence[Trial]) -> _Axis:
    values = [trial.config.get(name) for trial in trials]
    axis = parameter_axis(view, name, inactive=None in values)
    best = None if view.best is None else axis.share(view.best.config.get(name))
    return _Axis(axis.title, whole_name(name), [axis.share(value) for value in values], best, axis.shares)


def _metric(view: StudyView, name: str, trials: Sequence[Trial]) -> _Axis:
    found = [trial.metrics.get(name) for trial in trials]
    found += [None if view.best is None else view.best.metrics.get(name)]
    values = [None if each is None else view.objective.value_of(name, each) for each in found]
    known = [value for value in values if value is not None]
    axis = metric_axis(view, name, known)
    low, high = min(known, default=0.0), max(known, default=1.0)
    width = (high - low) or 1.0
    places = [None if value is None else (value - low) / width for value in values]
    texts = [number((low + width * k / 4) * axis.factor) for k in range(5)]
    ticks = [(k / 4, text, text) for k, text in enumerate(texts)]
    return _Axis(axis.title, whole_name(name), places[:-1], places[-1], ticks)
