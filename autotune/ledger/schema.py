"""Tables of the ledger by schema version, and the checksum that each row carries.

Schema 1: every row has a checksum. Schema 2: the counter also says whose ledger it is, how many rows there
are and the sum of their checksums, so that rows which vanish, come back or were never written are noticed.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from autotune.errors import LedgerError
from autotune.ledger.place import holder

APPLICATION_ID = 0x4175_746F  # "Auto": tells a ledger from any other SQLite file
SCHEMA_VERSION = 2
OLDEST_VERSION = 1

TABLES: dict[str, str] = {
    "study": """CREATE TABLE study (
  name TEXT PRIMARY KEY, uid TEXT NOT NULL UNIQUE, spec TEXT NOT NULL, fingerprint TEXT NOT NULL,
  seed INTEGER NOT NULL, engine TEXT NOT NULL, state TEXT NOT NULL, notes TEXT NOT NULL,
  created_ns INTEGER NOT NULL, revision INTEGER NOT NULL, checksum TEXT NOT NULL)""",
    "trial": """CREATE TABLE trial (
  study TEXT NOT NULL REFERENCES study(name), number INTEGER NOT NULL, suggestion TEXT NOT NULL,
  state TEXT NOT NULL, attempts INTEGER NOT NULL, decided_by INTEGER, revision INTEGER NOT NULL,
  checksum TEXT NOT NULL, PRIMARY KEY (study, number)) WITHOUT ROWID""",
    "attempt": """CREATE TABLE attempt (
  study TEXT NOT NULL, trial INTEGER NOT NULL, attempt INTEGER NOT NULL, state TEXT NOT NULL,
  executor TEXT NOT NULL, node TEXT NOT NULL, scratch TEXT NOT NULL, started_ns INTEGER NOT NULL,
  ended_ns INTEGER, measurement TEXT, checksum TEXT NOT NULL,
  PRIMARY KEY (study, trial, attempt), FOREIGN KEY (study, trial) REFERENCES trial(study, number)
  ) WITHOUT ROWID""",
    "mirrored": """CREATE TABLE mirrored (
  study TEXT NOT NULL, mirror TEXT NOT NULL, item TEXT NOT NULL, digest TEXT NOT NULL,
  checksum TEXT NOT NULL, PRIMARY KEY (study, mirror, item)) WITHOUT ROWID""",
    "counter": """CREATE TABLE counter (
  one INTEGER PRIMARY KEY CHECK (one = 1), ledger TEXT NOT NULL, revision INTEGER NOT NULL,
  entries INTEGER NOT NULL, digest TEXT NOT NULL, checksum TEXT NOT NULL)""",
}
_COUNTER_1 = """CREATE TABLE counter (
  one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL, checksum TEXT NOT NULL)"""

COLUMNS: dict[str, tuple[str, ...]] = {
    "study": (
        "name", "uid", "spec", "fingerprint", "seed", "engine", "state", "notes", "created_ns", "revision",
    ),
    "trial": ("study", "number", "suggestion", "state", "attempts", "decided_by", "revision"),
    "attempt": (
        "study", "trial", "attempt", "state", "executor", "node", "scratch", "started_ns", "ended_ns",
        "measurement",
    ),
    "mirrored": ("study", "mirror", "item", "digest"),
    "counter": ("one", "ledger", "revision", "entries", "digest"),
}  # fmt: skip
KEYS: dict[str, tuple[str, ...]] = {
    "study": ("name",),
    "trial": ("study", "number"),
    "attempt": ("study", "trial", "attempt"),
    "mirrored": ("study", "mirror", "item"),
    "counter": ("one",),
}
CONTENT = ("study", "trial", "attempt", "mirrored")
"""Tables whose rows the counter counts: all but itself."""

UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What SQLite raises on a broken page; the second one where its message quotes what is no text any more."""

_MODULUS = 1 << 128  # of the sum of checksums, which are 128 bits long


def tables_of(version: int) -> dict[str, str]:
    """Return the statements that made the tables of a schema version."""
    return TABLES if version > 1 else {**TABLES, "counter": _COUNTER_1}


def columns_of(table: str, version: int) -> tuple[str, ...]:
    """Return the columns of a table under a checksum in a schema version."""
    return ("one", "revision") if table == "counter" and version == 1 else COLUMNS[table]


def checksum(table: str, row: Mapping[str, object], version: int = SCHEMA_VERSION) -> str:
    """Return the digest of a row's content; SQLite's own check misses flipped payload bits."""
    content = json.dumps([table, *(row[c] for c in columns_of(table, version))], separators=(",", ":"))
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def intact(table: str, row: Mapping[str, object], version: int = SCHEMA_VERSION) -> bool:
    """Return whether a row is what was written."""
    try:
        return bool(checksum(table, row, version) == row["checksum"])
    except (KeyError, TypeError):  # a column is not there, or holds bytes where text was written
        return False


def added(digest: str, checksum: str, *, sign: int = 1) -> str:
    """Return the sum of checksums with one more (or, with ``sign=-1``, one fewer); order does not count."""
    return f"{(int(digest, 16) + sign * int(checksum, 16)) % _MODULUS:032x}"


def named(table: str, row: Mapping[str, object]) -> str:
    """Return how a row is named in messages: ``trial(study='s', number=3)``."""
    return f"{table}({', '.join(f'{k}={row.get(k)!r}' for k in KEYS[table])})"


def canonical(data: object) -> str:
    """Return the JSON text of ``data``; refuses NaN and infinity."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


@contextmanager
def reported(path: Path | None) -> Iterator[None]:
    """Turn SQLite's errors into a :class:`LedgerError` that names the file and what to do."""
    try:
        yield
    except (sqlite3.Error, UnicodeError) as error:
        undecodable = isinstance(error, UnicodeDecodeError)
        text = "malformed: its list of tables is no text" if undecodable else str(error)
        hint = ""
        if "disk is full" in text or "disk I/O" in text:
            hint = "free some space and run the same command again: nothing committed is lost"
        elif "readonly" in text:
            hint = "the file or its folder cannot be written"
        elif "malformed" in text or "not a database" in text:
            hint = "the file is damaged; `autotune salvage` writes what is good to another"
        elif "locked" in text:
            hint = (
                f"{holder(path)} holds the ledger: wait for it or end it, then run the same command again; "
                "nothing committed is lost"
            )
        elif "unable to open" in text:
            hint = "the folder is missing or cannot be written; a copy of it elsewhere can be read"
        elif "closed database" in text:
            text = "it was closed"
            hint = "" if path is None else "`Study.open(path)` opens its study again"
        name = f"the ledger {path}" if path is not None else "the ledger in memory"
        raise LedgerError(f"{name}: {text}", hint=hint) from None
