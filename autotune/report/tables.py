"""The table of trials as text that fits the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune.analysis.study_view import StudyView, varying_parameters
from autotune.core.objective import Goal, Objective
from autotune.core.parameter.base import show
from autotune.core.surprise import SURPRISE, largest, show_surprise
from autotune.core.trial import Trial, TrialState
from autotune.core.units import format_quantity
from autotune.report.text import cut, fold, marked, show_number, show_seconds, unit_scale, wrap

WIDTH = 80
"""Columns that every terminal and every log viewer has."""

_NOTE_MIN, _NOTE_MAX = 10, 14  # narrower says nothing; wider is worth less than a readable header

# How far parameters' columns may be squeezed, the mildest first: gap before each, characters of a header.
_SQUEEZE = ((2, 6), (1, 4))
_HEADER_MAX = 12
_INTERVAL = "± 95 %"  # what follows a value is the half-width of its 95 % interval

_STATE_WORD = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETED: "ok",
    TrialState.INFEASIBLE: "failed",  # whose fault it was, the note says
    TrialState.FAILED: "failed",
    TrialState.ABANDONED: "given up",
}


@dataclass(frozen=True)
class _Column:
    """One column: its folded header, its cells, how they are aligned and the gap before it."""

    header: tuple[str, ...]
    cells: tuple[str, ...]
    left: bool = False
    gap: int = 2

    @property
    def width(self) -> int:
        return max(len(text) for text in (*self.header, *self.cells, ""))


def note_of(trial: Trial, objective: Objective) -> str:
    """Return what there is to say of a trial.

    The cause of its failure, why it is doubtful, the limit it breaks, how much it surprised, or why it was
    chosen: the first of these that there is.
    """
    failure = trial.failure
    if failure is not None and trial.state is not TrialState.RUNNING:
        return failure.cause.value.replace("_", " ")
    if trial.state is TrialState.COMPLETED:
        if trial.doubt and not objective.surely_broken(trial.metrics):
            return "not steady" if "not steady" in trial.doubt else "not precise"
        outcome = objective.score(trial.metrics)
        for limit in objective.limits:
            if str(limit) in outcome.violations:
                found = trial.metrics[limit.metric]
                return f"{limit.metric} {marked(format_quantity(found.value, found.unit), found)}"
        if outcome.missing:
            return f"no {outcome.missing[0]}"
        surprise = largest(trial)
        if surprise is not None:
            return show_surprise(surprise[1])
    return trial.suggestion.reason.value


def state_word(trial: Trial, objective: Objective) -> str:
    """Return one word for the table: ``ok``, ``limit`` (it breaks one), or the state.

    A doubtful measurement judges no limit, but one of a metric without an error: ``ok?`` and ``limit?``.
    """
    if trial.state is TrialState.COMPLETED:
        word = "ok" if objective.score(trial.metrics).feasible else "limit"
        return f"{word}?" if trial.doubt and not objective.surely_broken(trial.metrics) else word
    return _STATE_WORD[trial.state]


def trial_table(view: StudyView, trials: Sequence[Trial] | None = None, *, width: int = WIDTH) -> list[str]:
    """Return the table of trials as lines of at most ``width`` characters.

    Args:
        view: The study.
        trials: Rows; all trials by default.
        width: Width of the terminal. Parameters that do not fit are named in a line below the table.
    """
    rows = list(view.trials if trials is None else trials)
    if not rows:
        return ["no trials yet"]
    best = view.best.trial.number if view.best is not None else None
    started = {number: start for number, _, start in view.running}
    lead = [
        _Column(("#",), tuple(f"{t.number}{'*' if t.number == best else ' '}" for t in rows)),
        _Column(("state",), tuple(state_word(t, view.objective) for t in rows), left=True),
    ]
    goals = [_goal_column(goal, rows) for goal in view.objective.goals]
    times = _Column(("time",), tuple(_time_cell(t, started.get(t.number), view.now_ns) for t in rows))
    notes = _Column(("note",), tuple(note_of(t, view.objective) for t in rows), left=True)
    names = varying_parameters(view)
    fixed = sum(c.width + c.gap for c in (*lead, *goals, times)) - lead[0].gap + notes.gap
    surprised = [len(text) for text in notes.cells if text.startswith(SURPRISE)]  # half a number says nothing
    note_room = min(notes.width, max(_NOTE_MAX, *surprised, 0))
    squeezed = None
    for shown in range(len(names), -1, -1):
        squeezed = _squeeze(names[:shown], rows, width - fixed - note_room)
        if squeezed is not None:
            break
        note_room = min(note_room, _NOTE_MIN)
    columns = [*lead, *(squeezed or ()), *goals, times]
    used = sum(c.width + c.gap for c in columns) - columns[0].gap + notes.gap
    room = max(0, width - used)
    if room >= min(notes.width, _NOTE_MIN):
        columns.append(_Column(notes.header, tuple(cut(text, room) for text in notes.cells), left=True))
    lines = [line[:width] for line in _render(columns)]
    if shown < len(names):
        lines += wrap(f"not shown: {', '.join(names[shown:])}", width)
    return lines


def _squeeze(names: Sequence[str], rows: Sequence[Trial], room: int) -> list[_Column] | None:
    """Return the parameters' columns within ``room`` characters, the widest header folded first, or None."""
    for gap, least in _SQUEEZE:
        limits = [_HEADER_MAX] * len(names)
        while True:
            columns = [_parameter_column(n, rows, limit, gap) for n, limit in zip(names, limits, strict=True)]
            if sum(c.width + c.gap for c in columns) <= room:
                return columns
            foldable = [i for i, limit in enumerate(limits) if limit > least]
            if not foldable:
                break
            widest = max(foldable, key=lambda i: columns[i].width)
            limits[widest] = min(limits[widest], columns[widest].width) - 1
    return None


