"""A small process that outlives the driver of a local Ray cluster and ends what is left of the cluster.

The kernel ends the processes that the driver started when the driver dies. What those started looks for its
parent once a minute only. The guard waits for the driver's end, then kills every process that carries the
cluster's mark in its environment, or a log of the cluster open: some write a title over their environment.
Attempts have neither: they are ended by their supervisors, which give a server its grace.

Standard library only: it lives beside every measurement.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping

from autotune.executor.proc import (
    command_line,
    environment,
    files_of,
    owner_lives,
    owner_tag,
    pids,
    send,
    start_time,
)

MARK = "AUTOTUNE_RAY"

_SESSION = re.compile(r"/.*/session_[0-9_-]+/")
_LOOK_S = 1.0  # between two looks at the driver: a process that it forked may hold the pipe open
_TICK_S = 0.1
_SWEEP_S = 20.0  # for processes that were sent KILL to be gone
_EMPTY_LOOKS = 3  # in a row: one that was starting another may have been missed by the first


class Guard:
    """The driver's side of the guard of one cluster.

    Args:
        environment: Environment of the guard.

    Attributes:
        mark: Value of :data:`MARK` in the environment of the cluster's processes.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.mark = f"{owner_tag()}:{time.monotonic_ns()}"
        life, self._life = os.pipe()
        try:
            self._process = subprocess.Popen(
                # -P: no file of the working folder is imported in place of a library's module
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "autotune.executor.ray_guard",
                    str(life),
                    self.mark,
                    owner_tag(),
                ],
                pass_fds=(life,),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env=environment,
            )
        finally:
            os.close(life)

    def end(self) -> None:
        """End what is left of the cluster and return when it is gone. Idempotent."""
        if self._life >= 0:
            os.close(self._life)
            self._life = -1
            self._process.wait(_SWEEP_S + _LOOK_S)


def main() -> None:
    """Wait for the end of the driver, then end the processes that carry the mark."""
    life, mark, owner = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the driver hears them; this process ends after it
    session = ""
    while owner_lives(owner) and not select.select([life], [], [], _LOOK_S if session else _TICK_S)[0]:
        session = session or session_of(mark)  # nothing is ever written: a pipe that is readable is closed
    deadline, empty = time.monotonic() + _SWEEP_S, 0
    while empty < _EMPTY_LOOKS and time.monotonic() < deadline:
        found = members(mark, session)
        empty = 0 if found else empty + 1
        for process in found.items():
            send(*process, signal.SIGKILL)
        time.sleep(_TICK_S)


def members(mark: str, session: str) -> dict[int, int]:
    """Return the processes of a cluster, pids with their starts.

    Args:
        mark: Mark in the environment of its processes.
        session: Folder of its logs and sockets; empty if it is not known.
    """
    found: dict[int, int] = {}
    for pid in pids():
        started = start_time(pid)
        if started is None or pid == os.getpid():
            continue
        titled = session and command_line(pid).startswith("ray::")  # a driver that visits has a log open too
        if environment(pid).get(MARK) == mark or (titled and files_of([pid], session)):
            found[pid] = started
    return found


def session_of(mark: str) -> str:
    """Return the folder of a cluster's logs and sockets, from what its processes have open."""
    for path in files_of(members(mark, ""), "/"):
        found = _SESSION.match(path)
        if found:
            return found[0]
    return ""


if __name__ == "__main__":
    main()
