"""Two small processes between a worker and the server it launches, so that nothing outlives us.

The supervisor leads a session of its own, adopts every orphan below it (child subreaper) and holds one end of
a pipe whose other end only the worker has. When that closes, by a stop or by the worker's death, or when the
worker's lease runs out, it sends TERM to every descendant, waits a grace, and sends KILL until none is left;
then it removes the shared memory that they left. Above it sits a guard that does nothing but wait: should the
supervisor itself be killed, the guard inherits the tree and ends it. Killing the guard changes nothing. The
server's output goes to a file: a pipe that nobody drains would block the server.

The lease covers a worker that is neither dead nor working: stopped, stuck, or cut off from the study it works
for. It says every second that it and its study are there; silence for :data:`LEASE_S` ends its server.
A worker that is gone cannot mask the secrets in its attempt's files: whoever of the two ended the tree does.

Standard library only, until all is over: these processes live beside every measurement.
"""

from __future__ import annotations

import contextlib
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

from autotune.executor.priority import reset_priorities
from autotune.executor.proc import (
    command_line,
    descendants,
    environment,
    owner_lives,
    owner_tag,
    pids,
    reap,
    send,
    start_time,
)
from autotune.executor.shared_memory import SharedMemory, held, remove_unheld

MARK = "AUTOTUNE_ATTEMPT"
OWNER = "AUTOTUNE_OWNER"
LIVING: list[str] = []
"""Marks of what this process has under a supervisor now; no sweep of its own takes them for leftovers."""

LEASE_S = 15.0
"""Silence of a worker that ends its server: many times what a busy machine delays a thread by."""

BEAT = b"."
"""What a worker writes every second to keep the lease."""

_TICK_S = 0.05  # how soon an exit or an orphan is noticed; idle cost is 20 wake-ups a second
_LOOK_TICKS = 5  # ticks between two looks at the shared memory: 4 a second
_UNKILLABLE_S = 60.0  # a process in the kernel's hands that long (a dead network mount) is left to the sweep
_PATIENCE_S = 1.0  # a supervisor whose tree was killed is gone in 0.1 s
_SWEEP_S = 10.0  # for processes that were sent KILL to be gone: they have gigabytes to give back
_TO_EVERYBODY = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # what ends a service, a job or a terminal
_MODULE = "autotune.executor.supervisor"
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def main() -> None:
    """Read the order from the pipe, then part into guard and supervisor."""
    life, status = int(sys.argv[1]), int(sys.argv[2])
    reset_priorities()
    if os.fork():  # the worker reaps this one at once; the grandchild has no parent to be killed with
        os._exit(0)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    order = json.loads(_read_line(life))
    found_read, found_write = os.pipe()
    os.set_blocking(found_write, False)  # the supervisor must not wait for the guard
    supervisor = os.fork()
    if supervisor == 0:
        os.close(found_read)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # a fork does not inherit it
        _supervise(order, libc, life, status, found_write)
        os._exit(0)
    os.close(found_write)
    os.close(life)
    _guard(supervisor, found_read, status, order)


