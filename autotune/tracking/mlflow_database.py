"""The database of an MLflow store: made once and whole, and never migrated unasked.

MLflow makes its tables in some seventy steps that are committed one by one, in the database itself and
without a lock: two processes at once, or a kill between two steps, leave one that neither MLflow nor its
upgrade can open again. So a database file is made under another name, under a lock beside it, and linked to
its place when it is whole. What is there already is opened only if its schema is that of this library, and
never renamed, written or removed unless MLflow or we have made it.
"""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from autotune.core.failpoint import failpoint
from autotune.core.own_files import kind_of, open_own, taken_names
from autotune.core.redact import redact
from autotune.errors import EnvironmentProblem
from autotune.tracking.base import StoppedError
from autotune.tracking.mlflow_addresses import database_file, relative_artifacts
from autotune.tracking.turn import locked

SETTLED_S = 10.0
"""A half-made database that changed more recently may be one that another program is making."""

_MIGRATION = threading.Lock()
"""Held while tables are made: Alembic keeps what it works on in its module, one at a time for a process."""

_MAKING_S = 100.0  # longest wait for one that makes it, below what `sync` waits for a step
_IN_USE_S = 30.0  # longest wait for another program to finish or to let go of it
_POLL_S = 0.2
_ROOM = 4 * 2**20  # bytes; a new database has one, its journal another
_MARK = (
    "a database of MLflow is made by process {} of autotune; the file may be removed when that has ended\n"
)
_MARKED = _MARK.partition("{}")[0]
_SIDE_FILES = ("-journal", "-wal", "-shm")
_DEFAULTS = {"experiments": "experiment_id = 0", "workspaces": "name = 'default'"}  # rows of an empty store
_AGAIN = "`autotune sync` writes every study of the ledger into a new one"
_ELSEWHERE = (
    "name another store: `tracking: {mlflow: 'sqlite:///other.db'}` in the study file, or "
    "`autotune sync --mlflow sqlite:///other.db`"
)
_CORE = {
    "experiments": {"experiment_id", "name", "artifact_location", "lifecycle_stage"},
    "runs": {"run_uuid", "name", "experiment_id", "status", "artifact_uri", "lifecycle_stage"},
}
"""Tables that every MLflow has had from its first step on, with columns that they have had since."""

_NAMED_TABLES = 5  # of another program, in a message
_SQL = re.compile(r"(?:sqlite|postgresql|mysql|mssql)(?:\+\w+)?")


@dataclass(frozen=True)
class Schema:
    """The contents of a database.

    Args:
        revisions: Revisions of its schema, as Alembic notes them; one, save in a half made database.
        whole: Whether its schema is the library's, with every table.
        newer: Whether a revision is unknown to the library.
        ours: Whether all its tables are of MLflow's making, as one that it began to make has.
        empty: Whether it has no row that MLflow does not make itself.
        tables: Their names.
    """

    revisions: tuple[str, ...]
    whole: bool
    newer: bool
    ours: bool
    empty: bool
    tables: tuple[str, ...]


def prepare_database(uri: str, give_up: Callable[[], bool], say: Callable[[str], None]) -> None:
    """See to it that the database of a store can be opened: make it if it is not there or was left half made.

    Args:
        uri: Address of the store; nothing is done where it is no database.
        give_up: Callable, asked while waiting for another process.
        say: Callable that takes a line about what was done to a file that was there.

    Raises:
        EnvironmentProblem: It is another version's or another program's, damaged, in use, or cannot be
            written; with what to do.
        StoppedError: ``give_up`` said so.
    """
    if not _SQL.fullmatch(urlsplit(uri).scheme):
        return
    path = database_file(uri)
    if path is None:  # a database server; MLflow makes its tables where there are none
        schema = _schema_at(uri)
        if schema.tables and not schema.whole:
            raise _not_touched(uri, schema)
        return
    path = Path(os.path.realpath(path))  # a link's target is what is made and replaced
    _refuse_no_file(path)
    try:
        if _is_ready(path):
            _tidy(path)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path, give_up):
            while not _is_ready(path):
                _clear(path, uri, give_up, say)
                _create(path)
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot make {path}: {error.strerror or error}",
            hint="free some space or choose another place with `tracking: {mlflow: ...}`; "
            "`autotune sync` completes it",
        ) from error


def _is_ready(path: Path) -> bool:
    """Return whether the database is there, this library's and open to us.

    Raises:
        EnvironmentProblem: It is, but cannot be written.
    """
    if not _size(path) or not _schema(path).whole:
        return False
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        raise EnvironmentProblem(
            f"{path} cannot be written", hint="allow it for the file and its folder, then `autotune sync`"
        )
    return True


