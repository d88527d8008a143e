"""A ledger whose file is deleted, moved, replaced or cut while a study writes it.

SQLite writes on into a deleted file without an error, and what was measured is gone at its end. So the file
is looked at before each commit: three calls of ``stat``, and one page where something else wrote to it. What
was read and written is kept in memory, and is enough to write the ledger anew.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from autotune.ledger.damage import read_table
from autotune.ledger.rows import Row
from autotune.ledger.schema import CONTENT, KEYS, intact

Change = tuple[str, Row]
"""A table and a row of it as it is now."""

_Inode = tuple[int, int]
_BESIDE = {"-wal": "its write-ahead log", "-shm": "the index of its write-ahead log"}


class Guard:
    """A guard that knows the file a connection writes, and the rows that it must have.

    Args:
        path: The file.
        connection: Connection that writes it.

    Attributes:
        written: Names of the studies that were written since.
        room: File that keeps room on the disk.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path.resolve()
        self._connection = connection
        self.room = self._with(".room")
        self.written: set[str] = set()
        self._rows: dict[str, dict[tuple[object, ...], Row]] = {}
        for table in CONTENT:
            rows, _ = read_table(connection, table)
            self._rows[table] = {_key(table, row): row for row in rows if intact(table, row)}
        (self._identity,) = connection.execute("SELECT ledger FROM counter").fetchone()
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'counter'").fetchone()
        (page,) = connection.execute("PRAGMA page_size").fetchone()
        self._page = (page * (root - 1), page)
        if not self._is_ours():  # of a new ledger everything is in the log still
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        self._recognizable = self._is_ours()
        self._file = _inode(self.path)
        self._beside = {suffix: _inode(self._with(suffix)) for suffix in _BESIDE}
        self._index = self._index_size()
        self._seen = self._look()

    def keep(self, changes: Iterable[Change]) -> None:
        """Take committed rows into memory."""
        for table, row in changes:
            if table in self._rows:
                self._rows[table][_key(table, row)] = row
                self.written.add(str(row["name"] if table == "study" else row["study"]))

    def loss(self) -> str:
        """Return what happened to the file since it was looked at last; empty where nothing did."""
        there = _inode(self.path)
        if there != self._file:
            if there is not None:
                return "was replaced by another file"
            now = self._present_path()
            return f"was moved to {now}" if now else "was deleted"
        for suffix, what in _BESIDE.items():
            before, now_there = self._beside[suffix], _inode(self._with(suffix))
            if before is not None and now_there != before:
                happened = "deleted" if now_there is None else "replaced"
                return f"lost {what}: {self._with(suffix).name} was {happened}"
        if self._index_size() < self._index:  # it is mapped: the next look at it would end the process
            return f"lost {_BESIDE['-shm']}: {self._with('-shm').name} was cut"
        size, changed = self._look()
        if size < self._seen[0]:
            return f"was cut from {self._seen[0]} to {size} bytes"
        if (size, changed) != self._seen and self._recognizable and not self._is_ours():
            return "was overwritten with something else"
        self._seen = (size, changed)
        return ""

    def rows(self, still_there: bool = False) -> Iterator[Change]:
        """Yield every row, studies first.

        Rows of other studies are read from a file that is whole although it has no name any more, or that is
        still there: other processes may have written them.
        """
        whole = still_there or _inode(self.path) != self._file
        for table in CONTENT:
            known = dict(self._rows[table])
            if whole:
                with contextlib.suppress(sqlite3.Error):  # what is in memory stands for it
                    found = read_table(self._connection, table)[0]
                    known = {_key(table, row): row for row in found if intact(table, row)} | known
            for row in known.values():
                yield table, row

    def let_go(self) -> None:
        """Keep SQLite from copying our log into what is not our file any more when it closes."""
        index = self._with("-shm")
        if _inode(index) == self._beside["-shm"] and self._index_size() < self._index:
            os.truncate(index, self._index)
        log = self._with("-wal")
        if self._beside["-wal"] is not None and _inode(log) == self._beside["-wal"]:
            os.truncate(log, 0)
            for suffix in _BESIDE:
                self._with(suffix).unlink(missing_ok=True)

    def places(self) -> Iterator[Path]:
        """Yield folders, not there yet, that the ledger can be written to: beside it first."""
        for parent in (self.path.parent, self.path.parent.parent, Path.cwd(), Path(tempfile.gettempdir())):
            name = f"{self.path.stem}-rescued"
            yield next(
                folder
                for count in range(1, 1 << 30)
                if not os.path.lexists(folder := parent / (name if count == 1 else f"{name}-{count}"))
            )

    def _with(self, suffix: str) -> Path:
        return self.path.with_name(f"{self.path.name}{suffix}")

    def _index_size(self) -> int:
        index = self._with("-shm")
        return index.stat().st_size if index.exists() else 0

    def _look(self) -> tuple[int, int]:
        found = self.path.stat()
        return found.st_size, found.st_mtime_ns

    def _is_ours(self) -> bool:
        """Return whether the file still has the ledger's name; so too where it cannot be looked at.

        It is read by SQLite's own descriptor. A descriptor of ours would take SQLite's locks with it when it
        is closed, as POSIX has it, and another process that ends would then delete the log of this one.
        """
        start, length = self._page
        for descriptor in self._descriptors():
            with contextlib.suppress(OSError):
                return str(self._identity).encode() in os.pread(descriptor, length, start)
        return True

    def _descriptors(self) -> Iterator[int]:
        """Yield the descriptors of this process that are of the file, where the system lists them."""
        wanted = _inode(self.path)
        with contextlib.suppress(OSError):
            for link in Path("/proc/self/fd").iterdir():
                with contextlib.suppress(OSError):
                    found = os.fstat(int(link.name))
                    if (found.st_dev, found.st_ino) == wanted:
                        yield int(link.name)

    def _present_path(self) -> Path | None:
        """Return where the open file lies now, where the system can say so."""
        with contextlib.suppress(OSError):
            for link in Path("/proc/self/fd").iterdir():
                with contextlib.suppress(OSError):
                    target = link.readlink()
                    if _inode(target) == self._file:
                        return target
        return None


def _key(table: str, row: Row) -> tuple[object, ...]:
    return tuple(row[key] for key in KEYS[table])


def _inode(path: Path) -> _Inode | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
