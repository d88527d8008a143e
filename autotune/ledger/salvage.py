"""Write what is good of a damaged ledger to a new one; the damaged file is only read.

Good is a row that has its checksum. A trial whose deciding attempt is lost goes back to the queue; where a
trial itself is lost, the later ones move up and the study becomes another one to its mirrors, so that no
number means two things.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autotune.core.file_names import LEDGER_NAME
from autotune.core.trial import TrialState
from autotune.errors import LedgerError
from autotune.ledger.connection import lost_commits
from autotune.ledger.damage import damaged_rows, read_table
from autotune.ledger.rows import Row
from autotune.ledger.schema import (
    APPLICATION_ID,
    CONTENT,
    canonical,
    intact,
    reported,
    tables_of,
)
from autotune.ledger.store import Ledger

Rows = dict[str, list[Row]]
_PAGE = 4096  # SQLite's default, which every ledger has


@dataclass(frozen=True)
class Salvaged:
    """The contents that were saved of a damaged ledger.

    Args:
        kept: Trials by study in the new ledger.
        lost: Damage of the old one, rows named.
        again: Trials by study, as numbered now, whose measurement is lost: they are measured again.
        moved: New number, by study, of each trial that has another one now.
        strays: Good trials of studies whose own row is lost, as plain data.
    """

    kept: Mapping[str, int] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    again: Mapping[str, list[int]] = field(default_factory=dict)
    moved: Mapping[str, dict[int, int]] = field(default_factory=dict)
    strays: tuple[Row, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data."""
        return {
            "kept": dict(self.kept),
            "lost": list(self.lost),
            "measured_again": dict(self.again),
            "renumbered": {name: {str(k): v for k, v in new.items()} for name, new in self.moved.items()},
            "strays": list(self.strays),
        }


def salvage(source: Path, target: Path) -> Salvaged:
    """Write the good rows of ``source`` to a new ledger.

    Raises:
        LedgerError: There is no such file, nothing in it can be read, or ``target`` is there already.
    """
    if not source.is_file():
        raise LedgerError(f"no ledger at {source}")
    if target.exists():
        raise LedgerError(f"{target} is there already", hint="name a folder without a ledger")
    with tempfile.TemporaryDirectory(prefix="autotune-salvage-") as folder:
        rows, lost = _read(_copy(source, Path(folder)), source)
    target.parent.mkdir(parents=True, exist_ok=True)
    with Ledger.open(target) as ledger:
        return _write(ledger, rows, tuple(lost))


def _copy(source: Path, folder: Path) -> Path:
    """Return a copy with its log; opening a file may change it, and what is damaged must stay as it is."""
    copy = folder / LEDGER_NAME
    shutil.copyfile(source, copy)
    log = source.with_name(f"{source.name}-wal")
    if log.exists():
        shutil.copyfile(log, copy.with_name(f"{copy.name}-wal"))
    return copy


def _read(copy: Path, source: Path) -> tuple[Rows, list[str]]:
    """Return the good rows of every table and what is wrong with the file.

    Raises:
        LedgerError: No row can be read, also with another first page.
    """
    best, problems = _rows(copy, source)
    if problems:  # the list of tables may be what is broken
        _renew_first_page(copy)
        other, more = _rows(copy, source)
        if sum(map(len, other.values())) > sum(map(len, best.values())):
            best, problems = other, list(dict.fromkeys(problems + more))
    if problems and not any(best.values()):
        raise LedgerError(f"nothing in {source} can be read: {'; '.join(problems[:3])}")
    return best, problems


