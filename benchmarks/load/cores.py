"""How busy the core of the server and that of the client are, from the kernel's counters."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from benchmarks.load.servers import CLIENT_CORE, SERVER_CORE

LOOK_S = 0.25


class Cores:
    """Look at the counters four times a second."""

    def __init__(self) -> None:
        self._samples: list[tuple[int, float, float]] = []
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_S):
            self._samples.append((time.monotonic_ns(), *busy_s()))

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def busy(self, start_ns: int, end_ns: int) -> tuple[float, float] | tuple[None, None]:
        """Return the busy share of the server's and the client's core in a time; ``None`` for a short one."""
        within = [sample for sample in self._samples if start_ns <= sample[0] <= end_ns]
        if len(within) < 2:
            return (None, None)
        (first_ns, *first), (last_ns, *last) = within[0], within[-1]
        seconds = (last_ns - first_ns) / 1e9
        return ((last[0] - first[0]) / seconds, (last[1] - first[1]) / seconds)


def busy_s() -> tuple[float, float]:
    """Return the busy seconds of the server's and the client's core since the machine started."""
    tick = os.sysconf("SC_CLK_TCK")
    found = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *numbers = line.split()
        if name in (f"cpu{SERVER_CORE}", f"cpu{CLIENT_CORE}"):
            user, nice, system, _, _, irq, softirq, *_ = map(int, numbers)
            found[name] = (user + nice + system + irq + softirq) / tick
    return found[f"cpu{SERVER_CORE}"], found[f"cpu{CLIENT_CORE}"]
