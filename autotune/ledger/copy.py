"""A copy of one study of a ledger: a whole ledger of its own, compressed, and how it comes back into a store.

Only the study's rows are in it: those of others in the same ledger are nobody's business who may read this
one. What looks like a secret is masked, also where the ledger itself was told to keep it.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from autotune.core.file_names import LEDGER_NAME
from autotune.core.redact import MASK, redact, redacted
from autotune.core.trial import TrialState
from autotune.errors import DamagedCopyError, LedgerError, NewerLedgerError, StudyError
from autotune.ledger.copies import COPIES, GENERATION, RESTORED
from autotune.ledger.rows import Row, StudyRow, read_study
from autotune.ledger.schema import canonical, reported
from autotune.ledger.store import Ledger

Rows = Mapping[str, list[Row]]

LARGEST = 4 << 30
"""Bytes of the largest ledger that a copy may hold; 1,000 trials are 5 MB."""

_TIMES, _LEAST = 200, 64 << 20  # a copy of more than _LEAST bytes is at most so many times what was sent
_CHUNK = 1 << 20

_TEXTS = {"study": ("spec", "notes"), "trial": ("suggestion",), "attempt": ("measurement",)}
_PLAIN = {"study": ("engine",), "attempt": ("executor", "node", "scratch")}


class StudyCopier:
    """Copier of a study of a ledger; rows that have not changed are not looked through again.

    Args:
        study: Name of the study.
    """

    def __init__(self, study: str) -> None:
        self._study = study
        self._known: dict[str, Row] = {}  # by the checksum in the ledger

    def copy(self, ledger: Ledger) -> bytes:
        """Return the study as a compressed ledger.

        Raises:
            LedgerError: A row is damaged.
        """
        known: dict[str, Row] = {}
        with Ledger.open(":memory:") as target:
            with target.rows() as put:
                for table, rows in ledger.rows_of(self._study).items():
                    for row in rows:
                        proof = row["checksum"]
                        known[proof] = self._known.get(proof) or _masked(table, row)
                        put(table, known[proof])
            self._known = known
            return zlib.compress(target.serialized(), wbits=31)  # the format of gzip


def _masked(table: str, row: Row) -> Row:
    """Return a row without secrets; the very same one where it has none."""
    changed: Row = {}
    for column in _TEXTS.get(table, ()):
        text = row[column]
        if text is None or (
            table != "study" and redact(text) == text
        ):  # many times faster than each part of it
            continue
        data = json.loads(text)
        hidden = redacted(data) if table == "study" else _leaves(data)
        if hidden != data:
            changed[column] = canonical(hidden)
    for column in _PLAIN.get(table, ()):
        if (hidden := redact(row[column])) != row[column]:
            changed[column] = hidden
    return {**row, **changed} if changed else row


def _leaves(data: object) -> object:
    """Return plain data with each text redacted, whatever its key: a parameter may be a ``stop_token``."""
    if isinstance(data, str):
        return redact(data)
    if isinstance(data, Mapping):
        return {key: _leaves(value) for key, value in data.items()}
    return [_leaves(value) for value in data] if isinstance(data, list) else data


@dataclass(frozen=True)
class Restored:
    """The contents that a copy brought back.

    Args:
        study: The study, as the copy has it.
        trials: Trials of it.
        measured: Attempts with a result.
        again: Numbers of trials that were being measured: they are measured again.
        masked: Whether something of what was asked for looked like a secret, and is not in the copy.
        there: Whether the store had all of it already.
    """

    study: StudyRow
    trials: int
    measured: int
    again: tuple[int, ...]
    masked: bool
    there: bool = False


def restore(data: bytes, ledger: Path, accept: Callable[[StudyRow], None] = lambda _: None) -> Restored:
    """Write the study of a copy into a ledger, made if it is not there.

    A study of that name may be in it already: the same one, with nothing that the copy does not have.

    Args:
        data: The copy.
        ledger: File of the ledger.
        accept: Function that raises where another study was expected.

    Raises:
        DamagedCopyError: The copy is damaged.
        LedgerError: It is of a newer version, or the ledger cannot be written.
        StudyError: The ledger has another study of that name, or one with more in it; or it is being run.
    """
    rows = _read(data)
    row = read_study(rows["study"][0])
    accept(row)
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with Ledger.open(ledger) as target, target.lock_study(row.name):
        there = target.rows_of(row.name)
        if there["study"] and not _within(there, rows):
            raise StudyError(
                f"{ledger} has a study {row.name!r} that the copy would overwrite: {_told(there)}; the copy: "
                f"{_told(rows)}",
                hint="--store names another folder; nothing was changed",
            )
        same = all(
            _contents(there, table) == _contents(rows, table) for table in ("study", "trial", "attempt")
        )
        if not same:
            with reported(ledger), target.rows() as put:
                for table, found in rows.items():
                    for each in found:
                        put(table, {**each, "revision": 1} if "revision" in each else each)
                number = {
                    each["item"]: each["digest"] for each in rows["mirrored"] if each["mirror"] == COPIES
                }
                mark = {"study": row.name, "mirror": COPIES, "item": RESTORED}
                put("mirrored", {**mark, "digest": number.get(GENERATION, "0")})
    return Restored(
        row,
        len(rows["trial"]),
        len(_results(rows)),
        tuple(each["number"] for each in rows["trial"] if each["state"] == TrialState.RUNNING.value),
        any(
            MASK in text
            for text in (rows["study"][0]["spec"], *(each["suggestion"] for each in rows["trial"]))
        ),
        same,
    )


def _read(data: bytes) -> Rows:
    """Return the rows of a copy, verified as those of any ledger are.

    Raises:
        DamagedCopyError: It is not whole.
        NewerLedgerError: It is of a newer version.
    """
    with tempfile.TemporaryDirectory(prefix="autotune-copy-") as folder:
        path = Path(folder) / LEDGER_NAME
        _unpack(data, path)
        try:
            with Ledger.open(path) as ledger:  # one of an older schema is brought up to date
                studies = ledger.studies()
                if len(studies) != 1:
                    raise DamagedCopyError(f"the copy is damaged: it has {len(studies)} studies, not one")
                return ledger.rows_of(studies[0].name)
        except DamagedCopyError:
            raise
        except LedgerError as error:
            said = error.message.replace(f"the ledger {path}", "it").replace(str(path), "it")
            if isinstance(error, NewerLedgerError):
                raise NewerLedgerError(f"the copy: {said}", hint=error.hint) from None
            raise DamagedCopyError(f"the copy is damaged: {said}") from None
        except (sqlite3.Error, ValueError, KeyError, TypeError) as error:  # rows that are none of ours
            said = str(error).replace(str(path), "it")
            raise DamagedCopyError(f"the copy is damaged: {type(error).__name__}: {said}") from None


def _unpack(data: bytes, path: Path) -> None:
    """Write what a copy holds to a file, piece by piece: a few bytes may stand for more than a disk holds.

    Raises:
        DamagedCopyError: It is not whole, or larger than the ledger of such a copy can be.
    """
    most = min(LARGEST, max(_LEAST, _TIMES * len(data)))
    unpacker = zlib.decompressobj(wbits=31)
    size, rest = 0, data
    with path.open("wb") as file:
        while not unpacker.eof:
            try:
                piece = unpacker.decompress(rest, _CHUNK)
            except zlib.error as error:
                raise DamagedCopyError(f"the copy is damaged: {error}") from None
            rest = unpacker.unconsumed_tail
            size += len(piece)
            if size > most:
                raise DamagedCopyError(
                    f"the copy is damaged: its {len(data)} bytes unpack to more than {most >> 20} MiB"
                )
            if not (piece or rest or unpacker.eof):
                raise DamagedCopyError("the copy is damaged: it is cut short")
            file.write(piece)


def _results(rows: Rows) -> dict[tuple[int, int], str]:
    """Return what was measured, by trial and attempt."""
    found = (each for each in rows["attempt"] if each["measurement"] is not None)
    return {(each["trial"], each["attempt"]): each["measurement"] for each in found}


def _contents(rows: Rows, table: str) -> list[Row]:
    hidden = ("revision", "checksum")
    return [{key: value for key, value in row.items() if key not in hidden} for row in rows[table]]


def _within(there: Rows, copy: Rows) -> bool:
    """Return whether a copy has all that a ledger has of a study: nothing is lost in its place.

    Trials and attempts that the copy has not even begun would stay beside its rows.
    """
    if there["study"][0]["uid"] != copy["study"][0]["uid"]:
        return False
    begun = all(
        {tuple(row[key] for key in keys) for row in there[table]}
        <= {tuple(row[key] for key in keys) for row in copy[table]}
        for table, keys in (("trial", ("number",)), ("attempt", ("trial", "attempt")))
    )
    return begun and _results(there).items() <= _results(copy).items()


def _told(rows: Rows) -> str:
    study, count = rows["study"][0], len(_results(rows))
    return f"{len(rows['trial'])} trials, {count} results, identity {study['uid'][:8]}"
