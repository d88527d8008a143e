"""Studies side by side, as text and as data."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from autotune.analysis.side_by_side import Compared, Comparison
from autotune.core.estimate_text import INTERVAL, show_estimate
from autotune.core.improvement_text import show_change
from autotune.core.units import counted
from autotune.core.verdict import show_chance
from autotune.report.summary import metrics_json
from autotune.report.text import WIDTH, show_config, wrap
from autotune.report.verification import change_text

_LABEL = 20  # columns of what a row is of
_PIECE = re.compile(r"[^_.=/]*[_.=/]+|[^_.=/]+")


def comparison_lines(found: Comparison, *, width: int = WIDTH) -> list[str]:
    """Return the studies as columns, then what differs."""
    rows = [("", [one.label for one in found.studies])]
    rows += [("state", [_state(one) for one in found.studies])]
    rows += [("objective", [str(one.stated) for one in found.studies])]
    rows += [("configurations", [one.count for one in found.studies])]
    rows += [("best", [_best(one) for one in found.studies])]
    rows += [("confirmed", [_confirmed(one) for one in found.studies])]
    limits = {limit.metric: str(limit) for limit in found.objective.limits}
    for name in found.objective.metrics:
        halves = _halves(found, name)
        values = [_value(one, name, half) for one, half in zip(found.studies, halves, strict=True)]
        rows.append((limits.get(name, name), values))
        if name in limits:
            rows.append(("  chance", [_chance(one, limits[name]) for one in found.studies]))
        changes = [next((c for c in one.changes if c.metric == name), None) for one in found.studies[1:]]
        if any(changes):
            shown = ["" if c is None else show_change(c.gain) for c in changes]
            rows.append((f"  to {found.studies[0].label}", ["", *shown]))
    goal = found.objective.goals[0].metric
    rows.append((f"default {goal}", [_default(one, goal) for one in found.studies]))
    lines = wrap(f"best under the limits of {found.studies[0].label}: {found.objective}", width)
    lines += ["", *_columns(rows, width), ""]
    if any("±" in line for line in lines):
        lines += wrap(INTERVAL, width)
    for one in found.studies[1:]:
        lines += wrap(f"{one.label} differs from {found.studies[0].label}:", width)
        for text in one.differs or ("nothing that is known",):
            lines += [f"  {line}" for line in wrap(text, width - 2)]
    return lines


def _columns(rows: Sequence[tuple[str, Sequence[str]]], width: int) -> list[str]:
    """Return rows with their cells folded to equal columns."""
    count = len(rows[0][1])
    each = max(12, (width - _LABEL) // count - 2)
    lines = []
    for label, cells in rows:
        folded = [_folded(label, _LABEL), *(_folded(cell, each) for cell in cells)]
        for i in range(max(len(cell) for cell in folded)):
            parts = [cell[i] if i < len(cell) else "" for cell in folded]
            sizes = [_LABEL, *[each] * count]
            lines.append(
                "  ".join(part.ljust(size) for part, size in zip(parts, sizes, strict=True)).rstrip()
            )
    return lines


def _folded(text: str, width: int) -> list[str]:
    """Return a text in lines of a width; a name that fits in none is broken after its marks."""
    lines, line = [], text[: len(text) - len(text.lstrip())]
    for word in text.split():
        pieces = [word] if len(word) <= width - 2 else _PIECE.findall(word)
        for at, piece in enumerate(cut for one in pieces for cut in textwrap.wrap(one, width - 2)):
            glue = "" if at or not line.strip() else " "
            if line.strip() and len(line) + len(glue) + len(piece) > width:
                lines.append(line)
                line = f"  {piece}"
            else:
                line += glue + piece
    return [*lines, line]


def _state(one: Compared) -> str:
    return f"{one.view.state}, {counted(len(one.view.trials), 'trial')}"


def _best(one: Compared) -> str:
    if one.best is None:
        return "nothing keeps the limits"
    return f"trial {one.best.contender.trial.number}: {show_config(one.best.contender.config)}"


def _confirmed(one: Compared) -> str:
    if one.best is None:
        return ""
    launches = one.best.contender.launches
    return f"{launches} fresh launch{'' if launches == 1 else 'es'}" if one.best.contender.confirmed else "no"


def _halves(found: Comparison, name: str) -> list[float | None]:
    """Return the half-widths of a metric: those behind the change shown beside them, else a study's own.

    The first study's are those of the first change.
    """
    changes = [next((c for c in one.changes if c.metric == name), None) for one in found.studies]
    first = next((c for c in changes if c is not None), None)
    known = [None if first is None else first.then.half]
    known += [None if c is None else c.now.half for c in changes[1:]]
    sides = zip(found.studies, known, strict=True)
    return [_own_half(one, name) if half is None else half for one, half in sides]


def _own_half(one: Compared, name: str) -> float | None:
    return None if one.best is None else one.view.half_width(one.best.contender, name)


def _value(one: Compared, name: str, half: float | None) -> str:
    contender = None if one.best is None else one.best.contender
    if contender is None or name not in contender.metrics:
        return "not measured" if one.best is None or name not in one.measured else ""
    return show_estimate(contender.metrics[name], half, one.view.objective.symbol_of(name))


def _chance(one: Compared, limit: str) -> str:
    chance = None if one.best is None else one.best.chances.get(limit)
    return "" if chance is None else show_chance(chance)


def _default(one: Compared, name: str) -> str:
    default = one.view.default
    if default is None or name not in default.metrics:
        return "not measured"
    half, symbol = one.view.half_width(default, name), one.view.objective.symbol_of(name)
    return show_estimate(default.metrics[name], half, symbol)


def regressions(found: Comparison, tolerance: float) -> list[tuple[str, str]]:
    """Return what is worse in each study than in the first: a level of an annotation, and a sentence.

    Args:
        found: The studies.
        tolerance: Part by which a metric may be worse.
    """
    first, lines = found.studies[0], []
    for one in found.studies[1:]:
        if one.best is None:
            lines.append(("error", f"{one.label}: nothing keeps the limits of {first.label}"))
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
    best = None if one.best is None else one.best.contender
    return {
        "label": one.label,
        "study": one.view.name,
        "ledger": one.view.ledger,
        "state": one.view.state,
        "trials": len(one.view.trials),
        "objective": one.stated.to_dict(),
        "configurations": one.count,
        "best": None
        if best is None or one.best is None
        else {
            "number": best.trial.number,
            "config": dict(best.config),
            "metrics": metrics_json(best.metrics),
            "launches": best.launches,
            "confirmed": best.confirmed,
            "chances": dict(one.best.chances),
        },
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
