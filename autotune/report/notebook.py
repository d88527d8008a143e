"""What a notebook shows: a study as a table, and a search while it runs."""

from __future__ import annotations

import sys
import time
from html import escape
from importlib import import_module
from io import StringIO
from typing import Any, TextIO

from autotune.analysis.study_view import StudyView
from autotune.core.estimate_text import show_estimate
from autotune.core.html import html_table
from autotune.core.parameter.base import show
from autotune.core.redact import redact, visible
from autotune.core.trial import Trial
from autotune.errors import shortened
from autotune.report.live import REFRESH_S, LiveView, is_terminal, render
from autotune.report.plain import PlainView
from autotune.report.summary import best_lines, heading
from autotune.report.tables import note_of, state_word
from autotune.report.view import Kind, View

_WIDTH = 100  # columns of the live view in a notebook's cell

_MOST_ROWS = 60
"""Trials shown: first those of the start, then the last ones; `Study.to_frame` has them all."""


def study_html(view: StudyView) -> str:
    """Return the trials of a study as an HTML table with the best configuration below it."""
    names, metrics = list(view.space.names), list(view.stated.metrics)
    half = _MOST_ROWS // 2
    trials = view.trials if len(view.trials) <= _MOST_ROWS else [*view.trials[:half], *view.trials[-half:]]
    rows = [_row(trial, view, names, metrics) for trial in trials]
    title = f"{heading(view)}; {view.stated}"
    if len(trials) < len(view.trials):
        title += f" (first and last {half} trials)"
    note = "\n".join(best_lines(view)) if view.trials else "no trials yet"
    return html_table(title, ("#", "state", *names, *metrics, "note"), rows, note)


def _row(trial: Trial, view: StudyView, names: list[str], metrics: list[str]) -> list[object]:
    values = [show(trial.config.get(name, "-")) for name in names]
    symbols = {name: view.objective.symbol_of(name) for name in metrics}
    found = [
        show_estimate(trial.metrics[name], symbol=symbols[name]) if name in trial.metrics else ""
        for name in metrics
    ]
    return [trial.number, state_word(trial, view.objective), *values, *found, note_of(trial, view.objective)]


def choose_progress(stream: TextIO, wanted: bool | None = None) -> View | None:
    """Return the view that shows a search of a Python function; ``None`` for none.

    Args:
        stream: Stream to write to where it is no notebook.
        wanted: Whether progress is wanted; ``None`` for where somebody sees it grow.
    """
    if wanted is False:
        return None
    if in_notebook():
        return NotebookView()
    if is_terminal(stream):
        return LiveView(stream)
    return PlainView(stream) if wanted else None


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    module = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


class NotebookView:
    """A view in one output of a notebook's cell, drawn anew as it goes on; see :class:`View`."""

    def __init__(self) -> None:
        self._display: Any = None
        self._said: list[str] = []
        self._drawn = 0.0
        self._state: tuple[object, ...] = ()

    @property
    def closed(self) -> bool:
        """Whether nobody is there to see it any more: a notebook keeps its cells."""
        return False

    def start(self, view: StudyView) -> None:
        """Begin to draw."""
        self._draw(view)

    def update(self, view: StudyView) -> None:
        """Draw again when a trial has changed or a second has passed."""
        state = tuple((t.number, t.state, t.attempts) for t in view.trials)
        if state != self._state or time.monotonic() - self._drawn >= REFRESH_S:
            self._state, self._drawn = state, time.monotonic()
            self._draw(view)

    def message(self, text: str, kind: Kind = Kind.NEWS) -> None:
        """Show one line above the drawing, with the next one."""
        self._said.append(visible(redact(shortened(text))))

    def finish(self, view: StudyView, closing_text: str) -> None:
        """Draw the last state, with a text for people below it."""
        self._draw(view, closing_text)

    def close(self) -> None:
        """Do nothing: the last drawing stays."""

    def _draw(self, view: StudyView, closing_text: str = "") -> None:
        from rich.console import Console

        console = Console(file=StringIO(), width=_WIDTH, force_terminal=False, force_jupyter=False)
        console.print(render(view, _WIDTH))
        drawn = console.file.getvalue()  # type: ignore[attr-defined]
        text = "\n".join([*self._said, drawn.rstrip(), *([visible(closing_text)] if closing_text else [])])
        shown: Any = import_module("IPython.display")  # a notebook has it, and nothing else needs it
        page = shown.HTML(f'<pre style="line-height: 1.2">{escape(text)}</pre>')
        if self._display is None:
            self._display = shown.display(page, display_id=True)
        else:
            self._display.update(page)
