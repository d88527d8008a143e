"""Run a program that must not outlive us: ``python -m autotune.measure.load.guard PROGRAM ARGUMENTS``.

The program leads a process group of its own. When our standard input ends, by the parent's will or death, the
whole group gets TERM and, after a grace, KILL. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

_GRACE_S = 3.0
_TICK_S = 0.1


def main() -> None:
    """Run the program; exit with its code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    watched = True
    while child.poll() is None and watched:
        ready, _, _ = select.select([0], [], [], _TICK_S)
        watched = not ready or bool(os.read(0, 4096))
    code = child.poll()
    for number in (signal.SIGTERM, signal.SIGKILL):  # services of it may be left even when it has ended
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        until = time.monotonic() + _GRACE_S
        while child.poll() is None and time.monotonic() < until:
            time.sleep(_TICK_S)
    sys.exit(1 if code is None else code)


if __name__ == "__main__":
    main()
