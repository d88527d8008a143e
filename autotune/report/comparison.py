"""Studies side by side, as text and as data."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.analysis.side_by_side import Compared, Comparison
from autotune.core.cells import fill, padded
from autotune.core.decision import Candidate
from autotune.core.estimate_text import INTERVAL, sentence_unit, show_estimate
from autotune.core.improvement_text import show_change
from autotune.core.objective import Limit
from autotune.core.units import counted
from autotune.core.verdict import show_chance
from autotune.report.summary import metrics_json
from autotune.report.text import WIDTH, show_config
from autotune.report.verification import change_text

_LABEL = 20  # columns of what a row is of, a third of the width at most
_COLUMN = 16  # columns that a study needs to be read beside others
_GAP = "  "


def comparison_lines(found: Comparison, *, width: int = WIDTH) -> list[str]:
    """Return the studies as columns, then what differs."""
    rows = [("", [one.label for one in found.studies])]
    rows += [("state", [_state(one) for one in found.studies])]
    rows += [("objective", [str(one.stated) for one in found.studies])]
    rows += [("configurations", [one.count for one in found.studies])]
    rows += [("best", [_best(one) for one in found.studies])]
    rows += [("confirmed", [_confirmed(one) for one in found.studies])]
    for name in found.objective.metrics:
        unit = _unit(found, name)
        values = [_value(one, name, unit) for one in found.studies]
        limits = [limit for limit in found.objective.limits if limit.metric == name]
        for limit in limits:
            rows.append((str(limit), values))
            rows.append(("  chance", [_chance(one, limit) for one in found.studies]))
        if not limits:
            rows.append((name, values))
        changes = [next((c for c in one.changes if c.metric == name), None) for one in found.studies[1:]]
        if any(changes):
            shown = ["" if c is None else show_change(c.gain) for c in changes]
            rows.append((f"  to {found.studies[0].label}", ["", *shown]))
    goal = found.objective.goals[0].metric
    unit = _unit(found, goal)
    rows.append((f"default {goal}", [_default(one, goal, unit) for one in found.studies]))
    lines = fill(f"best under the limits of {found.studies[0].label}: {found.objective}", width)
    for one in found.studies:
        if one.label != one.reference:
            lines += fill(f"{one.label} is {one.reference}", width)
    for block in _blocks(len(found.studies), width):
        lines += ["", *_columns([(label, [cells[i] for i in block]) for label, cells in rows], width)]
    lines.append("")
    if any("±" in line for line in lines):
        lines += fill(INTERVAL, width)
    for one in found.studies[1:]:
        lines += fill(f"{one.label} differs from {found.studies[0].label}:", width)
        for text in one.differs or ("nothing that is known",):
            lines += [f"  {line}" for line in fill(text, width - 2)]
    return lines


def _blocks(count: int, width: int) -> list[list[int]]:
    """Return the studies that stand side by side: the first in each block, as the base of the others."""
    beside = max(1, (width - _label_width(width)) // (len(_GAP) + _COLUMN) - 1)
    return [[0, *range(i, min(i + beside, count))] for i in range(1, count, beside)]


def _label_width(width: int) -> int:
    return min(_LABEL, width // 3)


def _columns(rows: Sequence[tuple[str, Sequence[str]]], width: int) -> list[str]:
    """Return rows with their cells folded to equal columns."""
    first, count = _label_width(width), len(rows[0][1])
    each = (width - first) // count - len(_GAP)
    sizes = [first, *[each] * count]
    lines = []
    for label, cells in rows:
        if label and not any(cells):
            continue
        folded = [fill(cell, size) for cell, size in zip((label, *cells), sizes, strict=True)]
        for i in range(max(len(cell) for cell in folded)):
            parts = [cell[i] if i < len(cell) else "" for cell in folded]
            lines.append(_GAP.join(map(padded, parts, sizes)).rstrip())
    return lines


def _state(one: Compared) -> str:
    return f"{one.view.state}, {counted(len(one.view.trials), 'trial')}"


def _best(one: Compared) -> str:
    if one.shown is None:
        return _unmeasured(one) or one.view.decision.unbounded or "nothing keeps the limits"
    found = one.shown.contender
    text = f"trial {found.trial.number}: {show_config(found.config)}"
    return text if one.best is not None else f"nothing keeps the limits; nearest: {text}"


def _unmeasured(one: Compared) -> str:
    return f"{', '.join(one.unjudged)} not measured" if one.unjudged else ""


def _confirmed(one: Compared) -> str:
    if one.best is None:
        return ""
    launches = one.best.contender.launches
    return counted(launches, "fresh launch") if one.best.contender.confirmed else "no"


def _unit(found: Comparison, name: str) -> str:
    """Return the unit that a metric is shown in: its limit's, else what reads best for the first study."""
    if symbol := found.objective.symbol_of(name):
        return symbol
    for one in found.studies:
        for side in (None if one.shown is None else one.shown.contender, one.view.default):
            if side is not None and name in side.metrics:
                return sentence_unit(side.metrics[name])
    return ""


