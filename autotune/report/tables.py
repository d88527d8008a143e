"""The table of trials as text that fits the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, product

from autotune.analysis.quick_importance import by_importance
from autotune.analysis.study_view import StudyView
from autotune.core.cells import beginning, cell_len, cut, fill, padded
from autotune.core.estimate_text import show_estimate
from autotune.core.objective import Objective
from autotune.core.ranking import judged
from autotune.core.surprise import largest, show_surprise
from autotune.core.trial import Trial, TrialState
from autotune.report.columns import (
    TALLEST,
    WORD,
    Column,
    ParameterColumn,
    goal_column,
    parameter_column,
)
from autotune.report.text import WIDTH, show_config, show_seconds

_NOTE_MIN, _NOTE_MAX = 10, 24  # narrower says nothing; wider is worth less than another parameter
_WORDS = (WORD, 8)  # longest word of a header that is not broken, the better first
_MATTER = 6  # parameters of which each is worth giving up something else for

_STATE_WORD = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETED: "ok",
    TrialState.INFEASIBLE: "failed",  # whose fault it was, the note says
    TrialState.FAILED: "failed",
    TrialState.ABANDONED: "given up",
}


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
                return f"{limit.metric} {show_estimate(found, 0.0, limit.symbol)}"
        if outcome.missing:
            return f"no {outcome.missing[0]}"
        surprise = largest(trial)
        if surprise is not None:
            return show_surprise(surprise[1])
    return trial.suggestion.reason.value


def state_word(trial: Trial, objective: Objective) -> str:
    """Return one word for the table: ``ok``, ``limit`` (it breaks one), ``unknown``, or the state.

    A doubtful measurement judges no limit, but one of a metric without an error: ``ok?`` and ``limit?``. What
    keeps every limit that can be judged is ``unknown`` while another one cannot.
    """
    if trial.state is TrialState.COMPLETED:
        known = judged(objective.score(trial.metrics).feasible, objective)
        if known is None:
            return "unknown"
        word = "ok" if known else "limit"
        return f"{word}?" if trial.doubt and not objective.surely_broken(trial.metrics) else word
    return _STATE_WORD[trial.state]


@dataclass(frozen=True)
class _Layout:
    """One way to lay a table out.

    Args:
        shown: Number of parameters, by importance.
        word: Longest word of a header that is not broken.
        gap: Characters before a parameter's column.
        time: Whether the time of each trial has a column.
        note: Characters for the note; 0 for none.
        goals: Number of goals.
        errors: Whether goals have their half-widths.
        room: Characters for the parameters.
    """

    shown: int = 0
    word: int = WORD
    gap: int = 1
    time: bool = False
    note: int = 0
    goals: int = 1
    errors: bool = False
    room: int = 0

    @property
    def price(self) -> float:
        """What is lost to a reader, by what each part is worth; the scale means nothing."""
        found = 8.0 * min(self.shown, _MATTER) + max(0, self.shown - _MATTER)
        found += 0.0 if self.shown else -1000.0
        found += 25.0 * self.goals + 20.0 * self.errors + 5.0 * self.time
        found += 16.0 * bool(self.note) + 0.5 * min(self.note - _NOTE_MIN, _NOTE_MAX - _NOTE_MIN)
        return -(found + 1.0 * (self.gap == 2) + 2.0 * (self.word == WORD))


@dataclass(frozen=True)
class _Parts:
    """The columns that a table may have.

    Args:
        lead: Number and state.
        parameters: Those that vary, by importance.
        goals: Goals, with half-widths and without.
        time: Time of each trial.
        note: Note of each.
    """

    lead: Sequence[Column]
    parameters: Sequence[ParameterColumn]
    goals: Mapping[bool, Sequence[Column]]
    time: Column
    note: Column

    def beside(self, time: bool, goals: int, errors: bool) -> list[Column]:
        """Return the columns that are neither parameters nor the note."""
        return [*self.lead, *self.goals[errors][:goals], *([self.time] if time else [])]


def trial_table(view: StudyView, trials: Sequence[Trial] | None = None, *, width: int = WIDTH) -> list[str]:
    """Return the table of trials as lines of at most ``width`` characters.

    The parameters that vary are its columns, the one that matters most first
    (:func:`autotune.analysis.quick_importance.by_importance`). Those that do not fit are named below it,
    those with one value in all trials above it.

    Args:
        view: The study.
        trials: Rows, without the line above the table; all trials, with it, by default.
        width: Width of the terminal.
    """
    rows = list(view.trials if trials is None else trials)
    if not rows:
        return ["no trials yet"]
    names = by_importance(view)
    parts = _parts(view, names, rows)
    layout = _choose(parts, width)
    beside = parts.beside(layout.time, layout.goals, layout.errors)
    shown, legend, hidden = _parameters(parts.parameters, layout)
    columns = [*parts.lead, *shown, *beside[len(parts.lead) :]]
    if layout.note:
        room = width - _total(columns) - parts.note.gap
        cells = tuple(_note_within(text, room, view.objective) for text in parts.note.cells)
        columns.append(Column(parts.note.header, cells, left=True))
    lines = [beginning(line, width) for line in _render(columns)]
    for text in legend:
        lines += fill(text, width)
    if hidden:
        varied = len({str(t.config.get(name)) for t in view.trials for name in hidden}) > len(hidden)
        lines += fill(f"{'also varied' if varied else 'not shown'}: {', '.join(hidden)}", width)
    return lines if trials is not None else [*_constant_lines(view, names, width), *lines]


def _note_within(text: str, room: int, objective: Objective) -> str:
    """Return a note cut to some characters; of a broken limit the number stays, and the name's last part."""
    metric, _, found = text.partition(" ")
    last = metric.rpartition(".")[2]
    alike = [limit for limit in objective.limits if limit.metric.rpartition(".")[2] == last]
    if cell_len(text) > room and len(alike) == 1 and alike[0].metric == metric:
        text = f"{last} {found}"
    return cut(text, room)


