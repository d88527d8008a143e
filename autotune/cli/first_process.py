"""The first process of a container: it hands signals on, reaps orphans, and ends with the command.

The kernel gives process 1 no default action of any signal and every orphan of its container. So process 1
runs the command in a child and does both; ``docker run --init`` and the like have the same effect.
"""

from __future__ import annotations

import os
import signal

from autotune.executor.proc import reap

_HANDED_ON = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
_OF_KERNEL = 128  # si_code of a signal that no process sent: of the terminal, which has told the child too


def begin_child() -> int | None:
    """Fork; return ``None`` in the child, and in process 1 the exit code once the child has ended."""
    waited = {*_HANDED_ON, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return None
    while True:
        found = signal.sigwaitinfo(waited)
        if found.si_signo != signal.SIGCHLD:
            if found.si_code != _OF_KERNEL:
                os.kill(child, found.si_signo)
            continue
        _, code = reap(child)
        if code is not None:
            return code if code >= 0 else 128 - code
