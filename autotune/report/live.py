"""The live view of a terminal: progress, the best so far, what runs, the last trials."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, TextIO

from autotune.analysis.study_view import StudyView, time_left_s
from autotune.core.cells import cell_len, cut
from autotune.core.estimate_text import show_estimate
from autotune.core.failures import failure_counts
from autotune.core.improvement_text import show_improvement
from autotune.core.redact import redact, visible
from autotune.core.trial import config_key
from autotune.core.units import counted
from autotune.errors import shortened
from autotune.report.plain import Output
from autotune.report.tables import trial_table
from autotune.report.text import show_config, show_seconds, terminal_width, wrap
from autotune.report.view import Kind

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

REFRESH_S = 1.0
"""Seconds between two drawings when no trial has changed: drawing costs time on the machine measured."""

_BAR_MIN = 8  # a shorter bar shows nothing
_ROWS = 8  # last trials shown, where the lines above and the header leave room for them
_LEAST_ROWS = 1
_HEIGHT = 24  # lines of a terminal


class LiveView:
    """A view at the bottom of the terminal; messages scroll above it.

    Args:
        stream: The terminal; standard output when not given.
        width: Columns; those of the terminal when not given.
    """

    def __init__(self, stream: TextIO | None = None, *, width: int | None = None) -> None:
        self._out = Output(stream)
        self._width = width
        self._console: Console | None = None
        self._live: Live | None = None
        self._drawn = 0.0
        self._drawn_state: tuple[object, ...] = ()

    @property
    def closed(self) -> bool:
        """Whether the terminal is gone."""
        return self._out.closed

    def start(self, view: StudyView) -> None:
        """Begin to draw."""
        from rich.live import Live

        try:
            console = self._open()
            # Drawn by `update` only: a refresh thread would take processor time from what is measured.
            self._live = Live(console=console, auto_refresh=False, transient=True)
            self._live.start()
            self._draw(view)
        except (OSError, ValueError):  # the terminal is gone; the study goes on
            self._out.closed = True

    def update(self, view: StudyView) -> None:
        """Draw again when a trial has changed or a second has passed."""
        state = tuple((t.number, t.state, t.attempts) for t in view.trials)
        now = time.monotonic()
        if self._live is None or self._out.closed:
            return
        if state == self._drawn_state and now - self._drawn < REFRESH_S:
            return
        self._drawn, self._drawn_state = now, state
        try:
            self._draw(view)
        except (OSError, ValueError):
            self._out.closed = True

    def message(self, text: str, kind: Kind = Kind.NEWS) -> None:
        """Show one line above the drawing, folded at spaces to the terminal."""
        if self._out.closed:
            return
        text = redact(shortened(text))
        width = self._width or terminal_width()
        text = "\n".join(part for line in text.split("\n") for part in wrap(line, width))
        if self._live is None:
            self._out.line(text)
            return
        try:
            self._live.console.print(
                visible(text), markup=False, emoji=False, highlight=False, soft_wrap=True
            )
        except (OSError, ValueError):
            self._out.closed = True

    def finish(self, view: StudyView, closing_text: str) -> None:
        """Take the drawing away and show the closing text."""
        self.close()
        self._out.line(closing_text)

    def close(self) -> None:
        """Take the drawing away and show the cursor again."""
        live, self._live = self._live, None
        if live is not None and not self._out.closed:
            try:
                live.stop()
            except (OSError, ValueError):
                self._out.closed = True

    def _open(self) -> Console:
        from rich.console import Console

        self._console = Console(file=self._out.stream, width=self._width, highlight=False)
        return self._console

    def _draw(self, view: StudyView) -> None:
        if self._live is not None and self._console is not None:
            self._live.update(render(view, self._console.width, self._console.height), refresh=True)


def render(view: StudyView, width: int, height: int = _HEIGHT) -> RenderableType:
    """Return the drawing of a study for a terminal of ``width`` columns and ``height`` lines."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    width = max(20, width - 1)  # a full last column makes some terminals wrap
    progress = progress_text(view)
    size = width - cell_len(progress) - 1
    bar: RenderableType = Text(cut(progress, width))
    if view.total and size >= _BAR_MIN:
        grid = Table.grid(padding=(0, 1, 0, 0))
        drawn = ProgressBar(total=view.total, completed=view.finished, width=size - 1, complete_style="cyan")
        grid.add_row(drawn, bar)
        bar = grid
    lines: list[RenderableType] = [
        Text(visible(cut(f"{view.name}: {view.stated}", width)), style="bold"),
        bar,
    ]
    lines += [_labelled(label, text, width) for label, text in status_lines(view)]
    recent = [t for t in view.trials if t.attempts or t.state.finished][-_ROWS:]
    table = trial_table(view, recent, width=width) if recent else []
    too_many = len(lines) + 1 + len(table) - (height - 1)
    if recent and too_many > 0:
        table = trial_table(view, recent[min(too_many, len(recent) - _LEAST_ROWS) :], width=width)
    best = None if view.best is None else f"{view.best.trial.number}*"
    body: list[RenderableType] = [Text("")] if table else []
    body += [
        Text(visible(line), style="bold" if best and line.lstrip().startswith(best) else "") for line in table
    ]
    return Group(*lines, *body)


