"""What a report says in words and tables, whatever its format."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autotune.analysis.comparison import Comparison, MetricRow, comparison
from autotune.analysis.facts import circumstances
from autotune.analysis.phases import Cost, cost, totals, trial_times
from autotune.analysis.quick_importance import by_importance, varying_parameters
from autotune.analysis.study_view import StudyView
from autotune.core.estimate_text import common_scale, show_estimate
from autotune.core.failures import failure_groups
from autotune.core.file_names import LOG_NAME
from autotune.core.improvement_text import show_change
from autotune.core.measurement import Estimate
from autotune.core.parameter.base import show
from autotune.core.redact import redact_words
from autotune.core.trial import Config, Trial, Value
from autotune.core.units import counted
from autotune.core.verdict import show_chance, why_unjudged
from autotune.core.version import VERSION
from autotune.report.columns import number_cell
from autotune.report.summary import notes
from autotune.report.tables import note_of, state_word
from autotune.report.text import show_config, show_seconds

_MOST_VALUES = 12  # of a list in a sentence
_MAIN = 6  # parameters that the verdict names
_LOG_LINES, _LOG_BYTES = 20, 4096  # of a trial's log
_LOGS_MOST = 200  # logs of trials that did not fail, which are read from their files
_USUAL_LOAD = ("arrival", "rate", "concurrency", "prompt_tokens", "output_tokens")


@dataclass(frozen=True)
class Table:
    """A small table.

    Args:
        name: Name of it, for whoever does not see it.
        head: Names of the columns.
        rows: Cells, the first of each row being its name.
        folded: Whether it is shown when somebody asks for it.
    """

    name: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    folded: bool = False


@dataclass(frozen=True)
class TrialColumn:
    """A column of the table of trials."""

    name: str
    numeric: bool = False


@dataclass(frozen=True)
class TrialRow:
    """A row of the table of trials.

    Args:
        number: Number of the trial.
        state: Its state in a word.
        best: Whether its configuration is the recommended one.
        cells: Text and value to sort by; ``None`` where the text sorts, empty where nothing is known.
        config: Whole configuration.
        command: Command that was launched; empty where none was.
        message: Message of its failure, or what its measurement lacks.
        log: End of its log.
        url: Address of its run in the tracking store; empty where it has none.
        run: Words on where else to find it.
    """

    number: int
    state: str
    best: bool
    cells: tuple[tuple[str, float | str | None], ...]
    config: str
    command: str
    message: str
    log: str
    url: str
    run: str


def verdict_sentences(view: StudyView) -> tuple[str, str]:
    """Return what was found, and how sure it is and under which conditions."""
    best, goal = view.best, view.objective.goals[0].metric
    if best is None:
        first = view.verdict.text if view.settled else view.binding or "nothing measured yet"
    else:
        value = best.metrics.get(goal)
        symbol = view.objective.symbol_of(goal)
        half = view.half_width(best, goal)
        shown = "" if value is None else f" gives {goal} {show_estimate(value, half, symbol)}"
        first = f"trial {best.trial.number} ({_main_values(view, best.config)}){shown}"
        first += f": {view.verdict.text}" if view.settled else ", the best so far"
    parts = []
    found = comparison(view)
    if not view.settled:
        parts.append(view.verdict.text)
    elif found is not None:
        chances = [
            f"{row.limit} with a chance of {show_chance(row.chance)}" for row in found.limits if row.chance
        ]
        subject = "it keeps" if found.recommended else f"trial {found.best.trial.number} would keep"
        parts += [f"{subject} {' and '.join(chances)}"] if chances else []
    parts += [where] if (where := _circumstances(view)) else []
    return sentence(first), sentence("; ".join(parts)) if parts else ""


def _main_values(view: StudyView, config: Config) -> str:
    """Return a configuration's values of the parameters that matter most."""
    names = [name for name in dict.fromkeys([*by_importance(view), *view.space.names]) if name in config]
    shown = show_config({name: config[name] for name in names[:_MAIN]})
    return f"{shown} and {len(names) - _MAIN} more" if len(names) > _MAIN else shown