def _value(one: Compared, name: str, unit: str) -> str:
    contender = None if one.shown is None else one.shown.contender
    if contender is None or name not in contender.metrics:
        return "" if name in one.measured else "not measured"
    return show_estimate(contender.metrics[name], one.view.half_width(contender, name), unit)


def _chance(one: Compared, limit: Limit) -> str:
    """Return the chance that a limit holds, a relative one by what the study's own default measured."""
    own = (x for x in one.view.objective.limits if (x.metric, x.upper) == (limit.metric, limit.upper))
    chance = None if one.shown is None else one.shown.chances.get(str(next(own, limit)))
    return "" if chance is None else show_chance(chance)


def _default(one: Compared, name: str, unit: str) -> str:
    default = one.view.default
    if default is None or name not in default.metrics:
        return "not measured"
    return show_estimate(default.metrics[name], one.view.half_width(default, name), unit)


def regressions(found: Comparison, tolerance: float) -> list[tuple[str, str]]:
    """Return what is worse in each study than in the first: a level of an annotation, and a sentence.

    Args:
        found: The studies.
        tolerance: Part by which a metric may be worse.
    """
    first, lines = found.studies[0], []
    for one in found.studies[1:]:
        if one.best is None:
            unknown = _unmeasured(one) or one.view.decision.unbounded
            why = unknown or f"nothing keeps the limits of {first.label}"
            lines.append(("error", f"{one.label}: {why}"))
        for change in one.changes:
            status = change.status(tolerance, found.objective.confidence)
            if status in ("worse", "broken", "unsettled"):
                level = "warning" if status == "unsettled" else "error"
                lines.append(
                    (level, f"{one.label} beside {first.label}: {change_text(change, status, tolerance)}")
                )
    return lines


def comparison_json(found: Comparison) -> dict[str, object]:
    """Return the studies as plain JSON data."""
    return {"schema": 1, "objective": found.objective.to_dict(), "studies": [_json(s) for s in found.studies]}


def _json(one: Compared) -> dict[str, object]:
    return {
        "label": one.reference,
        "study": one.view.name,
        "ledger": one.view.ledger,
        "state": one.view.state,
        "trials": len(one.view.trials),
        "objective": one.stated.to_dict(),
        "configurations": one.count,
        "best": _candidate_json(one.best),
        "nearest": _candidate_json(one.nearest),
        "default": None if one.view.default is None else metrics_json(one.view.default.metrics),
        "changes": [
            {
                "metric": c.metric,
                "improvement": {
                    "value": c.gain.value,
                    "low": c.gain.low,
                    "high": c.gain.high,
                    "scale": "ratio" if c.gain.relative else "difference",
                },
            }
            for c in one.changes
        ],
        "differs": list(one.differs),
    }


def _candidate_json(found: Candidate | None) -> dict[str, object] | None:
    if found is None:
        return None
    contender = found.contender
    return {
        "number": contender.trial.number,
        "config": dict(contender.config),
        "metrics": metrics_json(contender.metrics),
        "launches": contender.launches,
        "confirmed": contender.confirmed,
        "chances": dict(found.chances),
    }
