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
import sys
import time
from typing import TYPE_CHECKING

_PR_SET_TIMERSLACK = 29
_SLACK_NS = 1000
_NICE = (
    -10
)  # it computes little and must be on time: on a busy machine it would wait milliseconds for its turn

if TYPE_CHECKING or not hasattr(selectors, "EpollSelector"):
    _Base = selectors.DefaultSelector
else:
    _Base = selectors.EpollSelector


class PreciseSelector(_Base):
    """Wait with microseconds rather than milliseconds.

    Attributes:
        now_ns: When the last wait ended, monotonic clock.
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
    """Make this process fit to keep time: many descriptors, exact timers, precedence where it is allowed."""
    with contextlib.suppress(OSError):  # not allowed to users without the right
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):  # some systems say more than they allow
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, _SLACK_NS, 0, 0, 0)


def freeze_garbage() -> None:
    """Collect once and never again: a collection of all that a run keeps takes tens of milliseconds."""
    gc.collect()
    gc.freeze()
    gc.disable()
