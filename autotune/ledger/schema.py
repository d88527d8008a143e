"""Tables of the ledger, how a connection is set up, and the checksum that each row carries."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autotune.errors import LedgerError

APPLICATION_ID = 0x4175_746F  # "Auto": tells a ledger from any other SQLite file
SCHEMA_VERSION = 1

TABLES = """
CREATE TABLE study (
  name TEXT PRIMARY KEY, uid TEXT NOT NULL UNIQUE, spec TEXT NOT NULL, fingerprint TEXT NOT NULL,
  seed INTEGER NOT NULL, engine TEXT NOT NULL, state TEXT NOT NULL, notes TEXT NOT NULL,
  created_ns INTEGER NOT NULL, revision INTEGER NOT NULL, checksum TEXT NOT NULL);
CREATE TABLE trial (
  study TEXT NOT NULL REFERENCES study(name), number INTEGER NOT NULL, suggestion TEXT NOT NULL,
  state TEXT NOT NULL, attempts INTEGER NOT NULL, decided_by INTEGER, revision INTEGER NOT NULL,
  checksum TEXT NOT NULL, PRIMARY KEY (study, number)) WITHOUT ROWID;
CREATE TABLE attempt (
  study TEXT NOT NULL, trial INTEGER NOT NULL, attempt INTEGER NOT NULL, state TEXT NOT NULL,
  executor TEXT NOT NULL, node TEXT NOT NULL, scratch TEXT NOT NULL, started_ns INTEGER NOT NULL,
  ended_ns INTEGER, measurement TEXT, checksum TEXT NOT NULL,
  PRIMARY KEY (study, trial, attempt), FOREIGN KEY (study, trial) REFERENCES trial(study, number)
  ) WITHOUT ROWID;
CREATE TABLE mirrored (
  study TEXT NOT NULL, mirror TEXT NOT NULL, item TEXT NOT NULL, digest TEXT NOT NULL,
  checksum TEXT NOT NULL, PRIMARY KEY (study, mirror, item)) WITHOUT ROWID;
CREATE TABLE counter (
  one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL, checksum TEXT NOT NULL);
"""

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
    "counter": ("one", "revision"),
}  # fmt: skip
KEYS: dict[str, tuple[str, ...]] = {
    "study": ("name",),
    "trial": ("study", "number"),
    "attempt": ("study", "trial", "attempt"),
    "mirrored": ("study", "mirror", "item"),
    "counter": ("one",),
}


def checksum(table: str, row: dict[str, Any]) -> str:
    """Return the digest of a row's content; SQLite's own check misses flipped payload bits."""
    content = json.dumps([table, *(row[c] for c in COLUMNS[table])], separators=(",", ":"))
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def canonical(data: Any) -> str:
    """Return the JSON text of ``data``; refuses NaN and infinity."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def connect(path: Path | None, *, create: bool, read_only: bool) -> sqlite3.Connection:
    """Open and check the file; create the tables in a new one.

    Raises:
        LedgerError: There is no such file, it is no ledger, or its schema is of another version.
    """
    if path is None:
        connection = sqlite3.connect(":memory:", isolation_level=None)
    else:
        if not path.exists() and (read_only or not create):
            raise LedgerError(f"no ledger at {path}")
        mode = "ro" if read_only else "rwc"
        try:
            uri = f"{path.resolve().as_uri()}?mode={mode}"
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise LedgerError(f"cannot open the ledger {path}: {error}") from None
    try:
        with reported(path):
            _set_up(connection, path, read_only)
    except BaseException:
        connection.close()
        raise
    return connection


def _set_up(connection: sqlite3.Connection, path: Path | None, read_only: bool) -> None:
    connection.row_factory = sqlite3.Row
    # text that is no UTF-8 any more must reach the checksum, which names its row
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    connection.execute("PRAGMA busy_timeout = 10000")
    connection.execute("PRAGMA foreign_keys = ON")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (tables or version or application):
        raise LedgerError(f"{path} is an SQLite file of another program, not a ledger")
    if application == APPLICATION_ID and version != SCHEMA_VERSION:
        newer = "a newer" if version > SCHEMA_VERSION else "an unknown"
        raise LedgerError(
            f"{path} has schema {version} of {newer} autotune; this one reads {SCHEMA_VERSION}",
            hint="upgrade autotune" if version > SCHEMA_VERSION else "",
        )
    if read_only:
        return
    # a measurement is acknowledged only when it is on the disk: 3.5 ms per commit
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    if application != APPLICATION_ID:
        connection.execute("BEGIN IMMEDIATE")
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables:  # another process may have made them while we waited
            for statement in TABLES.split(";"):
                if statement.strip():
                    connection.execute(statement)
            first = {"one": 1, "revision": 0}
            connection.execute("INSERT INTO counter VALUES (1, 0, ?)", (checksum("counter", first),))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")


@contextmanager
def reported(path: Path | None) -> Iterator[None]:
    """Turn SQLite's errors into a :class:`LedgerError` that names the file and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        hint = ""
        if "disk is full" in text or "disk I/O" in text:
            hint = "free some space and run the same command again: nothing committed is lost"
        elif "readonly" in text:
            hint = "the file or its folder cannot be written"
        elif "malformed" in text or "not a database" in text:
            hint = "the file is damaged; open it with salvage=True to export what is good"
        elif "locked" in text:
            hint = "another process holds the ledger"
        raise LedgerError(f"the ledger {path}: {text}", hint=hint) from None


def damaged_rows(connection: sqlite3.Connection) -> list[str]:
    """Return the rows whose content does not fit their checksum, named by table and key."""
    bad: list[str] = []
    for table in COLUMNS:
        try:
            for row in connection.execute(f"SELECT * FROM {table}"):  # noqa: S608 - our own table names
                data = dict(row)
                if checksum(table, data) != data["checksum"]:
                    key = ", ".join(f"{k}={data[k]!r}" for k in KEYS[table])
                    bad.append(f"{table}({key})")
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            bad.append(f"{table}: {error}")
    return bad