def _labelled(label: str, text: str, width: int) -> RenderableType:
    from rich.text import Text

    style = {"failed": "red", "best": "green"}.get(label, "")
    line = Text(f"{label:<8}", style=style or "dim")
    line.append(cut(visible(text), width - 8), style="")
    return line


def progress_text(view: StudyView) -> str:
    """Return ``7/12 trials + 1 measured again, 2.1 min, about 1.4 min left``."""
    of = counted(view.finished, "trial") if view.total is None else counted(view.total, "trial")
    progress = of if view.total is None else f"{view.finished}/{of}"
    beside = f" + {view.beside}" if view.beside else ""
    text = f"{progress}{beside}, {show_seconds(view.elapsed_s)}"
    left = time_left_s(view)
    return text if left is None else f"{text}, about {show_seconds(left)} left"


def status_lines(view: StudyView) -> list[tuple[str, str]]:
    """Return what matters now as pairs of a label and a text."""
    lines: list[tuple[str, str]] = []
    best = view.best
    if best is not None:
        several = len(view.objective.goals) > 1
        names = [goal.metric for goal in view.objective.goals]
        texts = [
            show_estimate(best.metrics[name], view.half_width(best, name), view.objective.symbol_of(name))
            for name in names
        ]
        shown = ", ".join(
            f"{name} {text}" if several else text for name, text in zip(names, texts, strict=True)
        )
        found = view.lead
        gain = f", vs default {show_improvement(found)}" if found is not None else ""
        which = ", the default" if config_key(best.config) == config_key(view.default_config) else ""
        lines += [
            ("best", f"trial {best.trial.number}{which}: {shown}{gain}"),
            ("", show_config(best.config, view.space.names)),
        ]
    elif view.finished:
        lines.append(("best", view.binding or "nothing measured yet"))
    if view.stopped:
        lines.append(("stopped", view.stopped))
    configs = {trial.number: trial.config for trial in view.trials}
    for number, attempt, start in view.running:
        since = show_seconds(max(0.0, (view.now_ns - start) / 1e9))
        again = f" (attempt {attempt})" if attempt > 1 else ""
        shown = show_config(configs.get(number, {}), view.space.names)
        lines.append(("running", f"trial {number}{again} for {since}: {shown}"))
    failures = failure_counts(view.trials)
    if failures:
        text = ", ".join(f"{count} {cause.replace('_', ' ')}" for cause, count in failures.items())
        lines.append(("failed", text))
    return lines


def is_terminal(stream: TextIO) -> bool:
    """Return whether ``stream`` is a terminal on which lines can be drawn again."""
    try:
        return stream.isatty() and os.environ.get("TERM", "") != "dumb"
    except ValueError:  # closed
        return False
