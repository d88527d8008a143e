"""A small process between a worker and the server it launches, so that nothing outlives us.

It is forked twice, leads a session of its own and adopts every orphan below it (child subreaper). It holds
one end of a pipe whose other end only the worker has: when that closes, by a stop or by the worker's death,
it sends TERM to every descendant, waits a grace, and sends KILL until none is left. The server's output goes
to a file: a pipe that nobody drains would block the server.

Standard library only: this process lives beside every measurement.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MARK = "AUTOTUNE_ATTEMPT"
OWNER = "AUTOTUNE_OWNER"
_TICK_S = 0.05  # how soon an exit or an orphan is noticed; idle cost is 20 wake-ups a second
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def main() -> None:
    """Run the supervisor: read the order from the pipe, launch, watch, clean up."""
    life, status = int(sys.argv[1]), int(sys.argv[2])
    if os.fork():  # the worker reaps this one at once; the grandchild has no parent to be killed with
        os._exit(0)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: stopping.append(received))
    with os.fdopen(life, "rb", buffering=0) as pipe:
        order = json.loads(_read_line(pipe))
        child = _launch(order, libc, status)
        if child is not None:
            _watch(child, pipe, status, stopping)
    _end_all(float(order["grace_s"]))
    _tell(status, {"done": True})


def _read_line(pipe: Any) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        piece = pipe.read(1)
        if not piece:  # the worker died before it gave its order
            os._exit(1)
        line += piece
    return line


def _launch(order: dict[str, Any], libc: ctypes.CDLL, status: int) -> subprocess.Popen[bytes] | None:
    def before_exec() -> None:  # should the supervisor itself be killed, its child goes with it
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    try:
        with Path(order["log"]).open("ab") as log:
            child = subprocess.Popen(
                order["argv"],
                env=order["env"],
                cwd=order["cwd"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=before_exec,  # noqa: PLW1509 - this process has one thread
            )
    except OSError as error:
        _tell(status, {"error": f"{type(error).__name__}: {error}"})
        return None
    _tell(status, {"supervisor": os.getpid(), "pid": child.pid})
    return child


def _watch(child: subprocess.Popen[bytes], pipe: Any, status: int, stopping: list[int]) -> None:
    """Return when the child ended, the pipe closed or a signal came; orphans are reaped on the way."""
    while not stopping:
        readable, _, _ = select.select([pipe], [], [], _TICK_S)
        if readable and pipe.read(16) in (b"", b"stop\n"):
            return
        while True:
            try:
                pid, code = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                break
            if pid == child.pid:
                _tell(status, {"exit": os.waitstatus_to_exitcode(code)})
                return


def _end_all(grace_s: float) -> None:
    """Send TERM, wait, then KILL until no descendant is left."""
    number, deadline = signal.SIGTERM, time.monotonic() + grace_s
    told: set[int] = set()
    while _reap():
        if time.monotonic() > deadline:
            number, told = signal.SIGKILL, set()
        for pid in descendants(os.getpid()):
            if pid not in told:
                told.add(pid)
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue  # it ended between the look and the signal, which is what we wanted
        time.sleep(_TICK_S)


def _reap() -> bool:
    """Collect ended children; return whether any live one is left."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True


def _tell(status: int, message: dict[str, Any]) -> None:
    try:
        os.write(status, json.dumps(message).encode() + b"\n")
    except BrokenPipeError:
        return  # the worker is gone; the cleaning goes on without it


def descendants(root: int) -> list[int]:
    """Return every process below ``root``, deepest first, from one look at ``/proc``."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            parent = _parent(int(entry.name))
            if parent is not None:
                children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(0), [])
        found += below
        queue += below
    return found[::-1]


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # it ended while we looked
        return None
    return text[text.rindex(")") + 2 :].split()  # the name before may hold blanks and brackets


def _parent(pid: int) -> int | None:
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else int(fields[1])


def start_time(pid: int) -> int | None:
    """Return the start of a process in clock ticks after boot: tells it from a later one of the same pid."""
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else int(fields[19])


def owner_tag() -> str:
    """Return ``pid:start`` of this process."""
    return f"{os.getpid()}:{start_time(os.getpid())}"


def sweep_leftovers(mark_prefix: str) -> list[int]:
    """Kill processes of an earlier run whose owner is gone; return their pids.

    Only processes that carry our mark in their environment, under ``mark_prefix``, whose owner no longer
    lives are touched: never anybody else's, never those of a study that is running.
    """
    killed = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            block = (entry / "environ").read_bytes()
        except OSError:
            continue  # it ended, or it is not ours to read
        env = dict(item.partition(b"=")[::2] for item in block.split(b"\0"))
        mark = env.get(MARK.encode(), b"").decode(errors="replace")
        pid, _, started = env.get(OWNER.encode(), b"").decode(errors="replace").partition(":")
        if not mark.startswith(mark_prefix) or not pid.isdigit() or str(start_time(int(pid))) == started:
            continue
        try:
            os.kill(int(entry.name), signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue  # it ended meanwhile, or it is not ours after all
        killed.append(int(entry.name))
    return killed


if __name__ == "__main__":
    main()