def _parts(view: StudyView, names: Sequence[str], rows: Sequence[Trial]) -> _Parts:
    best = view.best.trial.number if view.best is not None else None
    started = {number: start for number, _, start in view.running}
    return _Parts(
        lead=(
            Column(("#",), tuple(f"{t.number}{'*' if t.number == best else ' '}" for t in rows)),
            Column(("state",), tuple(state_word(t, view.objective) for t in rows), left=True),
        ),
        parameters=[parameter_column(name, rows, view.space[name].unit) for name in names],
        goals={
            errors: [
                goal_column(goal, rows, view.objective.shown_unit(goal.metric), errors=errors)
                for goal in view.objective.goals
            ]
            for errors in (True, False)
        },
        time=Column(("time",), tuple(_time_cell(t, started.get(t.number), view.now_ns) for t in rows)),
        note=Column(("note",), tuple(note_of(t, view.objective) for t in rows), left=True),
    )


def _constant_lines(view: StudyView, varying: Sequence[str], width: int) -> list[str]:
    """Return the parameters with one value in all trials; nothing without any."""
    first = view.trials[0].config
    same = {name: first[name] for name in view.space.names if name in first and name not in varying}
    return [*fill(f"the same in all trials: {show_config(same)}", width), ""] if same else []


def _total(columns: Sequence[Column]) -> int:
    return sum(c.width + c.gap for c in columns) - columns[0].gap


def _layouts(parts: _Parts, width: int) -> Iterator[_Layout]:
    """Yield the layouts that fit, each with as many parameters as it has room for."""
    widths = {word: [0, *accumulate(p.narrowest(word) for p in parts.parameters)] for word in _WORDS}
    lengths = sorted({min(parts.note.width, n) for n in range(_NOTE_MIN, _NOTE_MAX + 1)} | {0})
    for time, errors, note in product((True, False), (True, False), lengths):
        for goals in range(1, len(parts.goals[errors]) + 1):
            used = _total(parts.beside(time, goals, errors)) + (note + parts.note.gap if note else 0)
            for word, gap in product(_WORDS, (2, 1)) if used <= width else ():
                sizes = widths[word]
                shown = max(k for k in range(len(sizes)) if k == 0 or sizes[k] + k * gap <= width - used)
                yield _Layout(shown, word, gap, time, note, goals, errors, width - used)


def _choose(parts: _Parts, width: int) -> _Layout:
    """Return the layout that loses least; the smallest one where none fits."""
    return min(_layouts(parts, width), key=lambda one: one.price, default=_Layout())


def _parameters(
    parameters: Sequence[ParameterColumn], layout: _Layout
) -> tuple[list[Column], list[str], list[str]]:
    """Return the columns of the parameters, the legend of those with a letter, and the names left out.

    Headers are as low as the room allows. A parameter that is too wide leaves its room to the next one.
    """
    word, gap = layout.word, layout.gap
    chosen, left = [], layout.room
    for place, parameter in enumerate(parameters):
        needed = parameter.narrowest(word) + gap
        if place < layout.shown or needed <= left:
            chosen.append(parameter)
            left -= needed
    for tallest in range(1, TALLEST + 1):
        columns = [p.column(word, tallest, gap) for p in chosen]
        if sum(c.width + gap for c in columns) <= layout.room:
            break
    legend: list[str] = []
    for i, parameter in enumerate(chosen):
        if parameter.lettered(word) and (tallest == TALLEST or len(columns[i].header) > TALLEST):
            letter = chr(ord("A") + len(legend) % 26)
            columns[i] = Column(tuple(filter(None, (letter, parameter.unit))), parameter.cells, gap=gap)
            legend.append(f"{letter} = {parameter.name}")
    return columns, legend, [p.name for p in parameters if p not in chosen]


def _time_cell(trial: Trial, started_ns: int | None, now_ns: int) -> str:
    if started_ns is not None:
        return show_seconds(max(0.0, (now_ns - started_ns) / 1e9))
    if trial.measurement is None or trial.measurement.seconds <= 0:
        return "-"
    return show_seconds(trial.measurement.seconds)


def _render(columns: Sequence[Column]) -> list[str]:
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
            " " * c.gap + padded(cell, c.width, left=c.left) for c, cell in zip(columns, line, strict=True)
        ]
        text.append("".join(cells)[columns[0].gap :].rstrip())
    return text
