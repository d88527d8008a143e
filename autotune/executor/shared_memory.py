"""Shared memory that a launched server leaves behind when it has no time to take it away.

Segments in ``/dev/shm`` outlive a process that is killed. Which are a server's is known only while a process
of it holds them, so its processes are looked at whenever a new segment has appeared; a look at the folder
costs some microseconds. Afterwards those that nobody holds any more are removed.

Standard library only: the supervisor is built from it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from autotune.executor.proc import files_of, pids

FOLDER = "/dev/shm/"  # noqa: S108 - where Linux keeps shared memory by name; nothing is written there
_LOOKS = 8  # at a new segment that nobody of ours holds: it is mapped a moment after it is made, or not ours


class SharedMemory:
    """Shared-memory segments that a tree of processes uses.

    Attributes:
        inodes: Inode of each of them by path: another segment may get the name later.
    """

    def __init__(self) -> None:
        self.inodes: dict[str, int] = {}
        self._known = _segments()
        self._looks: dict[str, int] = {}

    def look(self, processes: Callable[[], Iterable[int]]) -> dict[str, int]:
        """Find out which segments that appeared are the processes' own; return those found just now.

        Args:
            processes: Function that gives the ids of the tree; called when a segment has appeared.
        """
        now = _segments()
        appeared = {path for path, inode in now.items() if self._known.get(path) != inode}
        self._known = {path: inode for path, inode in now.items() if path not in appeared}
        if not appeared:
            return {}
        found = {path: now[path] for path in files_of(processes(), FOLDER) & appeared}
        self._looks = {path: self._looks.get(path, 0) + 1 for path in appeared - found.keys()}
        decided = found.keys() | {path for path, looks in self._looks.items() if looks >= _LOOKS}
        self._known |= {path: now[path] for path in decided}
        self.inodes |= found
        return found


def _segments() -> dict[str, int]:
    """Return our segments: inodes by path."""
    found = {}
    try:
        for entry in os.scandir(FOLDER):
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:  # removed meanwhile
                continue
            if status.st_uid == os.getuid():
                found[entry.path] = status.st_ino
    except OSError:  # a system without the folder keeps no such memory
        return found
    return found


def held(processes: Iterable[int], since: float) -> dict[str, int]:
    """Return the segments that any of the processes holds and that are no older: inodes by path.

    Args:
        processes: Ids.
        since: Wall clock in seconds; what was last changed before it was there before the processes.
    """
    found = {}
    for path in files_of(processes, FOLDER) & _segments().keys():
        try:
            status = os.stat(path)
        except OSError:  # removed meanwhile
            continue
        if status.st_ctime >= since:
            found[path] = status.st_ino
    return found


def remove_unheld(inodes: Mapping[str, int]) -> list[str]:
    """Remove those segments that are still there, are the same and are held by no process; return them."""
    there = {path for path, inode in _segments().items() if inodes.get(path) == inode}
    if not there:
        return []
    removed = []
    for path in sorted(there - files_of(pids(), FOLDER)):
        Path(path).unlink(missing_ok=True)
        removed.append(path)
    return removed
