"""Named places where a test can make the process die, fail, hang or tear a write.

``AUTOTUNE_FAILPOINT=name:kill`` dies by SIGKILL at the first visit, ``name:kill@3`` at the third. A file
named by ``AUTOTUNE_FAILPOINT_MARK`` is made when it happens, and while it is there nothing happens any
more: one failure among all the processes of a run, and a test sees when it came. Off, which is always
outside the tests, a visit costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

_visits: dict[str, int] = {}
_HANG_S = 3600.0  # longer than any deadline a test waits for


class FailpointError(OSError):
    """An input/output error at a failpoint."""


def failpoint(name: str) -> bool:
    """Do what the environment asks for at this point.

    Returns:
        Whether the caller must tear its write (mode ``torn``); ``False`` otherwise.

    Raises:
        FailpointError: Mode ``raise``.
    """
    wanted = os.environ.get("AUTOTUNE_FAILPOINT")
    if not wanted or not wanted.startswith(name + ":"):
        return False
    mode, _, visit = wanted[len(name) + 1 :].partition("@")
    _visits[name] = _visits.get(name, 0) + 1
    if _visits[name] != int(visit or 1) or not _first():
        return False
    if mode == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "hang":
        time.sleep(_HANG_S)
    if mode == "raise":
        raise FailpointError(f"failpoint {name}")
    return mode == "torn"


def _first() -> bool:
    """Return whether nothing happened yet in this run, and note that it does now."""
    mark = os.environ.get("AUTOTUNE_FAILPOINT_MARK")
    if not mark:
        return True
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError:
        return False
    return True


def tear(path: Path, start: int) -> None:
    """Cut a file in the middle of what was written to it since it was ``start`` bytes long, and die."""
    size = path.stat().st_size
    os.truncate(path, start + max(0, size - start) // 2)
    os.kill(os.getpid(), signal.SIGKILL)
