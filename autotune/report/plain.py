"""Progress for pipes, logs and machines: one line per event, no colours, no cursor movements."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TextIO

from autotune.analysis.study_view import StudyView, time_left_s
from autotune.core.estimate_text import INTERVAL, show_estimate
from autotune.core.redact import escaped, line_for, redact
from autotune.core.surprise import largest, show_surprise
from autotune.core.trial import Reason, Trial, TrialState
from autotune.core.units import counted
from autotune.errors import shortened
from autotune.report.summary import heading, summary_json, trial_json
from autotune.report.tables import note_of, state_word
from autotune.report.text import show_config, show_seconds
from autotune.report.view import Kind


class Output:
    """A stream of lines that may be closed under our feet, or may know few characters.

    Args:
        stream: ``sys.stdout`` when not given.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stdout if stream is None else stream
        self.closed = False

    def line(self, text: str) -> None:
        """Write one line at once; after the reader is gone, nothing."""
        if self.closed:
            return
        shown = line_for(self.stream, text)
        try:
            self.stream.write(shown)
            self.stream.flush()
        except (OSError, ValueError):  # a broken pipe, a full disk; or the stream was closed
            self.closed = True


class Changes:
    """The trials that have changed since the last look."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[TrialState, int]] = {}

    def since_last(self, view: StudyView) -> Iterator[Trial]:
        """Yield the trials whose state or attempt is new."""
        for trial in view.trials:
            now = (trial.state, trial.attempts)
            if self._seen.get(trial.number) != now:
                self._seen[trial.number] = now
                yield trial


class _Lines:
    """A view that writes lines to a stream.

    Args:
        stream: Stream to write to; standard output when not given.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._out = Output(stream)
        self._changes = Changes()

    @property
    def closed(self) -> bool:
        """Whether the reader is gone."""
        return self._out.closed


class PlainView(_Lines):
    """A view that tells each event in one line of plain text.

    Failures are told by :meth:`message`, in the words of whoever noticed them. Why there is no best so far is
    told when it is new.

    Args:
        stream: Stream to write to; standard output when not given.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._told = ""

    def start(self, view: StudyView) -> None:
        """Say what is about to happen."""
        budget = "" if view.budget_trials is None else f", budget {counted(view.budget_trials, 'trial')}"
        if view.budget_seconds is not None:
            budget += f", at most {show_seconds(view.budget_seconds)}"
        if view.resumed:
            self._out.line(f"{heading(view)}{budget}, going on")
        else:
            self._out.line(f"study {view.name}: {view.stated}{budget}")
        self._out.line(INTERVAL)
        list(self._changes.since_last(view))

    def update(self, view: StudyView) -> None:
        """Tell what has started and what was measured."""
        for trial in self._changes.since_last(view):
            if trial.state is TrialState.RUNNING:
                again = f" (attempt {trial.attempts})" if trial.attempts > 1 else ""
                why = trial.suggestion.reason.value
                shown = show_config(trial.config, view.space.names)
                self._out.line(f"trial {trial.number} started{again}: {shown} [{why}]")
            elif trial.state is TrialState.COMPLETED:
                self._out.line(measured_line(trial, view, told=self._told))
                self._told = _no_best(view)

    def message(self, text: str, kind: Kind = Kind.NEWS) -> None:
        """Show one line."""
        self._out.line(redact(shortened(text)))

    def finish(self, view: StudyView, closing_text: str) -> None:
        """Show the closing text."""
        self.update(view)
        self._out.line(closing_text)

    def close(self) -> None:
        """Do nothing: every line was written at once."""


def measured_line(trial: Trial, view: StudyView, *, told: str = "") -> str:
    """Return one line about a completed trial: its goals, whether limits are kept, time, progress.

    Args:
        trial: The trial.
        view: The study.
        told: Reason for which there is no best so far that needs no repetition.
    """
    shown = [
        f"{name} {show_estimate(trial.metrics[name], symbol=view.objective.symbol_of(name))}"
        for name in (goal.metric for goal in view.objective.goals)
        if name in trial.metrics
    ]
    if state_word(trial, view.objective) == "limit":
        shown.append(f"breaks a limit: {note_of(trial, view.objective)}")
    if trial.doubt:
        repeat = trial.suggestion.reason in (Reason.REMEASURE, Reason.CONFIRM)
        shown.append(f"doubtful{'' if repeat else ', will be measured again'}: {trial.doubt}")
    elif trial.shortfall:
        shown.append(trial.shortfall)
    surprise = largest(trial)
    if surprise is not None:
        shown.append(f"{show_surprise(surprise[1])} of {surprise[0]}")
    if trial.measurement is not None and trial.measurement.seconds > 0:
        shown.append(show_seconds(trial.measurement.seconds))
    if view.best is not None and view.best.trial.number == trial.number and len(view.trials) > 1:
        shown.append("best so far")
    why = _no_best(view)
    if why and why != told:
        shown.append(why)
    beside = f" + {view.beside}" if view.beside else ""
    progress = f" [{view.finished}/{view.total}{beside}]" if view.total is not None else ""
    left = time_left_s(view)
    if left and view.state == "running":
        progress += f" about {show_seconds(left)} left"
    return f"trial {trial.number} measured: {', '.join(shown)}{progress}"


def _no_best(view: StudyView) -> str:
    """Return why there is no best so far; nothing before there is anything to compare."""
    return view.binding if view.best is None and view.finished > 1 else ""


class JsonView(_Lines):
    """A view that tells each event as one JSON object per line; the last one is the summary.

    Every object has ``event``: ``start``, ``trial`` (a new state of one trial), ``message`` or ``finish``
    (with the keys of :func:`autotune.report.summary.summary_json`).
    """

    def start(self, view: StudyView) -> None:
        """Write the name, the plan and whether the study goes on from earlier trials."""
        self._event(
            "start",
            study=view.name,
            objective=view.stated.to_dict(),
            budget={"trials": view.budget_trials, "seconds": view.budget_seconds},
            resumed=view.resumed,
            trials=len(view.trials),
            ledger=view.ledger,
            tracking=view.tracking,
        )
        list(self._changes.since_last(view))

    def update(self, view: StudyView) -> None:
        """Write every trial whose state is new."""
        for trial in self._changes.since_last(view):
            self._event("trial", **trial_json(trial, view))

    def message(self, text: str, kind: Kind = Kind.NEWS) -> None:
        """Write a message with its kind."""
        self._event("message", text=redact(shortened(text)), kind=kind.value)

    def finish(self, view: StudyView, closing_text: str) -> None:
        """Write the summary; the closing text is for people and left out."""
        self.update(view)
        self._event("finish", **summary_json(view))

    def close(self) -> None:
        """Do nothing: every line was written at once."""

    def _event(self, event: str, **data: object) -> None:
        self._out.line(escaped(json.dumps({"event": event, **data}, allow_nan=False, ensure_ascii=False)))


class QuietView(_Lines):
    """A view that tells only the end, and on standard error what was lost on the way."""

    def start(self, view: StudyView) -> None:
        """Show nothing."""

    def update(self, view: StudyView) -> None:
        """Show nothing."""

    def message(self, text: str, kind: Kind = Kind.NEWS) -> None:
        """Show what is lost, and nothing else."""
        if kind is Kind.LOSS:
            Output(sys.stderr).line(redact(shortened(text)))

    def finish(self, view: StudyView, closing_text: str) -> None:
        """Show the closing text."""
        self._out.line(closing_text)

    def close(self) -> None:
        """Do nothing."""