def _goal_column(goal: Goal, rows: Sequence[Trial]) -> _Column:
    estimates = [t.metrics.get(goal.metric) for t in rows]
    # One unit for the whole column, that of the largest value, so that the numbers compare at a glance.
    measured = [e for e in estimates if e is not None]
    largest = max(measured, key=lambda e: abs(e.value), default=None)
    symbol = ""
    scale = 1.0
    if largest is not None:
        symbol = format_quantity(largest.value, largest.unit).partition(" ")[2]
        scale = unit_scale(largest, symbol)
    cells = []
    for e in estimates:
        if e is None:
            cells.append("-")
            continue
        cells.append(marked(show_number(e, scale), e))
    if any(t.shortfall for t in rows):
        cells = [f"{cell}{'~' if t.shortfall else ' '}" for cell, t in zip(cells, rows, strict=True)]
    header = fold(goal.metric, 12)
    label = _INTERVAL if any("±" in cell for cell in cells) else ""
    together = f"{symbol} {label}".strip()
    if len(together) <= max(len(text) for text in (*header, *cells)):  # with the unit where there is room
        header += (together,) if together else ()
    else:
        header += tuple(filter(None, (symbol, label)))
    return _Column(header, tuple(cells))


def _parameter_column(name: str, rows: Sequence[Trial], limit: int, gap: int) -> _Column:
    cells = tuple(show(t.config[name]) if name in t.config else "-" for t in rows)
    width = max([limit, *(len(cell) for cell in cells)])
    return _Column(fold(name, min(width, 16)), tuple(cut(cell, 16) for cell in cells), gap=gap)


def _time_cell(trial: Trial, started_ns: int | None, now_ns: int) -> str:
    if started_ns is not None:
        return show_seconds(max(0.0, (now_ns - started_ns) / 1e9))
    if trial.measurement is None or trial.measurement.seconds <= 0:
        return "-"
    return show_seconds(trial.measurement.seconds)


def _render(columns: Sequence[_Column]) -> list[str]:
    height = max(len(c.header) for c in columns)
    lines = []
    for i in range(height):
        above = [
            height - len(c.header) for c in columns
        ]  # headers stand on the first row, not hang from the top
        lines.append([c.header[i - n] if i >= n else "" for c, n in zip(columns, above, strict=True)])
    lines += [list(row) for row in zip(*(c.cells for c in columns), strict=True)]
    text = []
    for line in lines:
        cells = [
            " " * c.gap + (cell.ljust(c.width) if c.left else cell.rjust(c.width))
            for c, cell in zip(columns, line, strict=True)
        ]
        text.append("".join(cells)[columns[0].gap :].rstrip())
    return text
