"""One writer per study: a lock that dies with its holder and names it to whoever comes second."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shlex
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from autotune.errors import LedgerError, StudyError

_USUAL = "autotune-runs"  # folder that commands look in by themselves

_held: dict[Path, int] = {}
"""Locks by the thread that holds them: it may open its study again, to widen it for instance."""


@contextmanager
def study_lock(ledger: Path, study: str) -> Iterator[None]:
    """Hold the study for this thread; inside the block, holding it again does nothing.

    Raises:
        StudyError: Another process holds it; its pid, host and start are named.
        LedgerError: The lock's file cannot be written.
    """
    path = _path(ledger.resolve(), study)
    if _held.get(path) == threading.get_ident():
        yield
        return
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise LedgerError(
            f"study {study!r} cannot be locked: {path}: {error.strerror}",
            hint="the folder is missing or cannot be written; a copy of it elsewhere can be used",
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = _holder(file.read())
            raise StudyError(
                f"study {study!r} is already running: {holder}",
                hint=f"wait for it or stop it; `{_status(study, ledger)}` shows where it stands",
            ) from None
        file.truncate(0)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now}))
        file.flush()
        _held[path] = threading.get_ident()
        try:
            yield
        finally:
            del _held[path]
            file.truncate(0)
            fcntl.flock(file, fcntl.LOCK_UN)


def study_is_held(ledger: Path, study: str) -> bool:
    """Return whether a process holds the study; one on another host is believed to live.

    The lock itself is not tried: for that moment it would refuse a study that is just starting.
    """
    try:
        data = json.loads(_path(ledger, study).read_text(encoding="utf-8"))
        pid, host = int(data["pid"]), data["host"]
    except (OSError, ValueError, KeyError):  # nobody does, or nobody ever did
        return False
    return host != socket.gethostname() or Path(f"/proc/{pid}").exists()


def _path(ledger: Path, study: str) -> Path:
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", study)
    if safe != study:  # two names must not share a lock
        safe += f"-{hashlib.blake2b(study.encode(), digest_size=4).hexdigest()}"
    return ledger.with_name(f"{ledger.name}.{safe}.lock")


def _holder(text: str) -> str:
    try:
        data = json.loads(text)
        return f"process {data['pid']} on {data['host']} since {data['since']}"
    except (ValueError, KeyError):  # the holder is between locking and writing its name
        return "by another process"


def _status(study: str, ledger: Path) -> str:
    """Return the command that shows a study of a ledger."""
    folder = ledger.parent
    return shlex.join(
        ["autotune", "status", study, *([] if folder.name == _USUAL else ["--store", str(folder)])]
    )
