"""Studies of one or several stores, set side by side: `autotune compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autotune.analysis.side_by_side import Comparison, compare
from autotune.core.file_names import LEDGER_NAME
from autotune.core.json_object import JsonObject
from autotune.core.study_labels import study_labels
from autotune.errors import LedgerError, StudyError
from autotune.ledger import Ledger, StudyRow, made_ledger
from autotune.spec.stored import StoredSpec
from autotune.study.reading import read_view
from autotune.study.study import find_study

_COMPARED = ("system", "workload", "quality", "budget", "resources", "engine")


def compare_studies(references: Sequence[str], store: Path) -> Comparison:
    """Set studies side by side, all judged by the objective of the first.

    Args:
        references: ``STUDY`` of the store, ``PATH:STUDY`` of another one, or ``PATH`` of one with a single
            study; a path is that of a store or of its ledger.
        store: Folder of the ledger of names alone.

    Raises:
        StudyError: There is no such store or study.
    """
    rows: list[StudyRow] = []
    views, places = [], []
    for reference in references:
        path, name = _located(reference, store)
        with Ledger.open(path, create=False, read_only=True) as ledger:
            rows.append(find_study(ledger, name))
            views.append(read_view(ledger, rows[-1]))
            places.append((path, rows[-1].name))
    wanted = [StoredSpec(row.spec).objective for row in rows]
    settings = [differing_settings(rows[0].spec, row.spec) for row in rows]
    return compare(study_labels(places), references, views, wanted, settings)


def _located(reference: str, store: Path) -> tuple[Path, str | None]:
    """Return the ledger and the name that a reference means; a study of the store comes first."""
    if _has_study(store, reference):
        return _file_of(store), reference
    for at in (at for at, letter in enumerate(reference) if letter == ":" and at):
        if (file := _file_of(Path(reference[:at]).expanduser())).is_file():
            return file, reference[at + 1 :] or None
    head, _, _ = reference.rpartition(":")
    if head or "/" in reference or Path(reference).is_dir() or reference.endswith(".sqlite"):
        where, study = Path(head or reference).expanduser(), None
    else:
        where, study = store, reference
    file = _file_of(where)
    if not file.is_file():
        raise StudyError(
            f"{reference}: no ledger at {file}", hint="STUDY of the store, or PATH:STUDY of another one"
        )
    return file, study


def _file_of(where: Path) -> Path:
    """Return the ledger of a store, or the path itself where it is one."""
    return where if where.is_file() else where / LEDGER_NAME


def _has_study(store: Path, name: str) -> bool:
    """Return whether a store has a study of that name, which may look like a path."""
    try:
        with made_ledger(_file_of(store)) as ledger:
            return ledger is not None and ledger.study(name) is not None
    except LedgerError:  # another store may be meant; where this one is, opening it says what is wrong
        return False


def differing_settings(
    first: JsonObject, other: JsonObject, sections: Sequence[str] = _COMPARED
) -> list[str]:
    """Return what differs between the sections of two study files, a line for each key."""
    lines = []
    for section in sections:
        mine, theirs = first.get(section) or {}, other.get(section) or {}
        lines += [
            f"{section}.{key}: {_said(mine.get(key))} -> {_said(theirs.get(key))}"
            for key in dict.fromkeys([*mine, *theirs])
            if mine.get(key) != theirs.get(key)
        ]
    return lines


def _said(value: object) -> str:
    return "not set" if value is None else str(value)
