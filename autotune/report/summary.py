"""What came of a study: a text for people, and the same as data for machines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from autotune.analysis.study_view import TIME_IS_OVER, StudyView, counts
from autotune.core.assessment import Assessment, ModelQuality, describe
from autotune.core.cells import cell_len, cut, fill, padded
from autotune.core.commands import stored_command
from autotune.core.copy_state import CopyState
from autotune.core.estimate_text import INTERVAL, show_estimate
from autotune.core.failures import failure_counts, failure_groups, failure_lines
from autotune.core.measurement import Estimate, Measurement
from autotune.core.objective import Objective
from autotune.core.ranking import Contender, judged
from autotune.core.surprise import surprises
from autotune.core.trial import Reason, Trial, config_key
from autotune.core.units import counted
from autotune.report.tables import trial_table
from autotune.report.text import WIDTH, copyable, show_config, show_seconds, wrap

_MOST_NAMED = 8  # trials with a warning
_MESSAGE_LINES = 3  # of a failure: a message of a server can be a page
_NUMBER = re.compile(r"(?<![A-Za-z_])\d+(?:\.\d+)?")  # a digit of a name is no number
_PROCESS = re.compile(r"[,:] .*\(# cores\)")

SCHEMA = 1
"""Version of the data that :func:`summary_json` returns; keys may be added, none is changed or removed."""

JSON_KEYS = {
    "schema": "version of this data",
    "study": "name",
    "state": "such as running, completed, interrupted",
    "objective": "with the keys of a study file",
    "trials": "every trial, see trial_json; feasible is null where it is not known",
    "best": "number, config, metrics (pooled over the launches that count), launches, confirmed; or null",
    "recommended": "whether the best keeps every limit as surely as asked; else it is the nearest only",
    "default": "the same of the default configuration; or null where it was not measured",
    "improvement": "of the best over the default: ratio, low, high (above 1 is better), scale; or null",
    "verdict": "kind, text, a line for each limit and for each goal that is only a bound, and what would "
    "settle what is left open, or null",
    "decision": "confidence asked for; winner and nearest by number; of every candidate its number, score "
    "(expected goal, more is better), chances that the limits hold, fresh launches; null while running",
    "binding_limit": "while nothing is feasible, which limit binds, or cannot be judged; else null",
    "stopped": "why the search ended before its budget; null if it did not",
    "warnings": "what to know of how the trials were measured, such as other programs that were busy",
    "drift": "of the default configuration through the study, see Drift; null before it was measured again",
    "pareto_front": "numbers of the trials that no other one beats in every goal",
    "counts": "trials by state",
    "failures": "failed trials by cause",
    "failure_messages": "cause, message, trials and count of each distinct failure",
    "budget": "trials, seconds",
    "ledger": "path",
    "tracking": "address of the tracking store; empty without one",
    "ledger_copy": "newest copy of the ledger in the store: generation (0: none), copied_ns, results since, "
    "problem; null where none was tried",
}
"""What the keys of :func:`summary_json` mean."""


def summary(view: StudyView, *, width: int = WIDTH) -> str:
    """Return the table of trials, the best configuration and the verdict as text."""
    lines = [
        *wrap(heading(view), width),
        *fill(str(view.stated), width),
        "",
        *trial_table(view, width=width),
        *doubt_lines(view, width=width),
        "",
    ]
    lines += best_lines(view, width=width)
    if view.stopped:
        lines += wrap(f"stopped before its budget: {view.stopped}", width)
    if view.drift is not None and view.drift.certain:
        lines += wrap(str(view.drift), width)
    for note in notes(view.trials):
        lines += wrap(note, width)
    if view.copies is not None:
        lines += wrap(copy_text(view.copies, view.now_ns), width)
    return "\n".join(lines + folded_failures(view.trials, width=width))


def copy_text(copies: CopyState, now_ns: int) -> str:
    """Return how old the newest copy of the ledger is, and what is on this machine only."""
    age = f"{show_seconds(max(0.0, (now_ns - copies.copied_ns) / 1e9))} old"
    text = f"copy of the ledger in MLflow: {age if copies.generation else 'none yet'}"
    if copies.since:
        text += f"; {counted(copies.since, 'result')} since on this machine only"
    return text + (f": {copies.problem}" if copies.problem else "")


def folded_failures(trials: Sequence[Trial], *, width: int = WIDTH) -> list[str]:
    """Return :func:`autotune.core.failures.failure_lines` folded to a width, long messages cut."""
    found = failure_lines(trials)
    if not found:
        return []
    lines = wrap(found[0], width)
    for text in found[1:]:
        lines += [cut(f"  {line}", width) for line in wrap(text, width - 2, indent="    ")[:_MESSAGE_LINES]]
    return lines


def heading(view: StudyView) -> str:
    """Return one line: name, state, count of trials, time spent measuring."""
    measured = counts(view.trials)["COMPLETED"]
    spent = sum(t.measurement.seconds for t in view.trials if t.measurement is not None)
    text = f"study {view.name}: {view.state}, {counted(len(view.trials), 'trial')}, {measured} measured"
    if spent > 0:
        text += f" in {show_seconds(spent)}"
    return text


def best_lines(view: StudyView, *, width: int = WIDTH) -> list[str]:
    """Return the best configuration with its metrics beside the default's, and the verdict."""
    best = view.best
    if best is None:
        return _no_best(view, width)
    default = view.default
    which = ""
    if config_key(best.config) == config_key(view.default_config):
        default, which = None, ", the default"
    found = "best" if view.recommends else "nearest"
    lines = fill(
        f"{found}: trial {best.trial.number}{which}: {show_config(best.config, view.space.names)}", width
    )
    rows = []
    for name in view.objective.metrics:
        base = _shown(default, name, view)
        cells = (_shown(best, name, view), base and f"default {base}")
        bounds = [str(limit) for limit in view.objective.limits if limit.metric == name]
        rows += [(label, *cells) for label in bounds or [name]]
    widths = [max(cell_len(row[i]) for row in rows) for i in range(2)]
    lines += [line for row in rows for line in _metric_lines(*row, widths, width)]
    if len(view.objective.goals) > 1:
        lines += _front_lines(view, width)
    if any("±" in line for line in lines):
        lines += wrap(INTERVAL, width)
    if not view.settled:
        return [*lines, *wrap(f"the best so far, as measured: {view.verdict.text}", width)]
    return lines + _verdict_lines(view, width)