def _circumstances(view: StudyView) -> str:
    """Return with what, where and under which load a study was measured; empty where that is not known."""
    known = dict(conditions(view))
    system = view.spec.system
    words = []
    if system is not None:
        words = [f"with {system.use or 'a system'}{f' ({system.tuned})' if system.tuned else ''}"]
    words += [f"on {known[name]}" for name in ("GPUs", "processor") if name in known][:1]
    found = [f"measured {' '.join(words)}"] if words else []
    found += [f"workload: {known['workload']}"] if "workload" in known else []
    return "; ".join(found)


def sentence(text: str) -> str:
    """Return words as a sentence."""
    return f"{text[:1].upper()}{text[1:]}."


def comparison_title(view: StudyView) -> str:
    """Return the heading of the comparison with the default."""
    return "Winner against default" if view.recommends or view.best is None else "Nearest against default"


def comparison_tables(found: Comparison) -> list[Table]:
    """Return the recommended configuration beside the default: goals and limits, then all other metrics."""
    side = "recommended" if found.recommended else "nearest, not recommended"
    head = ["metric", f"{side} (trial {found.best.trial.number})"]
    both = found.default is not None and not found.same
    head += ["default", "change [95 %]"] if both else []
    symbols = {row.metric: row.symbol for row in found.limits if row.symbol}
    tables = []
    for name, roles in (("Goals and limits", ("goal", "limit")), ("All other metrics", ("other",))):
        rows = []
        for row in found.metrics:
            if row.role not in roles:
                continue
            symbol = symbols.get(row.metric, "")
            cells = [row.metric, _estimate(row.best, row.best_half, symbol)]
            cells += (
                [
                    _estimate(row.default, row.default_half, symbol),
                    "" if row.change is None else show_change(row.change),
                ]
                if both
                else []
            )
            rows.append((*cells, _better(row)))
        if rows:
            tables.append(Table(name, (*head, "better"), tuple(rows), folded=roles == ("other",)))
    return tables


def _better(row: MetricRow) -> str:
    role = "" if row.role == "other" else f"{row.role}, "
    return f"{role}{row.better} is better" if row.better else role.rstrip(", ")


def _estimate(estimate: Estimate | None, half: float | None, symbol: str = "") -> str:
    return "not measured" if estimate is None else show_estimate(estimate, half, symbol)


def limit_table(found: Comparison) -> Table | None:
    """Return the limits with the chance that they hold; ``None`` without any."""
    if not found.limits:
        return None
    rows = tuple(
        (
            row.limit,
            _estimate(row.value, row.half, row.symbol),
            f"{row.kept} of {row.launches}",
            "not known" if row.chance is None else show_chance(row.chance),
            "not known" if row.default_chance is None else show_chance(row.default_chance),
        )
        for row in found.limits
    )
    head = ("limit", "measured", "launches that kept it", "chance that it holds", "chance for the default")
    return Table("Limits", head, rows)


def unjudged_limits(view: StudyView) -> list[str]:
    """Return a sentence about the limits that wait for a measurement of the default; nothing without any."""
    if not view.objective.awaited:
        return []
    return [sentence(why_unjudged(view.decision) if view.settled else view.decision.unbounded)]


