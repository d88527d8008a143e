"""What ``/proc`` tells of processes, and signals that reach the process meant and no later one of its pid.

Standard library only: the supervisor, which lives beside every measurement, is built from it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")
_EXITING = 0x4  # PF_EXITING of the kernel


def pids() -> list[int]:
    """Return the ids of all processes that can be seen from here."""
    return [int(entry.name) for entry in os.scandir(_PROC) if entry.name.isdigit()]


def _stat(pid: int) -> list[str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # it ended while we looked
        return None
    return text[text.rindex(")") + 2 :].split()  # the name before may hold blanks and brackets


def start_time(pid: int) -> int | None:
    """Return the start of a process in clock ticks after boot: tells it from a later one of the same pid."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def descendants(root: int) -> dict[int, int]:
    """Return every process below ``root`` with its start, deepest first, from one look at ``/proc``."""
    children: dict[int, list[int]] = {}
    started: dict[int, int] = {}
    for pid in pids():
        fields = _stat(pid)
        if fields is not None and fields[0] not in "ZX":
            children.setdefault(int(fields[1]), []).append(pid)
            started[pid] = int(fields[19])
    found: list[int] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(0), [])
        found += below
        queue += below
    return {pid: started[pid] for pid in reversed(found)}


def send(pid: int, started: int, number: signal.Signals) -> bool:
    """Signal the process that has this pid and began at ``started``; return whether it was there.

    A descriptor of the process is opened before its start is compared, so that the signal cannot reach
    another process that was given the same pid in between. A process that is not ours to signal counts as
    not there.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:  # it ended
        return False
    try:
        if start_time(pid) != started:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(descriptor)
    return True


def environment(pid: int) -> dict[str, str]:
    """Return the environment a process was started with; empty where it is not ours to read."""
    try:
        block = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (item.partition(b"=")[::2] for item in block.split(b"\0") if item)
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, value in pairs}


def command_line(pid: int) -> str:
    """Return the command line of a process, its words apart by blanks; empty when it is gone."""
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def namespace() -> str:
    """Return the name of this process's pid namespace: a pid means nothing in another one."""
    try:
        return os.readlink(_PROC / "self" / "ns" / "pid")
    except OSError:  # a kernel without namespaces has one
        return ""


def owner_tag() -> str:
    """Return ``pid:start:namespace`` of this process."""
    return f"{os.getpid()}:{start_time(os.getpid())}:{namespace()}"


def owner_lives(tag: str) -> bool | None:
    """Return whether the process of an owner's tag lives; ``None`` where it cannot be told from here.

    One that was sent SIGKILL does not, though it stays until it has been given a processor to end on.
    """
    pid, _, rest = tag.partition(":")
    started, _, space = rest.partition(":")
    if not pid.isdigit() or not started.isdigit() or space != namespace():
        return None
    return start_time(int(pid)) == int(started) and not _is_killed(int(pid))


def _is_killed(pid: int) -> bool:
    """Return whether a process has a SIGKILL before it, or ends already."""
    fields = _stat(pid)
    if fields is None or int(fields[6]) & _EXITING:
        return True
    try:
        lines = (_PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # it ended
        return True
    pending = (int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd:", "ShdPnd:")))
    return any(signals >> (signal.SIGKILL - 1) & 1 for signals in pending)


def files_of(processes: Iterable[int], folder: str) -> set[str]:
    """Return the paths under ``folder`` that any of the processes has open or mapped."""
    found: set[str] = set()
    for pid in processes:
        found |= _opened(pid, folder) | _mapped(pid, folder)
    return found


def _opened(pid: int, folder: str) -> set[str]:
    found = set()
    try:
        for entry in os.scandir(_PROC / str(pid) / "fd"):
            try:
                path = os.readlink(entry.path)
            except OSError:  # closed meanwhile
                continue
            if path.startswith(folder):
                found.add(path)
    except OSError:  # it ended, or it is not ours to look into
        return found
    return found


def _mapped(pid: int, folder: str) -> set[str]:
    try:
        lines = (_PROC / str(pid) / "maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return {path for line in lines if (path := line[line.find("/") :]).startswith(folder)}


def reap(child: int = 0) -> tuple[bool, int | None]:
    """Collect the children that have ended; return whether a live one is left, and the exit code of one.

    Args:
        child: Process whose exit code is wanted, negative for a signal; ``None`` while it runs.
    """
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False, code
        if pid == 0:
            return True, code
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
