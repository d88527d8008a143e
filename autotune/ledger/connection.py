"""How a ledger file is opened: what is refused, durable settings, and ledgers of older schemas."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import sys
import uuid
from pathlib import Path

from autotune.core.input_file import active_part, resolved
from autotune.core.own_files import SOMEBODY_ELSES, complaint, is_ours, kind_of, taken_names
from autotune.errors import EmptyLedgerError, LedgerError, NewerLedgerError
from autotune.ledger.damage import damaged_rows
from autotune.ledger.head import head_path, read_head
from autotune.ledger.place import NETWORK, UNSURE, filesystem_of
from autotune.ledger.schema import (
    APPLICATION_ID,
    CONTENT,
    OLDEST_VERSION,
    SCHEMA_VERSION,
    TABLES,
    added,
    checksum,
    reported,
)

ON_NETWORK = "AUTOTUNE_LEDGER_ON_NETWORK"
"""Set to 1 to keep a ledger on a network filesystem all the same, by one machine at a time."""

_BUSY_MS = 10_000  # a commit takes milliseconds; ten readers and writers together stay far below this

_BEGINNINGS = {
    "-wal": re.compile(rb"\x37\x7f\x06[\x82\x83]"),
    "-shm": re.compile(re.escape((3_007_000).to_bytes(4, sys.byteorder))),
    "-journal": re.compile(re.escape(bytes.fromhex("d9d505f920a163d7"))),
}
"""Beginnings of what SQLite writes beside a ledger."""

_log = logging.getLogger("autotune.ledger")


def connect(path: Path | None, *, create: bool, read_only: bool) -> tuple[sqlite3.Connection, int]:
    """Open and check the file; create the tables in a new one, and bring an old one up to date.

    Returns:
        The connection and the version of its schema, which only a reader of an old file sees as older.

    Raises:
        LedgerError: There is no such file, it is no ledger, its schema is of a newer autotune, it is damaged,
            or it lies where it cannot be kept safely.
    """
    journal = "WAL"
    if path is None:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    else:
        if not path.exists() and (read_only or not create):
            raise LedgerError(f"no ledger at {path}")
        _refuse_no_file(path)
        if not read_only:
            _refuse_foreign(path)
            journal = _journal(path)
        try:
            uri = f"{resolved(path).as_uri()}?{_mode(path, read_only)}"
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            hint = "the folder is missing or cannot be read"
            raise LedgerError(f"cannot open the ledger {path}: {error}", hint=hint) from None
    try:
        with reported(path):
            version = _set_up(connection, path, read_only, journal)
    except BaseException:
        connection.close()
        raise
    return connection, version


def _refuse_no_file(path: Path) -> None:
    """Refuse what has the name of a ledger, or of what SQLite makes beside one, and is no file.

    Raises:
        LedgerError: SQLite would follow it, wait for it or write through it.
    """
    kind = kind_of(path, follow=True)
    if kind:
        raise LedgerError(f"the ledger {path} is {kind}, not a file", hint="--store names another folder")
    file = resolved(path)
    taken = taken_names(file.with_name(f"{file.name}{suffix}") for suffix in ("-wal", "-shm", "-journal"))
    if taken:
        raise LedgerError(f"cannot open the ledger {path}: {taken}")


def _refuse_foreign(path: Path) -> None:
    """Refuse what SQLite would overwrite or delete where there is no ledger yet, and did not write itself.

    Raises:
        LedgerError: Such a file is there.
    """
    file = resolved(path)
    if file.exists() and file.stat().st_size:
        return
    for suffix, pattern in _BEGINNINGS.items():
        beside = file.with_name(f"{file.name}{suffix}")
        try:
            with beside.open("rb") as opened:
                found = opened.read(8)
        except OSError:  # there is none, or SQLite says what is wrong
            continue
        if not is_ours(found, pattern):
            raise LedgerError(f"cannot open the ledger {path}: {complaint(beside, SOMEBODY_ELSES)}")


def _mode(path: Path, read_only: bool) -> str:
    if not read_only:
        return "mode=rwc"
    # SQLite wants to make files beside one that it reads; where it cannot, and no writer left any behind,
    # nothing can change either
    log = path.with_name(f"{path.name}-wal")
    unwritable = os.statvfs(path).f_flag & os.ST_RDONLY or not os.access(path.parent, os.W_OK)
    return "mode=ro&immutable=1" if unwritable and not log.exists() else "mode=ro"


def _journal(path: Path) -> str:
    """Return the journal mode that is safe where the file lies.

    Raises:
        LedgerError: On a network filesystem: the write-ahead log needs memory that all its users share.
    """
    kind = filesystem_of(path)
    if kind in UNSURE:
        _log.warning("the ledger %s lies on %s: use it from one machine only", path, kind)
    if kind not in NETWORK:
        return "WAL"
    if os.environ.get(ON_NETWORK) == "1":
        _log.warning("the ledger %s lies on %s: slower, and safe from one machine only", path, kind)
        return "DELETE"
    raise LedgerError(
        f"the ledger {path} would lie on {kind}, a network filesystem, where SQLite's write-ahead log and "
        "its locks are not safe",
        hint=f"--store names a folder on a local disk; {ON_NETWORK}=1 keeps it there all the same, slower "
        "and for one machine at a time",
    )


def _set_up(connection: sqlite3.Connection, path: Path | None, read_only: bool, journal: str) -> int:
    connection.row_factory = sqlite3.Row
    # text that is no UTF-8 any more must reach the checksum, which names its row
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA cell_size_check = ON")  # a torn page is an error, not an odd answer
    connection.execute("PRAGMA trusted_schema = OFF")
    application, version, tables = _identity(connection)
    if application != APPLICATION_ID and (tables or version or application):
        raise LedgerError(f"{path} is an SQLite file of another program, not a ledger")
    if application == APPLICATION_ID:
        _check_version(path, version)
        if active := active_part(connection):
            raise LedgerError(
                f"{path} has {active}, which no ledger has: it would run when it is read or written",
                hint="nothing of it is used; it may have been made to do harm",
            )
    if read_only:
        if application != APPLICATION_ID:
            raise EmptyLedgerError(f"{path} is empty: no study was started in it yet")
        return version
    # a measurement is acknowledged only when it is on the disk: 3.5 ms per commit
    connection.execute(f"PRAGMA journal_mode = {journal}")
    connection.execute("PRAGMA synchronous = FULL")
    if application != APPLICATION_ID:
        _create(connection)
    elif version < SCHEMA_VERSION:
        _upgrade(connection, path)
    return SCHEMA_VERSION


def _identity(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Return whose file it is, the version of its schema and its tables, all of one moment."""
    alone = not connection.in_transaction
    if alone:  # another process may be making the tables now
        connection.execute("BEGIN")
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if alone:
        connection.execute("COMMIT")
    return application, version, tables