def _refuse_no_file(path: Path) -> None:
    """Refuse what has the name of the database, or of what SQLite makes beside it, and is no file.

    Raises:
        EnvironmentProblem: There is something else, which SQLite would follow, wait for or write through.
    """
    if kind := kind_of(path):
        raise EnvironmentProblem(f"{path} is {kind}, not a database file", hint=_ELSEWHERE)
    if taken := taken_names(path.with_name(path.name + side) for side in _SIDE_FILES):
        raise EnvironmentProblem(f"cannot use {path}: {taken}", hint=f"or {_ELSEWHERE}")


def _tidy(path: Path) -> None:
    """Remove what a maker left that was killed once the database had its name."""
    if _drafts(path) or _is_marked(_lock(path)):
        with suppress(StoppedError), _alone(path, lambda: True):
            _remove_drafts(path)


def _drafts(path: Path) -> list[Path]:
    """Return the drafts of a database that makers left, with what SQLite made beside them.

    Their names are long and random, so that nothing else has them by chance; all are files of this user.
    """
    name = re.compile(rf"{re.escape(path.name)}\.new-[0-9a-f]{{16}}(?:-journal|-wal|-shm)?")
    found = []
    for entry in path.parent.iterdir() if path.parent.is_dir() else ():
        if name.fullmatch(entry.name):
            with suppress(FileNotFoundError):
                status = entry.lstat()
                if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
                    found.append(entry)
    return found


def _remove_drafts(path: Path) -> None:
    for draft in _drafts(path):
        draft.unlink(missing_ok=True)