def conditions(view: StudyView) -> list[tuple[str, str]]:
    """Return the workload, the system, versions, hardware and how the study was run, by name."""
    spec, found = view.spec, []
    system = spec.system
    if system is not None:
        rest = ", ".join(f"{k} {_plain(v)}" for k, v in system.options.items())
        found.append(("system", f"{system.use or 'a system'}{f' ({rest})' if rest else ''}"))
    else:
        found.append(("system", "a function of the caller's"))
    load = {k: spec.stated_load[k] for k in _USUAL_LOAD if k in spec.stated_load}
    if load:
        found.append(("workload", ", ".join(f"{k} {_plain(v)}" for k, v in load.items())))
    found += circumstances(view.trials).items()
    if spec.engine is not None:
        search = sorted(spec.engine.to_dict().items())
        found.append(("engine", ", ".join(f"{k} {_plain(v)}" for k, v in search)))
    found.append(("autotune", VERSION))
    nodes = dict.fromkeys(t.node for t in view.trials if t.node)
    found += [("nodes", ", ".join(nodes))] if nodes else []
    begun = [t.measurement.started_ns for t in view.trials if t.measurement and t.measurement.started_ns]
    if begun:
        first, last = (datetime.fromtimestamp(ns / 1e9, UTC) for ns in (min(begun), max(begun)))
        found.append(("measured between", f"{first:%Y-%m-%d %H:%M} and {last:%Y-%m-%d %H:%M} UTC"))
    found += [("ledger", view.ledger)] if view.ledger else []
    found += [("tracking", view.tracking)] if view.tracking else []
    return found


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        if set(value) == {"mean", "spread"}:  # of lengths
            spread = f" ± {_plain(value['spread'])}" if value["spread"] else ""
            return _plain(value["mean"]) + spread
        return " ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        left = f" and {len(value) - _MOST_VALUES} more" if len(value) > _MOST_VALUES else ""
        return " ".join(_plain(v) for v in value[:_MOST_VALUES]) + left
    return f"{value:g}" if isinstance(value, float) else str(value)


def time_rows(view: StudyView) -> list[tuple[str, str]]:
    """Return where the time of the trials went, by phase."""
    found = totals(trial_times(view))
    whole = sum(found.values()) or 1.0
    return [(name, f"{show_seconds(s)}, {100 * s / whole:.0f} %") for name, s in found.items()]


def cost_table(view: StudyView) -> Table | None:
    """Return what the trials cost by what they were for; ``None`` where no trial says when it ran."""
    found: Cost = cost(view)
    if not found.seconds:
        return None
    head = ["for", "trials", "time"]
    head += ["GPU time"] if found.gpu_seconds else []
    head += ["price"] if found.money else []
    rows = []
    for name, seconds in found.seconds.items():
        row = [name, str(found.trials[name]), show_seconds(seconds)]
        row += [show_seconds(found.gpu_seconds[name])] if found.gpu_seconds else []
        row += [f"{found.money[name]:.2f}"] if found.money else []
        rows.append(tuple(row))
    last = ["all", str(sum(found.trials.values())), show_seconds(sum(found.seconds.values()))]
    last += [show_seconds(sum(found.gpu_seconds.values()))] if found.gpu_seconds else []
    last += [f"{sum(found.money.values()):.2f}"] if found.money else []
    return Table("Cost", tuple(head), (*rows, tuple(last)))


def warning_table(view: StudyView) -> Table | None:
    """Return what is to be known of how the trials were measured; ``None`` without anything."""
    found = [note.removeprefix("warning: ").partition(": ") for note in notes(view.trials)]
    rows = tuple((which, text) for which, _, text in found)
    return Table(f"Warnings ({len(rows)})", ("trials", "warning"), rows, folded=True) if rows else None


def trial_columns(view: StudyView) -> list[TrialColumn]:
    """Return the columns of the table of trials."""
    parameters = [TrialColumn(name, _numeric(view, name)) for name in varying_parameters(view)]
    metrics = [TrialColumn(_headed(view, name), True) for name in view.stated.metrics]
    return [
        TrialColumn("#", True),
        TrialColumn("state"),
        *metrics,
        *parameters,
        TrialColumn("time", True),
        TrialColumn("note"),
    ]


def _numeric(view: StudyView, name: str) -> bool:
    values = [t.config[name] for t in view.trials if name in t.config]
    return bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _scale_of(view: StudyView, metric: str) -> tuple[float, str]:
    """Return what a metric's column is multiplied with, as in a terminal, and the unit that this gives."""
    found = [t.metrics[metric] for t in view.trials if metric in t.metrics]
    return common_scale(found, view.objective.shown_unit(metric))


def _headed(view: StudyView, metric: str) -> str:
    _, symbol = _scale_of(view, metric)
    return f"{metric}, {symbol}" if symbol else metric