def _check_version(path: Path | None, version: int) -> None:
    if version > SCHEMA_VERSION:
        raise NewerLedgerError(
            f"{path} has schema {version} of a newer autotune; this one reads {SCHEMA_VERSION} and older",
            hint="upgrade autotune",
        )
    if version < OLDEST_VERSION:
        raise LedgerError(
            f"{path} has schema {version} of an unknown autotune; this one reads {OLDEST_VERSION} "
            f"to {SCHEMA_VERSION}"
        )


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables:  # another process may have made them while we waited
        for statement in TABLES.values():
            connection.execute(statement)
        _count(connection, 0, 0, "0")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _upgrade(connection: sqlite3.Connection, path: Path | None) -> None:
    """Bring a ledger of schema 1 up to date, in one transaction; a damaged one is left as it is.

    Raises:
        LedgerError: Rows are damaged.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        _, version, _ = _identity(connection)
        if version == 1:  # another process may have been first
            bad = damaged_rows(connection, version)
            if bad:
                raise damaged(path, bad)
            digest, entries = "0", 0
            for table in CONTENT:
                for (row,) in connection.execute(f"SELECT checksum FROM {table}"):  # noqa: S608 - our names
                    digest, entries = added(digest, row), entries + 1
            (revision,) = connection.execute("SELECT revision FROM counter").fetchone()
            connection.execute("DROP TABLE counter")
            connection.execute(TABLES["counter"])
            _count(connection, revision, entries, digest)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _count(connection: sqlite3.Connection, revision: int, entries: int, digest: str) -> None:
    row = {"one": 1, "ledger": uuid.uuid4().hex, "revision": revision, "entries": entries, "digest": digest}
    values = (*row.values(), checksum("counter", row))
    connection.execute("INSERT INTO counter VALUES (?, ?, ?, ?, ?, ?)", values)


def damaged(path: Path | None, bad: list[str]) -> LedgerError:
    """Return the error that names damaged rows, the first five of many."""
    shown = "; ".join(bad[:5]) + (f"; and {len(bad) - 5} more" if len(bad) > 5 else "")
    return LedgerError(
        f"the ledger {path} is damaged: {shown}",
        hint="nothing of it is used; restore a copy, or `autotune salvage` writes what is good to another",
    )


def lost_commits(connection: sqlite3.Connection, path: Path | None, version: int) -> list[str]:
    """Return what the witness beside the file knows of commits that the file does not have."""
    if path is None or version == 1:
        return []
    query = "SELECT ledger, revision FROM counter"
    ledger, _ = connection.execute(query).fetchone() or ("", 0)
    seen = read_head(path, ledger)  # before the revision: a commit between the two is no loss
    _, revision = connection.execute(query).fetchone() or ("", 0)
    if seen <= revision:
        return []
    return [
        f"its last {seen - revision} commits are missing: {head_path(path).name} saw revision {seen}, "
        f"the file ends at {revision}"
    ]