def _lock(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _is_marked(lock: Path) -> bool:
    """Return whether a lock's file is of a maker's own making."""
    if kind_of(lock):
        return False
    try:
        with os.fdopen(os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            return file.read(len(_MARKED)) == _MARKED.encode()
    except OSError:
        return False


@contextmanager
def _alone(path: Path, give_up: Callable[[], bool]) -> Iterator[None]:
    """Hold the lock beside a database; it goes with its holder, and its file with the last of them.

    A file of somebody else's that has its name is locked all the same, and left as it is.

    Raises:
        EnvironmentProblem: Another process has held it too long.
        OSError: What has its name is no file.
        StoppedError: ``give_up`` said so.
    """
    lock = _lock(path)
    deadline = time.monotonic() + _MAKING_S
    until = lambda: give_up() or time.monotonic() > deadline  # noqa: E731 - one question of two parts
    with locked(lock, until, _MARK.format(os.getpid())) as file:
        if file is None and give_up():
            raise StoppedError
        if file is None:
            raise EnvironmentProblem(
                f"another process has been making {path} for {_MAKING_S:g} s",
                hint=f"if it hangs, end it: it holds {lock.name}; then `autotune sync`",
            )
        try:
            yield
        finally:
            if _is_marked(lock):
                lock.unlink(missing_ok=True)  # whoever waits for it looks whether it is there still


def _clear(path: Path, uri: str, give_up: Callable[[], bool], say: Callable[[str], None]) -> None:
    """Make room for a new database: set a half-made one aside that holds nothing.

    Raises:
        EnvironmentProblem: There is one that must stay.
        StoppedError: ``give_up`` said so.
    """
    deadline = time.monotonic() + _IN_USE_S
    while path.exists():
        schema = _schema(path) if _size(path) else None
        if schema is not None and schema.whole:  # another program has finished it
            return
        if schema is not None and (schema.newer or not (schema.ours and schema.empty)):
            raise _not_touched(uri, schema)
        holder = _opened_by(path)
        if not holder and _is_settled(path):
            aside = _free_name(path)
            path.rename(aside)
            say(f"{path.name} was left half made and holds nothing: set aside as {aside.name}, made again")
            break
        logs = [side for side in _SIDE_FILES if path.with_name(path.name + side).exists()]
        if logs and not holder and not _size(path):
            raise EnvironmentProblem(
                f"{path} is empty, and beside it is {path.name}{logs[0]}, of another program; "
                "neither is touched",
                hint=f"move both away, or {_ELSEWHERE}",
            )
        if give_up():
            raise StoppedError
        if time.monotonic() > deadline:
            who = f"process {holder} has it open" if holder else "another program writes it"
            raise EnvironmentProblem(
                f"{path} is half made and {who}",
                hint="wait for that program or end it, then `autotune sync`",
            )
        time.sleep(_POLL_S)
    for side in _SIDE_FILES:  # of a database that is gone; SQLite would apply it to the new one
        left = path.with_name(path.name + side)
        if left.exists():
            left.rename(_free_name(left))


def _create(path: Path) -> None:
    """Make the database under another name and link it to its place, unless there is one by then."""
    from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    if path.exists():
        return
    _remove_drafts(path)  # of makers who were killed
    draft = path.with_name(f"{path.name}.new-{secrets.token_hex(8)}")
    try:
        # a full disk is noticed now, not after seconds of work
        with os.fdopen(open_own(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL), "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, _ROOM)
            file.truncate(0)
        with _MIGRATION:
            store = SqlAlchemyStore(_address(draft), DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH)
        store.engine.dispose()
        failpoint("mirror.made")
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        _link(draft, path)
        failpoint("mirror.linked")
    except OSError:
        raise
    except Exception as error:  # whatever the library raises: the disk is full, or not ours
        raise EnvironmentProblem(
            f"cannot make {path}: {redact(str(error).splitlines()[0])}",
            hint="see that the folder can be written and has some MB free, then `autotune sync`",
        ) from error
    finally:
        with suppress(OSError):
            _remove_drafts(path)


def _link(draft: Path, path: Path) -> None:
    """Give a finished file its name, replacing none."""
    try:
        os.link(draft, path)
    except FileExistsError:  # by a program that does not know our lock
        return
    except OSError:  # a filesystem without links
        if not path.exists():
            draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _schema(path: Path) -> Schema:
    """Return what a database file holds.

    Raises:
        EnvironmentProblem: It cannot be read, or is another program's.
    """
    tables = _peek(path)
    if tables and not _of_mlflow(tables):
        raise _of_another(str(path), [name for name in tables if name])
    return _schema_at(_address(path))


def _peek(path: Path) -> dict[str, list[str]] | None:
    """Return the columns of each table of a database file, not writing to it or beside it; none of a view.

    A file whose header another program has marked as its own has the table ``""`` besides. ``None`` where it
    cannot be read in this way: a write was cut short, or it is no database.
    """
    log = path.with_name(f"{path.name}-wal")
    mode = "mode=ro" if _size(log) else "mode=ro&immutable=1"
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?{mode}", uri=True)
    except sqlite3.Error:
        return None
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view')"
        kinds = {name: kind for name, kind in connection.execute(tables) if not name.startswith("sqlite_")}
        query = "SELECT name FROM pragma_table_info(?)"
        found = {
            name: [column for (column,) in connection.execute(query, (name,))] if kind == "table" else []
            for name, kind in kinds.items()
        }
    except (sqlite3.Error, UnicodeError):
        return None
    finally:
        connection.close()
    return found | {"": []} if application or version else found


def _of_mlflow(tables: dict[str, list[str]]) -> bool:
    """Return whether a database is MLflow's, of whichever version, or was begun by it.

    A single table of a name of MLflow's, and Alembic's own, are anybody's.
    """
    from mlflow.store.db.base_sql_model import Base

    known = Base.metadata.tables
    final = {_final_name(name): {*columns} for name, columns in tables.items()}
    if "" in tables or any(not columns <= final.get(name, set()) for name, columns in _CORE.items()):
        return False
    return all(  # none is another program's of the same name
        2 * len({*columns} & {*known[name].columns.keys()}) > len(columns)
        for name, columns in tables.items()
        if name in known
    )


def _final_name(table: str) -> str:
    return table.removeprefix("_alembic_tmp_")  # a copy that a migration was making


def _address(path: Path) -> str:
    """Return the address of a database file; a question mark in it would begin the options."""
    return f"sqlite:///{os.path.relpath(path) if '?' in str(path) else path}"


def _schema_at(uri: str) -> Schema:
    """Return what a database holds.

    Raises:
        EnvironmentProblem: It cannot be read, or is none.
    """
    from alembic.migration import MigrationContext
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.db.utils import create_sqlalchemy_engine
    from sqlalchemy import inspect
    from sqlalchemy.exc import SQLAlchemyError

    engine = create_sqlalchemy_engine(uri)
    try:
        with engine.connect() as connection:
            tables = inspect(connection).get_table_names()
            revisions = MigrationContext.configure(connection).get_current_heads() if tables else ()
            head, steps = _revisions()
            known = set(Base.metadata.tables)
            whole = revisions == (head,) and known <= set(tables)
            others = {*map(_final_name, tables), *inspect(connection).get_view_names()} - known
            ours = others <= {"alembic_version"}
            empty = not whole and not any(_holds_rows(connection, table) for table in tables)
    except SQLAlchemyError as error:
        said = redact(str(getattr(error, "orig", None) or error).splitlines()[0])
        raise EnvironmentProblem(
            f"{redact(uri)} cannot be read: {said}",
            hint="see that the database server answers; `autotune sync` completes it"
            if database_file(uri) is None
            else f"if it is damaged, move it away: {_AGAIN}",
        ) from error
    finally:
        engine.dispose()
    return Schema(tuple(revisions), whole, not set(revisions) <= steps, ours, empty, tuple(tables))


def _revisions() -> tuple[str, frozenset[str]]:
    """Return the revision that the library needs and all that it knows."""
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    script = ScriptDirectory.from_config(_get_alembic_config(""))
    return script.get_heads()[0], frozenset(step.revision for step in script.walk_revisions())


def _holds_rows(connection: Any, table: str) -> bool:
    from sqlalchemy import text

    name = _final_name(table)
    if name == "alembic_version":
        return False
    quoted = connection.dialect.identifier_preparer.quote(table)
    besides = f" WHERE NOT ({_DEFAULTS[name]})" if name in _DEFAULTS else ""
    query = text(f"SELECT 1 FROM {quoted}{besides} LIMIT 1")  # noqa: S608 - a name from the database, quoted
    return connection.execute(query).first() is not None


def _of_another(where: str, tables: Sequence[str]) -> EnvironmentProblem:
    """Return what to say of another program's database."""
    shown = ", ".join(redact(name) for name in sorted(tables)[:_NAMED_TABLES])
    more = len(tables) - _NAMED_TABLES
    holds = (
        f"its tables: {shown}{f' and {more} more' if more > 0 else ''}" if tables else "it has no table yet"
    )
    return EnvironmentProblem(
        f"{where} is a database of another program, not a store of MLflow ({holds}); it is not touched",
        hint=_ELSEWHERE,
    )


def _not_touched(uri: str, schema: Schema) -> EnvironmentProblem:
    """Return what to say of a database that is not touched."""
    from mlflow.version import VERSION

    if not set(schema.tables) >= _CORE.keys():
        return _of_another(redact(uri), schema.tables)
    found = ", ".join(schema.revisions) or "none"
    shown = redact(uri)
    if schema.newer:
        return EnvironmentProblem(
            f"{shown} has the schema of a newer MLflow (revision {found}) than the one here ({VERSION})",
            hint="upgrade mlflow here, or mirror to another store; then `autotune sync` completes it",
        )
    return EnvironmentProblem(
        f"{shown} has the schema of an older MLflow, or was left half migrated (revision {found}, where "
        f"MLflow {VERSION} needs {_revisions()[0]}); it holds data and is not touched",
        hint=f"copy it, then `mlflow db upgrade {shown}`; if that fails, move it away: {_AGAIN}",
    )


def _is_settled(path: Path) -> bool:
    age = time.time() - path.stat().st_mtime
    return not 0 <= age < SETTLED_S and not any(
        path.with_name(path.name + side).exists() for side in _SIDE_FILES
    )


def _opened_by(path: Path) -> int:
    """Return the id of another process of this user that has the file open; 0 for none."""
    target = path.stat()
    for folder in Path("/proc").glob("[0-9]*/fd"):
        if int(folder.parent.name) == os.getpid():
            continue
        with suppress(OSError):  # it ended, or is another user's
            for entry in folder.iterdir():
                with suppress(OSError):
                    if os.path.samestat(entry.stat(), target):
                        return int(folder.parent.name)
    return 0


def _free_name(path: Path) -> Path:
    number = 1
    while os.path.lexists(found := path.with_name(f"{path.name}.half-made-{number}")):
        number += 1
    return found


def _size(path: Path) -> int:
    """Return a file's size in bytes; 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def make_relative(uri: str, experiment: str, location: str) -> None:
    """Let a new experiment keep its artifacts relative to the working folder, as its store's address is.

    A folder that is copied then works wherever it is opened. MLflow makes every path absolute that it is
    given, and reads a relative one as one.

    Args:
        uri: Address of the store; nothing is done where it is absolute.
        experiment: Id of the experiment, without runs yet.
        location: Place of its artifacts, as MLflow was told.
    """
    path = relative_artifacts(uri, location)
    file = database_file(uri)
    if path is None or file is None:
        return
    connection = sqlite3.connect(file, timeout=_IN_USE_S)
    try:
        with connection:
            connection.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?"
                " AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.experiment_id = experiments.experiment_id)",
                (path, experiment),
            )
    finally:
        connection.close()
