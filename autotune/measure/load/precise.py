"""An event loop whose timers are exact to microseconds, and that knows when data was there.

``epoll`` waits in whole milliseconds, rounded up, which alone would use up the 1 ms that a request may be
late. An epoll descriptor can itself be waited for with ``select``, which takes microseconds; libuv's timers
(uvloop) are in milliseconds too. The kernel may delay a timer by the slack of the thread, 50 us unless told.

:attr:`PreciseSelector.now_ns` is when the events now being handled were known to be there. Chunks of many
streams that arrive together get that time, and not a later one for each that is handled after others.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import resource
import select
import selectors
import signal
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING

from autotune.measure.load.base import NICE, ORDINARY, REALTIME

_PR_SET_TIMERSLACK = 29
_SLACK_NS = 1000
_NICE = -10
_MOST_SPIN_S = 1  # of computing without a wait, after which precedence is given up

if TYPE_CHECKING or not hasattr(selectors, "EpollSelector"):
    _Base = selectors.DefaultSelector
else:
    _Base = selectors.EpollSelector


class PreciseSelector(_Base):
    """A selector that waits with microseconds rather than milliseconds.

    Attributes:
        now_ns: Time at which the last wait ended, monotonic clock.
    """

    now_ns: int = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return the events that are there, waiting at most ``timeout`` seconds for one."""
        found = super().select(0)
        if not found and (timeout is None or timeout > 0):
            if timeout is not None and sys.platform == "linux":
                select.select([self], [], [], timeout)
                found = super().select(0)
            else:
                found = super().select(timeout)
        self.now_ns = time.monotonic_ns()
        return found


def precise_loop() -> tuple[asyncio.AbstractEventLoop, PreciseSelector]:
    """Return a new event loop and its selector."""
    selector = PreciseSelector()
    return asyncio.SelectorEventLoop(selector), selector


def prepare_process() -> None:
    """Make this process fit to keep time: many descriptors, exact timers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):  # some systems say more than they allow
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, _SLACK_NS, 0, 0, 0)


def take_precedence(how: str) -> str:
    """Be scheduled before ordinary processes, as far as wanted and allowed; return what was got.

    A load generator computes little and must be on time: on a machine that is busy, as one with a CPU server
    is, a process waits for its turn for the rest of a scheduler's tick, some 4 ms. Should it ever compute
    without a wait, the kernel says so (SIGXCPU) and it becomes an ordinary process again.

    Args:
        how: One of :data:`autotune.measure.load.base.PRECEDENCE`.
    """
    if how == REALTIME and sys.platform == "linux":
        try:
            resource.setrlimit(resource.RLIMIT_RTTIME, (_MOST_SPIN_S * 1_000_000, resource.RLIM_INFINITY))
            signal.signal(signal.SIGXCPU, _be_ordinary)
            os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
            return REALTIME
        except (OSError, ValueError):  # the right is rare; a nice value is allowed more often
            signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    if how in (REALTIME, NICE):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)
            return NICE
    return ORDINARY


def _be_ordinary(_number: int, _frame: FrameType | None) -> None:
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def freeze_garbage() -> None:
    """Collect once and never again: a collection of all that a run keeps takes tens of milliseconds."""
    gc.collect()
    gc.freeze()
    gc.disable()
