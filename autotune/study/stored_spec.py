"""A study as a ledger describes it, judged: a ledger may be whole and still come from anybody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.core.arguments import read_count
from autotune.core.json_object import JsonObject
from autotune.core.objective import Objective
from autotune.core.section import mapping
from autotune.core.space import Space
from autotune.core.units import parse_quantity
from autotune.errors import LedgerError, SpecError, under
from autotune.ledger import StudyRow

ORDER = "parameter_order"
"""Note of a study: its parameters in the order of its file; the ledger sorts the keys of what it stores."""

_SECTIONS = (
    "system",
    "workload",
    "quality",
    "resources",
    "deadlines",
    "tracking",
)  # read where they are used
_HINT = "nothing of this version wrote that; the other studies of the ledger can be read"


@dataclass(frozen=True)
class StoredSpec:
    """The file of a study as its ledger holds it, as values.

    Args:
        space: Search space, its parameters in the order of the file where that is known.
        objective: Objective.
        engine: Section of the engine, without its seed.
        seed: Seed of the engine.
        trials: Trials planned; ``None`` where that is not said, as with the others.
        seconds: Seconds planned.
        confirm: Launches that confirm, of each of the two.
    """

    space: Space
    objective: Objective
    engine: dict[str, Any]
    seed: int
    trials: int | None
    seconds: float | None
    confirm: int


def read_stored_spec(ledger: Path | None, row: StudyRow) -> StoredSpec:
    """Return what a study of a ledger is.

    Args:
        ledger: Path of the ledger, for messages; ``None`` of one in memory.
        row: Study.

    Raises:
        LedgerError: A part of it is wrong; names the ledger, the study and the part.
    """
    with _judged(ledger, row.name):
        spec = row.spec
        with under("engine"):
            engine = dict(mapping(spec.get("engine"), "an engine"))
            if not isinstance(engine.get("use", ""), str):
                raise SpecError(f"use must be a name, found {engine['use']!r}", path=("use",))
        with under("engine", "seed"):
            seed = read_count(engine.pop("seed", row.seed), "seed")
        with under("budget"):
            budget = mapping(spec.get("budget") or {}, "a budget")
        for name in _SECTIONS:
            with under(name):
                mapping(spec.get(name) or {}, "a section")
        with under("space"):
            space = Space.from_dict(stored_space(row))
        with under("objective"):
            objective = Objective.from_dict(mapping(spec.get("objective"), "an objective"))
        return StoredSpec(
            space, objective, engine, seed,
            trials=_count(budget, "trials", 1),
            seconds=_seconds(budget.get("time")),
            confirm=_count(budget, "confirm", 0) or 0,
        )  # fmt: skip


def stored_space(row: StudyRow) -> dict[str, Any]:
    """Return the stored space of a study, its parameters in the order of the file where that is known.

    Raises:
        SpecError: It is no space.
    """
    stored = dict(mapping(row.spec.get("space"), "a search space"))
    parameters = dict(mapping(stored.get("parameters"), "parameters"))
    order = row.notes.get(ORDER)
    names = [name for name in order if name in parameters] if isinstance(order, list) else []
    return {**stored, "parameters": {name: parameters[name] for name in dict.fromkeys([*names, *parameters])}}


@contextmanager
def _judged(ledger: Path | None, study: str) -> Iterator[None]:
    """Raise what is wrong with a study's spec as an error of its ledger."""
    try:
        yield
    except SpecError as error:
        place = f"{ledger}: " if ledger else ""
        part = ".".join(map(str, error.path))
        raise LedgerError(
            f"{place}the study {study!r} is stored with a wrong {part}: {error.message}",
            hint=error.hint or _HINT,
        ) from None


def _count(budget: JsonObject, key: str, least: int) -> int | None:
    found = budget.get(key)
    found = int(found) if isinstance(found, str) and found.isdigit() else found  # in a spec of one's own
    with under("budget", key):
        return None if found is None else read_count(found, key, least)


def _seconds(raw: object) -> float | None:
    if not isinstance(raw, int | float | str):
        return None
    try:
        return parse_quantity(raw, default_unit="s").value
    except SpecError:  # of an earlier version: the study's own run says what it means
        return None
