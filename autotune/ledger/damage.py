"""What is wrong with a ledger: rows that changed, rows that are missing, tables that were altered."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping

from autotune.ledger.rows import Row
from autotune.ledger.schema import CONTENT, KEYS, UNREADABLE, added, intact, named, tables_of

_SHOWN = 20  # problems that SQLite lists itself; one already condemns the file


def damaged_rows(connection: sqlite3.Connection, version: int) -> list[str]:
    """Return what is wrong with a ledger, rows named by table and key; empty for a good one.

    One snapshot is looked at, whoever writes meanwhile. Every row must have its checksum, every trial its
    number after the one before, every attempt its trial and the other way round; since schema 2 the rows
    together must be those that the counter counted.
    """
    alone = not connection.in_transaction
    if alone:
        connection.execute("BEGIN")
    try:
        return list(dict.fromkeys(_problems(connection, version)))
    finally:
        if alone and connection.in_transaction:  # of a broken file even the end of reading can be refused
            with contextlib.suppress(*UNREADABLE):
                connection.execute("ROLLBACK")


def _problems(connection: sqlite3.Connection, version: int) -> Iterator[str]:
    yield from _altered_tables(connection, version)
    yield from _structure(connection)
    found: dict[str, list[Row]] = {}
    unread = False
    for table in (*CONTENT, "counter"):
        rows, problems = read_table(connection, table)
        yield from problems
        unread = unread or bool(problems)
        found[table] = []
        for row in rows:
            if intact(table, row, version):
                found[table].append(row)
            else:
                unread = True
                yield named(table, row)
    missing = list(missing_rows(found))
    yield from missing
    if not unread:
        yield from _uncounted(found, version, bool(missing))


def _altered_tables(connection: sqlite3.Connection, version: int) -> Iterator[str]:
    """Name tables that are not as they were made: a changed type would change what is written later."""
    try:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    except UNREADABLE as error:
        yield f"the list of tables: {error}"
        return
    there = {row[0]: row[1] for row in rows}
    wanted = tables_of(version)
    for name in sorted(there.keys() | wanted.keys()):
        if there.get(name) != wanted.get(name):
            yield f"the definition of table {name}"


def _structure(connection: sqlite3.Connection) -> Iterator[str]:
    """Say what SQLite finds wrong between pages, and in the index by which studies are found."""
    for check in (f"quick_check({_SHOWN})", "integrity_check(study)"):
        try:
            said = [str(line) for (line,) in connection.execute(f"PRAGMA {check}")]
        except UNREADABLE as error:
            said = [str(error)]
        yield from (line.strip().replace("\n", " ") for line in said if line != "ok")


def read_table(connection: sqlite3.Connection, table: str) -> tuple[list[Row], list[str]]:
    """Return the rows of a table that can be read, and what kept the others from it.

    A broken page ends a scan; the rows behind it are reached from the other end, and single ones by key.
    """
    keys = KEYS[table]
    rows: dict[tuple[object, ...], Row] = {}
    problems: list[str] = []
    for direction in ("ASC", "DESC"):
        order = ", ".join(f"{key} {direction}" for key in keys)
        try:
            for found in connection.execute(f"SELECT * FROM {table} ORDER BY {order}"):  # noqa: S608 - our names
                row = dict(found)
                rows[tuple(row.get(key) for key in keys)] = row
        except UNREADABLE as error:
            problems.append(f"{table}: {error}")
            continue
        if not problems:
            return list(rows.values()), []
    if table in ("trial", "attempt"):
        _probe(connection, table, rows)
    return list(rows.values()), list(dict.fromkeys(problems))


def _probe(connection: sqlite3.Connection, table: str, rows: dict[tuple[object, ...], Row]) -> None:
    """Read rows between those that two broken scans reached, number by number."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for key in rows:
        if isinstance(key[0], str) and isinstance(key[1], int):
            numbers[key[0]].append(key[1])
    column = KEYS[table][1]
    for study, known in numbers.items():
        for number in sorted(set(range(max(known) + 1)) - set(known)):
            try:
                query = f"SELECT * FROM {table} WHERE study = ? AND {column} = ?"  # noqa: S608 - our names
                found = connection.execute(query, (study, number)).fetchall()
            except UNREADABLE:  # this one lies on the broken page
                continue
            for each in found:
                row = dict(each)
                rows[tuple(row.get(key) for key in KEYS[table])] = row


def missing_rows(found: Mapping[str, list[Row]]) -> Iterator[str]:
    """Name rows that others need: trials between numbers, attempts that a trial counts, their studies."""
    studies = {row["name"] for row in found["study"]}
    trials = {(row["study"], row["number"]): row for row in found["trial"]}
    attempts = {(row["study"], row["trial"], row["attempt"]) for row in found["attempt"]}
    last: dict[str, int] = {}
    for study, number in (*trials, *((study, trial) for study, trial, _ in attempts)):
        last[study] = max(last.get(study, -1), number)
    for study, highest in sorted(last.items()):
        if study not in studies:
            yield named("study", {"name": study}) + " is missing"
        for number in range(highest + 1):
            if (study, number) not in trials:
                yield named("trial", {"study": study, "number": number}) + " is missing"
    for (study, number), trial in sorted(trials.items()):
        for attempt in range(1, trial["attempts"] + 1):
            if (study, number, attempt) not in attempts:
                key = {"study": study, "trial": number, "attempt": attempt}
                yield named("attempt", key) + " is missing"


def _uncounted(found: Mapping[str, list[Row]], version: int, explained: bool) -> Iterator[str]:
    """Compare the rows with what the counter says of them."""
    if not found["counter"]:
        yield "counter(one=1) is missing"
        return
    if version == 1 or explained:
        return
    counter = found["counter"][0]
    digest, entries = "0", 0
    for table in CONTENT:
        for row in found[table]:
            digest, entries = added(digest, row["checksum"]), entries + 1
    if entries != counter["entries"]:
        yield f"{counter['entries']} rows were written and {entries} are there"
    elif int(digest, 16) != int(counter["digest"], 16):
        yield f"some of the {entries} rows are of another time than the rest"