def _rows(copy: Path, source: Path) -> tuple[Rows, list[str]]:
    rows: Rows = {table: [] for table in CONTENT}
    connection = sqlite3.connect(copy, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    problems: list[str] = []
    try:
        version = _version(connection)
        problems += damaged_rows(connection, version)
        for table in CONTENT:
            rows[table] = [row for row in read_table(connection, table)[0] if intact(table, row)]
        problems += lost_commits(connection, source, version)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        problems.append(str(error))
    finally:
        connection.close()
    return rows, problems


def _version(connection: sqlite3.Connection) -> int:
    """Return the schema version.

    Raises:
        sqlite3.Error: The tables are not those of a ledger, or cannot be listed.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    there = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall())
    if application != APPLICATION_ID or there != tables_of(version):
        raise sqlite3.DatabaseError("the first page is damaged")
    return int(version)


def _renew_first_page(copy: Path) -> None:
    """Give the copy the first page of an empty ledger: it holds the list of tables, equal in every ledger."""
    fresh = copy.with_name("fresh.sqlite")
    with Ledger.open(fresh):
        pass  # closing writes everything into the file itself
    page = bytearray(fresh.read_bytes()[:_PAGE])
    size = copy.stat().st_size
    pages = -(-size // _PAGE)  # the last one may be cut
    page[28:32] = pages.to_bytes(4, "big")
    page[32:40] = bytes(8)  # no list of free pages: nothing is written here
    with copy.open("r+b") as file:
        file.write(page)
        file.truncate(pages * _PAGE)


def _write(ledger: Ledger, rows: Rows, lost: tuple[str, ...]) -> Salvaged:
    kept: dict[str, int] = {}
    again: dict[str, list[int]] = {}
    moved: dict[str, dict[int, int]] = {}
    trials, attempts = defaultdict(list), defaultdict(list)
    for row in rows["trial"]:
        trials[row["study"]].append(row)
    for row in rows["attempt"]:
        attempts[row["study"], row["trial"]].append(row)
    with reported(ledger.path), ledger.rows() as put:
        for study in rows["study"]:
            name = study["name"]
            own = sorted(trials.pop(name, []), key=lambda row: int(row["number"]))
            moved[name] = {row["number"]: new for new, row in enumerate(own) if row["number"] != new}
            put("study", _study(study, lost, moved[name]))
            again[name] = []
            for number, row in enumerate(own):
                tried = sorted(attempts[name, row["number"]], key=lambda each: int(each["attempt"]))
                trial = _trial({**row, "number": number}, tried)
                put("trial", trial)
                if TrialState(row["state"]).finished and trial["state"] != row["state"]:
                    again[name].append(number)
                for count, each in enumerate(tried, 1):
                    put("attempt", {**each, "trial": number, "attempt": count})
            kept[name] = len(own)
            if not moved[name]:
                for row in rows["mirrored"]:
                    if row["study"] == name:
                        put("mirrored", row)
    strays = [_stray(row, attempts) for each in trials.values() for row in each]
    return Salvaged(
        kept,
        lost,
        {name: numbers for name, numbers in again.items() if numbers},
        {name: new for name, new in moved.items() if new},
        tuple(strays),
    )


def _study(row: Row, lost: tuple[str, ...], moved: Mapping[int, int]) -> Row:
    notes = json.loads(row["notes"])
    notes["salvaged"] = {"lost": list(lost), "renumbered": {str(old): new for old, new in moved.items()}}
    # mirrors know runs by this name: after trials moved, theirs are of another study
    uid = uuid.uuid4().hex if moved else row["uid"]
    return {**row, "uid": uid, "notes": canonical(notes), "revision": 1}


def _trial(row: Row, tried: list[Row]) -> Row:
    """Return a trial as the attempts that are left make it."""
    decided = row["decided_by"]
    left = [each["attempt"] for each in tried]
    trial = {**row, "attempts": len(tried), "revision": 1}
    if decided in left:
        return {**trial, "decided_by": left.index(decided) + 1}
    running = row["state"] == "RUNNING" and row["attempts"] in left
    if decided is None and (running or row["state"] != "RUNNING"):
        return trial
    return {**trial, "state": TrialState.WAITING.value, "decided_by": None}


def _stray(row: Row, attempts: Mapping[tuple[str, int], list[Row]]) -> Row:
    tried = {each["attempt"]: each for each in attempts.get((row["study"], row["number"]), [])}
    found = tried.get(row["decided_by"])
    measurement = None if found is None or found["measurement"] is None else json.loads(found["measurement"])
    return {
        "study": row["study"],
        "number": row["number"],
        "state": row["state"],
        "suggestion": json.loads(row["suggestion"]),
        "measurement": measurement,
    }
