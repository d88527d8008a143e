"""One writer per study: a lock that dies with its holder and names it to whoever comes second."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from autotune.errors import StudyError


@contextmanager
def study_lock(ledger: Path, study: str) -> Iterator[None]:
    """Hold the study for this process.

    Raises:
        StudyError: Another process holds it; its pid, host and start are named.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", study)
    path = ledger.with_name(f"{ledger.name}.{safe}.lock")
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = _holder(file.read())
            raise StudyError(
                f"study {study!r} is already running: {holder}",
                hint=f"wait for it or stop it; `autotune status {study}` shows where it stands",
            ) from None
        file.truncate(0)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now}))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
            fcntl.flock(file, fcntl.LOCK_UN)


def _holder(text: str) -> str:
    try:
        data = json.loads(text)
        return f"process {data['pid']} on {data['host']} since {data['since']}"
    except (ValueError, KeyError):  # the holder is between locking and writing its name
        return "by another process"
