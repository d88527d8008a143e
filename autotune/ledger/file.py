"""An open ledger file: one connection, transactions with checksummed rows."""

from __future__ import annotations

import json
import logging
import shlex
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from autotune.core.failpoint import failpoint, tear
from autotune.core.room import give_room, keep_room
from autotune.errors import LedgerError
from autotune.ledger.connection import connect, damaged, lost_commits
from autotune.ledger.damage import damaged_rows
from autotune.ledger.guard import Change, Guard
from autotune.ledger.head import Head
from autotune.ledger.lock import renew_locks
from autotune.ledger.place import holder
from autotune.ledger.schema import COLUMNS, KEYS, added, checksum, intact, named, reported

HELD_S = 60.0
"""Longest wait of a guarded ledger for another process that holds its file: a backup takes seconds."""

_log = logging.getLogger("autotune.ledger")

_ROOM = 1 << 20  # bytes kept for results that come when the disk is full


class LedgerFile:
    """A ledger file. Threads take turns at an instance; several instances may share the file.

    Whoever drops it without :meth:`close` closes it as well.

    Attributes:
        lock: Held by the thread whose turn it is, through all of :meth:`together`.
        path: The file; ``None`` in memory.
        damaged: Rows whose checksum does not fit, named; only after ``salvage=True``.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path | None, version: int) -> None:
        self.lock: threading.RLock = threading.RLock()
        self._db = connection
        self._version = version
        self._head = None if path is None else Head(path)
        self._joint: ExitStack | None = None  # takes the commit that `together` makes, once it begins
        self._change = ("0", 0)  # of the rows' digest and number in the open transaction
        self._changed: list[Change] = []  # its rows
        self._guard: Guard | None = None
        self.path = path
        self.damaged: tuple[str, ...] = ()
        self._close_files = self._closer()

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        create: bool = True,
        read_only: bool = False,
        salvage: bool = False,
        guarded: bool = False,
    ) -> Self:
        """Open a ledger and verify every row.

        Args:
            path: The file, or ``":memory:"``.
            create: Whether to make the file if it is not there.
            read_only: Whether to refuse writes.
            salvage: Whether to go on with a damaged ledger, leaving out the rows named in :attr:`damaged`.
            guarded: Notice at each commit that the file was deleted, moved, replaced or cut, and write it
                anew from memory: for whoever runs a study.

        Raises:
            LedgerError: It cannot be opened, or rows are damaged; each is named.
        """
        file = None if str(path) == ":memory:" else Path(path)
        connection, version = connect(file, create=create, read_only=read_only)
        ledger = cls(connection, file, version)
        try:
            ledger._verify(salvage)
            if guarded and file is not None:
                with reported(file):
                    ledger._guard = Guard(file, connection)
                keep_room(ledger._guard.room, _ROOM)
        except BaseException:
            ledger.close()
            raise
        return ledger

    def _verify(self, salvage: bool) -> None:
        with reported(self.path):
            bad = damaged_rows(self._db, self._version)
            bad += lost_commits(self._db, self.path, self._version)
        if bad and not salvage:
            raise damaged(self.path, bad)
        self.damaged = tuple(bad)

    def make_room(self) -> bool:
        """Give up the room that a guarded ledger keeps on its disk; return whether it had any left.

        Not inside :meth:`together`, whose commit has failed by then.
        """
        with self.lock:
            return self._joint is None and self._guard is not None and give_room(self._guard.room)

    def _closer(self) -> weakref.finalize[[sqlite3.Connection, Head | None], Self]:
        """Return what closes the files, when called or once nothing refers to this ledger any more."""
        closer = weakref.finalize(self, _close, self._db, self._head)
        closer.atexit = False  # threads may use it to the end of the process, which closes it
        return closer

    def close(self) -> None:
        """Close the file. Idempotent."""
        with self.lock:
            self._close_files()
            self.make_room()
            self._guard = None  # nothing is lost of what nobody writes any more

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Let one thread read at a time, and report what goes wrong."""
        with self.lock, reported(self.path):
            yield

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Make all that the block reads of one moment, whoever writes meanwhile."""
        with self._reading():
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    # -- writing -----------------------------------------------------------------------------------

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make one durable commit of every change inside; none is kept when something raises.

        A commit waits for the disk, so results that arrive together are committed together. It begins with
        the first change: what only reads before that does not keep other writers out.
        """
        with ExitStack() as joint:
            joint.enter_context(self.lock)
            if self._joint is not None:  # inside another one, whose commit it is
                yield
                return
            self._joint = joint
            try:
                yield
            finally:
                self._joint = None

    @contextmanager
    def rows(self) -> Iterator[Callable[[str, dict[str, object]], None]]:
        """Give a function that writes whole rows as they are, all in one commit: for :mod:`.salvage`."""
        with self._transaction():
            yield self._put

    @contextmanager
    def _transaction(self) -> Iterator[int]:
        """Run one durable transaction, or a part of the one that is open; gives the revision of its rows."""
        with self.lock, reported(self.path):
            if self._joint is not None and not self._db.in_transaction:
                self._joint.enter_context(self._whole())
            with self._part() if self._db.in_transaction else self._whole() as revision:
                yield revision

    @contextmanager
    def _whole(self) -> Iterator[int]:
        """Run a transaction of its own."""
        lost = self._rescue_lost()
        with reported(self.path):
            lost = self._begin() or lost
            self._changed = []
            try:
                counter = self._counter()
                revision = int(counter["revision"]) + 1
                self._change = (counter["digest"], counter["entries"])
                yield revision
                digest, entries = self._change
                self._put("counter", {**counter, "revision": revision, "digest": digest, "entries": entries})
                torn = failpoint("ledger.commit")
                written = self._log_size() if torn else 0
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        if torn and self.path is not None:
            tear(self.path.with_name(f"{self.path.name}-wal"), written)
        failpoint("ledger.committed")
        if self._head is not None:
            self._head.write(counter["ledger"], revision)
        failpoint("ledger.acknowledged")
        if self._guard is not None:
            self._guard.keep(self._changed)
        if lost is not None:
            raise lost

    def _begin(self) -> LedgerError | None:
        """Begin to write, once no other process holds the file.

        Returns:
            The error that says where everything is where one has held a guarded ledger too long: what is to
            be committed now must not be lost. Others raise, after SQLite's own wait.
        """
        limit = time.monotonic() + HELD_S
        said = False
        while True:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                return None
            except sqlite3.OperationalError as error:
                if self._guard is None or "locked" not in str(error):
                    raise
            who = holder(self._guard.path)
            if time.monotonic() > limit:
                break
            if not said:
                _log.warning(
                    "%s holds the ledger %s: waiting for at most %g s; what is measured is kept",
                    who, self.path, HELD_S,
                )  # fmt: skip
                said = True
        lost = self._rescue(f"was held by {who} for {HELD_S:g} s", still_there=True)
        self._db.execute("BEGIN IMMEDIATE")
        return lost

    @contextmanager
    def _part(self) -> Iterator[int]:
        """Run a part of the open transaction; an error in it undoes the part and goes on outwards."""
        before, count = self._change, len(self._changed)
        self._db.execute("SAVEPOINT part")
        try:
            yield int(self._counter()["revision"]) + 1
            self._db.execute("RELEASE part")
        except BaseException:
            self._change = before
            del self._changed[count:]
            if self._db.in_transaction:  # a full disk ends the whole transaction by itself
                self._db.execute("ROLLBACK TO part")
                self._db.execute("RELEASE part")
            raise

    # -- a file that goes away ---------------------------------------------------------------------

    def ensure_kept(self) -> None:
        """Look whether the file of a guarded ledger is still there and ours.

        Raises:
            LedgerError: It is not; everything was written to another one, which this ledger is from now on.
        """
        with self.lock:
            lost = self._rescue_lost()
        if lost is not None:
            raise lost

    def _rescue_lost(self) -> LedgerError | None:
        """Write a guarded ledger anew where its file went away, and go on with the new one.

        Returns:
            The error that says so, to be raised when what is to be committed now is in the new file too.

        Raises:
            LedgerError: It can be written nowhere.
        """
        guard = self._guard
        if guard is None:
            return None
        happened = guard.loss()
        if not happened:
            renew_locks(guard.path)
            return None
        return self._rescue(happened)

    def _rescue(self, happened: str, *, still_there: bool = False) -> LedgerError:
        """Write a guarded ledger anew and go on with the new one.

        Args:
            happened: Fate of the file.
            still_there: Whether the file is ours still, and can be read.

        Returns:
            As :meth:`_rescue_lost`.

        Raises:
            LedgerError: It can be written nowhere.
        """
        guard = self._guard
        assert guard is not None  # noqa: S101 - only those are rescued
        failures = []
        for folder in guard.places():
            try:
                folder.mkdir(parents=True)
                rescued = type(self).open(folder / guard.path.name, guarded=True)
                with rescued.rows() as put:
                    for table, row in guard.rows(still_there):
                        put(table, {**row, "revision": 1} if "revision" in row else row)
            except (OSError, LedgerError) as error:
                failures.append(f"{folder}: {error.strerror if isinstance(error, OSError) else error}")
                continue
            break
        else:
            raise LedgerError(
                f"the ledger {guard.path} {happened} while it was written; no other place can be written: "
                + "; ".join(failures)
            )
        if not still_there:
            guard.let_go()
        self.close()
        for name in ("_db", "_head", "_guard", "_version", "path"):
            setattr(self, name, getattr(rescued, name))
        rescued._close_files.detach()
        self._close_files = self._closer()
        names = sorted(guard.written)
        store = ["--store", str(folder)]
        resume = "; ".join(self._goes_on(name, store) for name in names)
        best = "".join(f", `{shlex.join(['autotune', 'best', name, *store])}` shows it" for name in names[:1])
        return LedgerError(
            f"the ledger {guard.path} {happened} while it was written; everything of it is in {self.path}",
            hint=f"{resume}{best}" if names else f"it is a ledger like any other: {' '.join(store)}",
        )

    def _goes_on(self, name: str, store: list[str]) -> str:
        """Return how a study goes on in this ledger; that of a Python function has no system to start."""
        row = self._get("study", name)
        if row is not None and json.loads(row["spec"]).get("system"):
            return f"`{shlex.join(['autotune', 'resume', name, *store])}` goes on"
        return f"in Python, `path={str(self.path)!r}` goes on with {name!r}"

    def _counter(self) -> dict[str, Any]:
        counter = self._get("counter", 1)
        if counter is None:
            raise damaged(self.path, ["counter(one=1) is missing"])
        return counter

    def _log_size(self) -> int:
        log = None if self.path is None else self.path.with_name(f"{self.path.name}-wal")
        return log.stat().st_size if log is not None and log.exists() else 0

    def _put(self, table: str, row: dict[str, object]) -> None:
        columns, keys = COLUMNS[table], KEYS[table]
        proof = checksum(table, row)
        if table != "counter":
            self._account(table, row, proof)
            self._changed.append((table, {**row, "checksum": proof}))
        names = ", ".join((*columns, "checksum"))
        marks = ", ".join("?" * (len(columns) + 1))
        updates = ", ".join(f"{c} = excluded.{c}" for c in (*columns, "checksum") if c not in keys)
        self._db.execute(
            f"INSERT INTO {table} ({names}) VALUES ({marks}) "  # noqa: S608 - our own names
            f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {updates}",
            (*(row[c] for c in columns), proof),
        )

    def _account(self, table: str, row: dict[str, Any], proof: str) -> None:
        """Take the row that is replaced out of the counter's sum, and put the new one in."""
        digest, entries = self._change
        before = self._get(table, *(row[key] for key in KEYS[table]))
        if before is not None:
            digest, entries = added(digest, before["checksum"], sign=-1), entries - 1
        self._change = (added(digest, proof), entries + 1)

    def _get(self, table: str, *key: str | int) -> dict[str, Any] | None:
        where = " AND ".join(f"{k} = ?" for k in KEYS[table])
        with self._reading():
            found = self._db.execute(f"SELECT * FROM {table} WHERE {where}", key).fetchone()  # noqa: S608
        if found is None:
            return None
        row = dict(found)
        if not intact(table, row, self._version):
            raise damaged(self.path, [named(table, row)])
        return row

    def serialized(self) -> bytes:
        """Return the whole ledger as the bytes of its file."""
        with self._reading():
            return self._db.serialize()

    def revision(self) -> int:
        """Return the counter that every commit raises."""
        with self._reading():
            (revision,) = self._db.execute("SELECT revision FROM counter").fetchone()
        return int(revision)


def _close(connection: sqlite3.Connection, head: Head | None) -> None:
    connection.close()
    if head is not None:
        head.close()