def _read_line(pipe: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(pipe, 1)
        if not piece:  # the worker died before it gave its order
            os._exit(1)
        line += piece
    return line


def _guard(supervisor: int, found: int, status: int, order: dict[str, object]) -> None:
    """Wait for the supervisor; should it have been killed, end what it leaves, which is ours by now."""
    for number in _TO_EVERYBODY:
        signal.signal(number, signal.SIG_IGN)  # the supervisor hears them
    memory = SharedMemory()
    _, code = os.waitpid(supervisor, 0)
    if code == 0:
        return
    with os.fdopen(found, "rb") as reports:
        for line in reports.read().splitlines():
            path, _, inode = line.decode(errors="replace").rpartition(" ")
            memory.inodes[path] = int(inode)
    _end_all(0.0, memory)
    _mask(order, silent=False)
    _tell(status, {"done": True})


def _supervise(order: dict[str, Any], libc: ctypes.CDLL, life: int, status: int, found: int) -> None:
    """Launch, watch, clean up."""
    stopping: list[int] = []
    for number in _TO_EVERYBODY:
        signal.signal(number, lambda received, _frame: stopping.append(received))
    memory, silent = SharedMemory(), False
    child = _launch(order, libc, status)
    if child is not None:
        silent = _Watch(child, life, float(order["lease_s"]), status, memory, found).run(stopping)
    if stopping:
        _tell(status, {"signal": signal.Signals(stopping[0]).name})
    _end_all(float(order["grace_s"]), memory)
    _mask(order, silent=silent)
    _tell(status, {"done": True})


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
    _tell(status, {"supervisor": os.getpid(), "guard": os.getppid(), "pid": child.pid})
    return child


class _Watch:
    """A watch over a running server until there is a reason to end it."""

    def __init__(
        self,
        child: subprocess.Popen[bytes],
        life: int,
        lease_s: float,
        status: int,
        memory: SharedMemory,
        found: int,
    ) -> None:
        self.child = child
        self.life = life
        self.status = status
        self.memory = memory
        self.found = found
        # counted in ticks: while a whole machine is suspended, this process with it, nobody is silent
        self.lease = self.silence_left = round(lease_s / _TICK_S)

    def run(self, stopping: list[int]) -> bool:
        """Return when the child ended, the pipe closed, a signal came, or the lease ran out: then true."""
        ticks = 0
        while not stopping and self._worker_is_there() and self._child_runs(stopping):
            ticks += 1
            if ticks % _LOOK_TICKS == 0:
                self._look()
        return self.silence_left < 0

    def _worker_is_there(self) -> bool:
        readable, _, _ = select.select([self.life], [], [], _TICK_S)
        if readable:
            said = os.read(self.life, 4096)
            self.silence_left = self.lease
            return bool(said) and not said.strip(BEAT)  # nothing: it is gone; anything else: an order to stop
        self.silence_left -= 1
        if self.silence_left < 0:
            _tell(self.status, {"lease": "over"})
        return self.silence_left >= 0

    def _child_runs(self, stopping: list[int]) -> bool:
        """Reap orphans; return whether the child is still there.

        What a signal ended that came to this process too, as it does to all of a service or a job, ended
        through no fault of its own.
        """
        left, code = reap(self.child.pid)
        if code is not None and -code in _TO_EVERYBODY:
            time.sleep(_TICK_S)  # ours may come a moment later
        if code is not None and not stopping:
            _tell(self.status, {"exit": code})
        return left and code is None

    def _look(self) -> None:
        """Note new shared memory of the server, and tell the guard of it."""
        for path, inode in self.memory.look(lambda: descendants(os.getpid())).items():
            try:
                os.write(self.found, f"{path} {inode}\n".encode())
            except (BrokenPipeError, BlockingIOError):
                continue  # no guard any more, or one that was told of thousands: this process knows


def _end_all(grace_s: float, memory: SharedMemory) -> None:
    """Send TERM, wait, then KILL until no descendant is left; remove the shared memory that they leave."""
    number, deadline = signal.SIGTERM, time.monotonic() + grace_s
    last = deadline + _UNKILLABLE_S
    told: set[tuple[int, int]] = set()
    below = descendants(os.getpid())
    memory.look(lambda: below)
    while reap()[0] and time.monotonic() < last:
        if time.monotonic() >= deadline and number is not signal.SIGKILL:
            memory.look(lambda: descendants(os.getpid()))
            number, told = signal.SIGKILL, set()
        for process in descendants(os.getpid()).items():
            if process not in told:
                told.add(process)
                send(*process, number)
        time.sleep(_TICK_S)
    remove_unheld(memory.inodes)


def _mask(order: dict[str, Any], *, silent: bool) -> None:
    """Mask the secrets in the attempt's files, if its worker is gone or silent."""
    if owner_lives(order["env"][OWNER]) and not silent:
        return
    from autotune.executor.attempt_files import mask_files

    os.environ.update(order["secrets"])  # so that their values are known
    with contextlib.suppress(OSError):  # the folder is gone, or its disk: nobody is left to be told
        mask_files(Path(order["log"]).parent)


def _tell(status: int, message: dict[str, object]) -> None:
    try:
        os.write(status, json.dumps(message).encode() + b"\n")
    except BrokenPipeError:
        return  # the worker is gone; the cleaning goes on without it


def sweep_leftovers(mark_prefix: str) -> list[int]:
    """Kill processes of an earlier run whose owner is gone, and all below them; return their pids.

    Only processes that carry our mark in their environment, under ``mark_prefix``, whose owner no longer
    lives or is this process with an attempt of its past are touched: never anybody else's, never those of a
    study that is running. What they started is ended with them even where it has lost the mark, as processes
    do that write a title over it. Supervisors are left to end by themselves at first: they know more of what
    to take away.
    """
    killed: dict[int, int] = {}
    memory: dict[str, int] = {}
    now = time.monotonic()
    patience, deadline = now + _PATIENCE_S, now + _SWEEP_S
    while time.monotonic() < deadline:
        found = _leftovers(mark_prefix)
        if not found:
            break
        below = {pid: start for root in found for pid, start in descendants(root).items()}
        wanted = {**below, **found}
        wanted.pop(os.getpid(), None)
        memory |= held(wanted, _wall_clock(min(wanted.values(), default=0)))
        for pid, started in wanted.items():
            if killed.get(pid) == started or (time.monotonic() < patience and _MODULE in command_line(pid)):
                continue
            if send(pid, started, signal.SIGKILL):
                killed[pid] = started
        time.sleep(_TICK_S)
    remove_unheld(memory)
    return list(killed)


def _leftovers(mark_prefix: str) -> dict[int, int]:
    """Return the pids of leftovers with their starts."""
    found: dict[int, int] = {}
    me = owner_tag()
    for pid in pids():
        started = start_time(pid)
        if started is None or pid == os.getpid():
            continue
        env = environment(pid)
        mark, owner = env.get(MARK, ""), env.get(OWNER, "")
        if not mark.startswith(mark_prefix):
            continue
        ended = mark not in LIVING if owner == me else owner_lives(owner) is False
        if ended and start_time(pid) == started:  # else that environment was of a later process
            found[pid] = started
    return found


def _wall_clock(ticks: int) -> float:
    """Return the wall clock, in seconds, of a moment given in clock ticks after boot."""
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age - 1.0  # a tick and more of slack


if __name__ == "__main__":
    main()