def trial_rows(view: StudyView) -> list[TrialRow]:
    """Return the rows of the table of trials, in number order."""
    names = varying_parameters(view)
    numeric = {name: _numeric(view, name) for name in names}
    scales = {metric: _scale_of(view, metric)[0] for metric in view.stated.metrics}
    best = None if view.best is None else view.best.trial.key
    default = None if view.default is None else view.default.trial.key
    logs = _LOGS_MOST
    result = []
    for trial in view.trials:
        state = state_word(trial, view.objective)
        cells: list[tuple[str, float | str | None]] = [(str(trial.number), trial.number), (state, None)]
        for metric, scale in scales.items():
            found = trial.metrics.get(metric)
            shown = "" if found is None else "".join(number_cell(found, scale))
            cells.append((shown, "" if found is None else found.value))
        for name in names:
            value = trial.config.get(name)
            shown = "" if value is None else _value(value)
            cells.append((shown, "" if value is None else float(value)) if numeric[name] else (shown, None))
        seconds = 0.0 if trial.measurement is None else trial.measurement.seconds
        cells.append((show_seconds(seconds), seconds) if seconds > 0 else ("", ""))
        role = [view.best_role] if trial.key == best else []
        role += ["default"] if trial.key == default else []
        cells.append((", ".join(dict.fromkeys([*role, note_of(trial, view.objective)])), None))
        log = trial.failure.log_tail if trial.failure is not None else ""
        if not log and logs > 0 and (log := _log_end(trial)):
            logs -= 1
        result.append(
            TrialRow(
                trial.number,
                state,
                trial.key == best,
                tuple(cells),
                show_config(trial.config),
                command_of(trial),
                trial.failure.message if trial.failure is not None else trial.doubt or trial.shortfall,
                "\n".join(log.splitlines()[-_LOG_LINES:])[-_LOG_BYTES:],
                *_run(view, trial),
            )
        )
    return result


def _value(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else show(value)


def _run(view: StudyView, trial: Trial) -> tuple[str, str]:
    url = view.run_urls.get(trial.number, "")
    if url.startswith(("http://", "https://")):
        return url, ""
    if not view.tracking:
        return "", ""
    return "", f"in MLflow: run trial-{trial.number:04d}; `autotune ui {view.name}` opens it"


def command_of(trial: Trial) -> str:
    """Return the command that a trial launched, secrets masked; empty where nothing was launched."""
    argv: Any = () if trial.measurement is None else trial.measurement.facts.get("argv") or ()
    return shlex.join(str(word) for word in redact_words(list(argv)))


def _log_end(trial: Trial) -> str:
    """Return the end of the log that an attempt left; empty where it cannot be read any more."""
    name = "" if trial.measurement is None else trial.measurement.artifacts.get(LOG_NAME, "")
    if not name or not Path(name).is_file():
        return ""
    try:
        with Path(name).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_BYTES))
            return file.read(_LOG_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def heading_of(view: StudyView) -> str:
    """Return the state of the study and how much was measured, on one line."""
    measured = sum(t.measurement is not None and t.failure is None for t in view.trials)
    spent = sum(t.measurement.seconds for t in view.trials if t.measurement is not None)
    time = f" in {show_seconds(spent)}" if spent > 0 else ""
    why = f"; stopped before its budget: {view.stopped}" if view.stopped else ""
    return f"{view.state}, {counted(len(view.trials), 'trial')}, {measured} measured{time}{why}"


def failure_table(view: StudyView) -> Table | None:
    """Return failures by cause and message with their trials; ``None`` without any."""
    groups = failure_groups(view.trials)
    rows = tuple(
        (
            group.cause.value.replace("_", " "),
            str(group.count),
            " ".join(group.message.split())[:300],
            ", ".join(str(n) for n in group.trials[:12]) + (" ..." if group.count > 12 else ""),
        )
        for group in groups
    )
    return Table("Failures", ("cause", "trials", "message", "which"), rows) if groups else None
