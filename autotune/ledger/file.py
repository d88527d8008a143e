"""An open ledger file: one connection, transactions with checksummed rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from autotune.core.failpoint import failpoint
from autotune.errors import LedgerError
from autotune.ledger.schema import COLUMNS, KEYS, checksum, connect, damaged_rows, reported


class LedgerFile:
    """Read and write a ledger file. One thread per instance; several instances may share the file.

    Attributes:
        path: The file; ``None`` in memory.
        damaged: Rows whose checksum does not fit, named; only after ``salvage=True``.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path | None) -> None:
        self._db = connection
        self.path = path
        self.damaged: tuple[str, ...] = ()

    @classmethod
    def open(
        cls, path: str | Path, *, create: bool = True, read_only: bool = False, salvage: bool = False
    ) -> Self:
        """Open a ledger and verify every row.

        Args:
            path: The file, or ``":memory:"``.
            create: Make the file if it is not there.
            read_only: Refuse writes.
            salvage: Go on with a damaged ledger, leaving out the rows named in :attr:`damaged`.

        Raises:
            LedgerError: It cannot be opened, or rows are damaged; each is named.
        """
        file = None if str(path) == ":memory:" else Path(path)
        ledger = cls(connect(file, create=create, read_only=read_only), file)
        try:
            ledger._verify(salvage)
        except BaseException:
            ledger.close()
            raise
        return ledger

    def _verify(self, salvage: bool) -> None:
        bad = damaged_rows(self._db)
        if bad and not salvage:
            shown = "; ".join(bad[:5]) + (f"; and {len(bad) - 5} more" if len(bad) > 5 else "")
            raise LedgerError(
                f"the ledger {self.path} is damaged: {shown}",
                hint="nothing of it is used; restore a copy, or export what is good with salvage",
            )
        self.damaged = tuple(bad)

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- writing -----------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[int]:
        """Run one durable transaction; gives the revision that its rows carry."""
        with reported(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                (revision,) = self._db.execute("SELECT revision FROM counter").fetchone()
                self._put("counter", {"one": 1, "revision": revision + 1})
                yield revision + 1
                failpoint("ledger.commit")
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            failpoint("ledger.committed")

    def _put(self, table: str, row: dict[str, Any]) -> None:
        columns = COLUMNS[table]
        keys = KEYS[table]
        names = ", ".join((*columns, "checksum"))
        marks = ", ".join("?" * (len(columns) + 1))
        updates = ", ".join(f"{c} = excluded.{c}" for c in (*columns, "checksum") if c not in keys)
        self._db.execute(
            f"INSERT INTO {table} ({names}) VALUES ({marks}) "  # noqa: S608 - our own names
            f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {updates}",
            (*(row[c] for c in columns), checksum(table, row)),
        )

    def _get(self, table: str, *key: str | int) -> dict[str, Any] | None:
        where = " AND ".join(f"{k} = ?" for k in KEYS[table])
        with reported(self.path):
            found = self._db.execute(f"SELECT * FROM {table} WHERE {where}", key).fetchone()  # noqa: S608
        if found is None:
            return None
        row = dict(found)
        if checksum(table, row) != row["checksum"]:
            raise LedgerError(f"the ledger {self.path} is damaged: {table}{key}")
        return row

    def revision(self) -> int:
        """Return the counter that every commit raises."""
        with reported(self.path):
            (revision,) = self._db.execute("SELECT revision FROM counter").fetchone()
        return int(revision)
