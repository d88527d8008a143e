"""What a notebook shows of a study."""

from __future__ import annotations

from autotune.analysis.study_view import StudyView
from autotune.core.html import html_table
from autotune.core.parameter.base import show
from autotune.core.trial import Trial
from autotune.report.summary import best_lines, heading
from autotune.report.tables import note_of, state_word
from autotune.report.text import show_estimate

_MOST_ROWS = 60
"""Trials shown: first those of the start, then the last ones; `Study.to_frame` has them all."""


def study_html(view: StudyView) -> str:
    """Return the trials of a study as an HTML table with the best configuration below it."""
    names, metrics = list(view.space.names), list(view.objective.metrics)
    half = _MOST_ROWS // 2
    trials = view.trials if len(view.trials) <= _MOST_ROWS else [*view.trials[:half], *view.trials[-half:]]
    rows = [_row(trial, view, names, metrics) for trial in trials]
    title = f"{heading(view)}; {view.objective}"
    if len(trials) < len(view.trials):
        title += f" (first and last {half} trials)"
    note = "\n".join(best_lines(view)) if view.trials else "no trials yet"
    return html_table(title, ("#", "state", *names, *metrics, "note"), rows, note)


def _row(trial: Trial, view: StudyView, names: list[str], metrics: list[str]) -> list[object]:
    values = [show(trial.config.get(name, "-")) for name in names]
    found = [show_estimate(trial.metrics[name]) if name in trial.metrics else "" for name in metrics]
    return [trial.number, state_word(trial, view.objective), *values, *found, note_of(trial, view.objective)]
