"""One writer per study: a lock that dies with its holder and names it to whoever comes second."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from autotune.core.commands import stored_command
from autotune.core.input_file import read_text, resolved
from autotune.core.own_files import open_own, refuse_foreign
from autotune.errors import LedgerError, StudyError

_LONGEST = 1 << 16  # bytes of what a holder writes
_CHILD_S, _POLL_S = 10.0, 0.2  # for a child to become its program, on a busy machine, and between two looks
_OURS = re.compile(rb'\{("pid"|"?p?i?d?\Z)')  # a full disk may have cut it

_log = logging.getLogger("autotune.ledger")

_held: dict[Path, tuple[int, TextIO, str]] = {}
"""Thread, file and study of each lock; the thread may open its study again, to widen it for instance."""


@contextmanager
def study_lock(ledger: Path, study: str, *, again: bool = True) -> Iterator[None]:
    """Hold the study for this thread; inside the block, holding it again does nothing.

    Args:
        ledger: Path of the ledger.
        study: Name of the study.
        again: Whether this thread may hold it already.

    Raises:
        StudyError: Another process holds it; its pid, host and start are named. Or this thread does, and
            may not.
        LedgerError: The lock's file cannot be written.
    """
    path = _path(resolved(ledger), study)
    if path in _held and _held[path][0] == threading.get_ident():
        if not again:
            raise StudyError(
                f"study {study!r} is already running: a callback or the function of its run calls this",
                hint="another name, or another path, makes it a study of its own",
            )
        yield
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(_name_taken(path))
            file = stack.enter_context(_locked(path))
        except _HeldError as error:
            raise StudyError(
                f"study {study!r} is already running: {error}",
                hint=f"wait for it or stop it; `{_status(study, ledger)}` shows where it stands",
            ) from None
        except OSError as error:
            raise LedgerError(
                f"study {study!r} cannot be locked: {path}: {error.strerror}",
                hint="the folder is missing or cannot be written; a copy of it elsewhere can be used",
            ) from None
        _held[path] = (threading.get_ident(), file, study)
        try:
            yield
        finally:
            del _held[path]
            file.truncate(0)
            fcntl.flock(file, fcntl.LOCK_UN)


class _HeldError(Exception):
    """A lock held by another, with the name of its holder."""


@contextmanager
def _locked(path: Path) -> Iterator[TextIO]:
    """Hold the lock of a file, with this process's name in it."""
    while True:
        with os.fdopen(open_own(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), "a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise _HeldError(_holder(file.read())) from None
            if not _is_at(file, path):  # deleted between opening and locking
                continue
            refuse_foreign(path, file.fileno(), _OURS)
            file.truncate(0)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now}))
            file.flush()
            yield file
            return


@contextmanager
def _name_taken(path: Path) -> Iterator[None]:
    """Hold a name of this machine beside the file: who deletes the file does not make room for a second run.

    Linux keeps such names in no folder and drops them with their process.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    digest = _digest(path)
    with socket.socket(socket.AF_UNIX) as server:
        limit = time.monotonic() + _CHILD_S
        while True:
            try:
                server.bind(f"\0autotune-study-{digest}")
                break
            except OSError as error:
                if error.errno != errno.EADDRINUSE:  # such sockets are forbidden here: the file alone must do
                    yield
                    return
                if _is_ours_no_more(path, digest) and time.monotonic() < limit:
                    time.sleep(_POLL_S)
                    continue
                named = _read(path)
                raise _HeldError(_holder(named) if named else _listener(digest)) from None
        server.listen(64)
        yield


def _is_ours_no_more(path: Path, digest: str) -> bool:
    """Return whether a name is that of a lock that this process gave up.

    A child that this process was starting at that moment keeps it until it is the program that it becomes.
    """
    return path not in _held and _peer(digest) == os.getpid()


def _listener(digest: str) -> str:
    """Return who holds a name."""
    pid = _peer(digest)
    return f"process {pid} on {socket.gethostname()}" if pid else _holder("")


def _peer(digest: str) -> int:
    """Return the pid of the process that holds a name; 0 where it cannot be told from here."""
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.setblocking(False)
        client.connect(f"\0autotune-study-{digest}")
        pid, _, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)
    return 0


def _is_at(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def renew_locks(ledger: Path) -> None:
    """Lock the files of this process's studies of a ledger again where somebody deleted them.

    Raises:
        StudyError: Another process holds one by now.
    """
    for path, (thread, file, study) in list(_held.items()):
        if path != _path(ledger, study) or _is_at(file, path):
            continue
        renewed = ExitStack()
        try:
            fresh = renewed.enter_context(_locked(path))
        except _HeldError as error:
            raise StudyError(
                f"the lock of study {study!r} was deleted, and another run of it has begun: {error}",
                hint="stop one of them; nothing that was measured is lost",
            ) from None
        os.dup2(fresh.fileno(), file.fileno())
        renewed.close()
        _held[path] = (thread, file, study)
        _log.warning("the lock of study %r was deleted while it ran: %s is there again", study, path)


def study_is_held(ledger: Path, study: str) -> bool:
    """Return whether a process holds the study; one on another host is believed to live."""
    return bool(study_holder(ledger, study))


def study_holder(ledger: Path, study: str) -> str:
    """Return who holds the study, in words; empty where nobody does. One on another host is believed to live.

    The lock itself is not tried: for that moment it would refuse a study that is just starting.
    """
    text = _read(_path(ledger, study))
    try:
        data = json.loads(text)
        pid, host = int(data["pid"]), data["host"]
    except (ValueError, KeyError, TypeError, RecursionError):  # nobody does, or nobody ever did
        return ""
    lives = host != socket.gethostname() or Path(f"/proc/{pid}").exists()
    return _holder(text) if lives else ""


def study_process(ledger: Path, study: str) -> int:
    """Return the pid of the process of this machine that holds the study; 0 where none can be seen from here.

    The kernel says who listens at its name: no later process that was given the pid of one that was killed.
    """
    return _peer(_digest(_path(resolved(ledger), study)))


def _digest(path: Path) -> str:
    return hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest()


def _path(ledger: Path, study: str) -> Path:
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", study)
    if safe != study:  # two names must not share a lock
        safe += f"-{hashlib.blake2b(study.encode(), digest_size=4).hexdigest()}"
    return ledger.with_name(f"{ledger.name}.{safe}.lock")


def _read(path: Path) -> str:
    """Return what a holder has written; empty where nobody has, or what is there is no file."""
    try:
        return read_text(path, _LONGEST)
    except (OSError, ValueError):
        return ""


def _holder(text: str) -> str:
    try:
        data = json.loads(text)
        return f"process {data['pid']} on {data['host']} since {data['since']}"
    except (ValueError, KeyError):  # the holder is between locking and writing its name
        return "by another process"


def _status(study: str, ledger: Path) -> str:
    """Return the command that shows a study of a ledger."""
    return stored_command("status", study, ledger)
