"""Room on a disk: kept for what must not be lost when the disk is full, and which disks are full."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a disk, or of a quota, without room."""

_LEAST = 1 << 16  # bytes below which a disk counts as full, and less than which is not kept
_SHARE = 8  # no more than this part of what is free is kept
_MEMORY = Path("/dev/shm")  # noqa: S108 - what is looked at is whether it is full


def keep_room(path: Path, size: int) -> None:
    """Fill a file with zeros, to be given up by :func:`give_room`; on a disk with little room, do nothing.

    Args:
        path: Path of the file.
        size: Bytes.
    """
    with contextlib.suppress(OSError):
        found = os.statvfs(path.parent)
        size = min(size, found.f_bavail * found.f_frsize // _SHARE)
        if size < _LEAST or path.exists():
            return
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.posix_fallocate(number, 0, size)
        finally:
            os.close(number)


def give_room(path: Path) -> bool:
    """Give up what was kept in a file; return whether anything was. A file of somebody else's stays."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if os.read(number, _LEAST).strip(b"\0"):
                return False
        finally:
            os.close(number)
        path.unlink()
    except OSError:
        return False
    return True


def full_places(paths: Iterable[Path] = ()) -> list[str]:
    """Return which folders lie on a full disk, of some, of temporary files and of shared memory."""
    full = []
    for path in dict.fromkeys([*paths, Path(tempfile.gettempdir()), _MEMORY]):
        with contextlib.suppress(OSError):
            found = os.statvfs(path)
            if found.f_blocks and found.f_bavail * found.f_frsize < _LEAST:
                full.append(str(path))
            elif found.f_files and not found.f_favail:
                full.append(f"{path} (no more files)")
    return full