def _metric_lines(name: str, found: str, base: str, widths: Sequence[int], width: int) -> list[str]:
    """Return a metric and its default's in columns, or below each other where these do not fit."""
    line = f"  {padded(name, widths[0])}  {padded(found, widths[1])}  {base}".rstrip()
    if cell_len(line) <= width:
        return [line]
    lines, below = [f"  {name}  {found}"], [base]
    if cell_len(lines[0]) > width:
        lines, below = fill(f"  {name}", width), [found, base]
    return [*lines, *(f"    {part}" for text in below if text for part in fill(text, width - 4))]


def _front_lines(view: StudyView, width: int) -> list[str]:
    """Return the front with the error of each goal, what was confirmed of it, and ties as ties."""
    if not view.settled:
        numbers = ", ".join(str(trial.number) for trial in view.pareto_front)
        found = f"trials {numbers}" if numbers else "none while a limit cannot be judged"
        return wrap(f"pareto front: {found}", width)
    decision, front = view.decision, view.decision.front
    corners = {c.key for c in decision.corners}
    lines = ["pareto front (* its ends and its knee):"]
    for one in front:
        shown = ", ".join(
            f"{goal.metric} {_shown(one.contender, goal.metric, view)}" for goal in view.objective.goals
        )
        n = one.contender.launches
        fresh = counted(n, "fresh launch") if one.contender.confirmed else "not confirmed"
        ties = [o.contender.trial.number for o in front if o.key != one.key and decision.tied(one, o)]
        tied = f", tied with {', '.join(f'trial {n}' for n in sorted(ties))}" if ties else ""
        mark = "*" if one.key in corners else " "
        text = f"{mark} trial {one.contender.trial.number}: {shown} ({fresh}{tied})"
        lines += [f"  {line}" for line in fill(text, width - 2, indent="    ")]
    return lines


def _verdict_lines(view: StudyView, width: int) -> list[str]:
    lines = wrap(f"verdict: {view.verdict.text}", width)
    if view.no_model:
        lines += wrap(f"{view.no_model}; decided by the measurements alone", width)
    for text in view.verdict.limits:
        lines += [f"  {line}" for line in wrap(text, width - 2)]
    return lines + copyable(settlement_text(view), width) if view.verdict.settlement else lines


def settlement_text(view: StudyView) -> str:
    """Return which launches would tell what the verdict leaves open, and their time; empty if none."""
    found = view.verdict.settlement
    if found is None:
        return ""
    seconds = found.seconds or 0.0
    took = f", about {show_seconds(seconds)}" if seconds >= 1 else ""
    if not found.enough:
        return f"even {found.launches} fresh launches each{took}, {found.effect}"
    if view.resumable:
        more, first = more_time(view, 2 * (found.launches or view.confirm)), _rest_of_search(view)
        took += f", after {counted(first, 'more trial')} of the search" if first and more else ""
        return f"`{resume_command(view, *found.options, *more, *view.options)}` {found.effect}{took}"
    launches = f"{found.launches} fresh launches each" if found.launches else "going on with the study"
    return f"{launches} {found.effect}{took}"


def more_time(view: StudyView, launches: int = 0) -> tuple[str, ...]:
    """Return the option that gives a study whose time is over more of it; nothing of any other.

    Args:
        view: The study.
        launches: Launches after the search, which it must be enough for at the rate so far.
    """
    if view.budget_seconds is None or not view.stopped.startswith(TIME_IS_OVER):
        return ()
    measured = max(1, sum(trial.state.finished for trial in view.trials))
    times = 2 + ((_rest_of_search(view) + launches) // measured if launches else 0)
    return ("--set", f"budget.time={times * view.budget_seconds:g} s")


def _rest_of_search(view: StudyView) -> int:
    """Return the trials of the budget that the search has not measured: with more time they come first."""
    return max(0, view.space.searchable(view.budget_trials or 0) - view.finished)


def resume_command(view: StudyView, *options: str) -> str:
    """Return the command that goes on with a study."""
    return command_on(view, "resume", *options)


def command_on(view: StudyView, name: str, *options: str) -> str:
    """Return a command of ours on a study, with the store where it is not the usual one."""
    return stored_command(name, view.name, view.ledger, *options)


def _no_best(view: StudyView, width: int) -> list[str]:
    """Return what there is to say where nothing is recommended."""
    nearest = view.decision.nearest if view.settled else None
    if nearest is None and view.settled and view.decision.awaited and view.decision.contenders:
        return _verdict_lines(view, width)
    if nearest is None:
        return wrap(view.binding or "nothing measured yet", width)
    lines = wrap(view.binding, width) if view.binding else []
    shown = show_config(nearest.contender.config, view.space.names)
    lines += fill(f"nearest: trial {nearest.contender.trial.number}: {shown}", width)
    return lines + _verdict_lines(view, width)


def _shown(side: Contender | None, metric: str, view: StudyView) -> str:
    """Return a configuration's metric with its interval; empty where it was not measured."""
    if side is None or metric not in side.metrics:
        return ""
    return show_estimate(side.metrics[metric], view.half_width(side, metric), view.shown_unit(metric))


def doubt_lines(view: StudyView, *, width: int = WIDTH) -> list[str]:
    """Return what the measurements lack of the precision or the steadiness asked for, in words."""
    short = [t for t in view.trials if t.shortfall]
    if not short:
        return []
    doubtful = [t for t in short if t.doubt and not view.objective.surely_broken(t.metrics)]
    lines = wrap(f"~ precision asked for not reached: {_numbers(short)}", width)
    if doubtful:
        again = [t for t in view.trials if t.suggestion.reason is Reason.REMEASURE]
        text = f"doubtful: {', '.join(_reasons(doubtful))}"
        text += "; no limit is judged on such a trial alone" if view.objective.limits else ""
        lines += wrap(text + (f"; measured again: {_numbers(again)}" if again else ""), width)
    return lines


def _reasons(trials: Sequence[Trial]) -> list[str]:
    """Return the doubtful trials with their reasons, those together that differ by their numbers only."""
    kinds: dict[str, list[Trial]] = {}
    for trial in trials:
        kinds.setdefault(_NUMBER.sub("#", trial.doubt), []).append(trial)
    return [
        f"{_numbers(found)} ({'' if len({t.doubt for t in found}) == 1 else 'such as '}{found[-1].doubt})"
        for found in kinds.values()
    ]


def _numbers(trials: Sequence[Trial]) -> str:
    shown = ", ".join(str(t.number) for t in trials[:_MOST_NAMED])
    more = f" and {len(trials) - _MOST_NAMED} more" if len(trials) > _MOST_NAMED else ""
    return f"trial{'s' if len(trials) > 1 else ''} {shown}{more}"


def notes(trials: Sequence[Trial]) -> list[str]:
    """Return what a person should know of how the trials were measured: one line for each kind of warning.

    Warnings that differ by their numbers or by the names of busy processes only are of one kind; its line has
    the latest text.
    """
    kinds: dict[str, tuple[dict[int, Trial], str]] = {}
    for trial in trials:
        for note in () if trial.measurement is None else warnings_of(trial.measurement):
            kind = _PROCESS.sub("", _NUMBER.sub("#", note))
            kinds[kind] = ({**kinds.get(kind, ({}, ""))[0], trial.number: trial}, note)
    return [f"warning: {_numbers(list(found.values()))}: {note}" for found, note in kinds.values()]


def warnings_of(measurement: Measurement) -> list[str]:
    """Return the warnings among the facts of a measurement."""
    result = []
    for part in ("system", "measured"):
        facts = measurement.facts.get(part)
        found = facts.get("warnings") if isinstance(facts, Mapping) else None
        result += [str(note) for note in found] if isinstance(found, list | tuple) else []
    return result


def summary_json(view: StudyView) -> dict[str, object]:
    """Return the study as plain JSON data; :data:`JSON_KEYS` says what the keys mean."""
    gain = view.verdict.improvement if view.settled else view.lead
    return {
        "schema": SCHEMA,
        "study": view.name,
        "state": view.state,
        "objective": view.stated.to_dict(),
        "trials": [trial_json(trial, view) for trial in view.trials],
        "best": _contender_json(view.best, view),
        "recommended": view.recommends,
        "default": _contender_json(view.default, view),
        "improvement": None
        if gain is None
        else {
            "ratio": gain.value if gain.relative else None,
            "difference": None if gain.relative else gain.value,
            "low": gain.low,
            "high": gain.high,
            "scale": "ratio" if gain.relative else "difference",
        },
        "verdict": {
            "kind": view.verdict.kind,
            "text": view.verdict.text,
            "limits": list(view.verdict.limits),
            "settle": settlement_text(view) or None,
        },
        "decision": _decision_json(view),
        "binding_limit": view.binding or None,
        "stopped": view.stopped or None,
        "warnings": notes(view.trials),
        "drift": None if view.drift is None else view.drift.to_dict(),
        "pareto_front": [trial.number for trial in view.pareto_front],
        "counts": counts(view.trials),
        "failures": failure_counts(view.trials),
        "failure_messages": [group.to_dict() for group in failure_groups(view.trials)],
        "budget": {"trials": view.budget_trials, "seconds": view.budget_seconds},
        "ledger": view.ledger,
        "tracking": view.tracking,
        "ledger_copy": None if view.copies is None else asdict(view.copies),
    }


def trial_json(trial: Trial, view: StudyView) -> dict[str, object]:
    """Return one trial as plain JSON data; ``seconds`` is null while it is unfinished."""
    outcome = view.objective.score(trial.metrics) if trial.metrics else None
    failure = trial.failure
    return {
        "number": trial.number,
        "state": trial.state.value,
        "config": dict(trial.config),
        "metrics": metrics_json(trial.metrics),
        "feasible": None if outcome is None else judged(outcome.feasible, view.objective),
        "violations": {} if outcome is None else dict(outcome.violations),
        "failure": None
        if failure is None
        else {"cause": failure.cause.value, "message": failure.message, "log_tail": failure.log_tail},
        "reason": trial.suggestion.reason.value,
        "engine": trial.suggestion.engine,
        "predicted": metrics_json(trial.suggestion.predicted),
        "p_feasible": trial.suggestion.p_feasible,
        "surprise": surprises(trial),
        "doubt": trial.doubt or None,
        "shortfall": trial.shortfall or None,
        "seconds": None if trial.measurement is None else trial.measurement.seconds,
        "attempts": trial.attempts,
        "node": trial.node,
    }


def model_lines(
    assessment: Assessment | None,
    quality: Mapping[str, ModelQuality] | None,
    missing: str = "",
    *,
    width: int = WIDTH,
) -> list[str]:
    """Return what the engine's model says of what is left, and how good the model is.

    Args:
        assessment: Assessment of what is left to gain; ``None`` without one.
        quality: Quality of the model by metric; ``None`` without one.
        missing: Reason why no model can be made here; empty if none is known.
        width: Width of the terminal.
    """
    if missing:
        return wrap(f"{missing}; what is left to gain is not estimated", width)
    lines = [] if assessment is None or assessment.bound is None else wrap(assessment.reason, width)
    return lines + (wrap(f"model: {describe(quality)}", width) if quality else [])


def metrics_json(metrics: Mapping[str, Estimate]) -> dict[str, dict[str, object]]:
    """Return estimates as ``{name: {value, sem, n, unit}}``."""
    return {name: estimate.to_dict() for name, estimate in metrics.items()}


def _contender_json(contender: Contender | None, view: StudyView) -> dict[str, object] | None:
    if contender is None:
        return None
    return {
        "number": contender.trial.number,
        "config": dict(contender.config),
        "metrics": metrics_json(contender.metrics),
        "feasible": judged(contender.feasible, view.objective),
        "launches": contender.launches,
        "confirmed": contender.confirmed,
    }


def _decision_json(view: StudyView) -> dict[str, object] | None:
    if not view.settled:
        return None
    decision = view.decision
    return {
        "confidence": decision.objective.confidence,
        "winner": None if decision.winner is None else decision.winner.contender.trial.number,
        "nearest": None if decision.nearest is None else decision.nearest.contender.trial.number,
        "candidates": [
            {
                "number": c.contender.trial.number,
                "score": c.score,
                "chances": dict(c.chances),
                "fresh": c.fresh,
                "confirmed": c.contender.confirmed,
            }
            for c in decision.candidates
        ],
    }


def measurement_lines(metrics: Mapping[str, Estimate], objective: Objective) -> list[str]:
    """Return one aligned line per metric: name, estimate in the unit of its limit, count."""
    size = max((cell_len(name) for name in metrics), default=0)
    shown = {name: show_estimate(e, symbol=objective.symbol_of(name)) for name, e in metrics.items()}
    wide = max((cell_len(text) for text in shown.values()), default=0)
    lines = [f"  {padded(name, size)}  {padded(shown[name], wide)}  n={e.n}" for name, e in metrics.items()]
    return [*lines, INTERVAL] if any("±" in text for text in shown.values()) else lines
