"""Where the machine's processor time goes: to the measurement, to other programs, to a hypervisor, to nobody.

Formula: time of others = busy time of the usable CPUs - time of our own process trees
Source: Linux, proc_stat(5) and proc_pid_stat(5); ``steal`` counts as busy, and as others'.

What other programs use is seen even where each of them lives for too short a time to be named, as compilers
do. Processes of ours that end between two looks are not lost: their parent has their time in ``cutime``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from autotune.measure.watch.hardware import usable_cpus

_STAT = Path("/proc/stat")
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_BUSY = (0, 1, 2, 5, 6, 7)  # user, nice, system, irq, softirq, steal; guest time is in user
_STEAL = 7
LEAST_S = 0.2  # between two looks: 20 ticks of a processor, so that a share is right within 5 %


@dataclass(frozen=True)
class CpuTime:
    """Processor seconds since boot, of the CPUs that this process may use.

    Args:
        time_s: Time of reading, monotonic clock.
        cpus: Number of CPUs that may be used.
        busy: Seconds in which they worked or were kept from working.
        steal: Seconds of these that a hypervisor gave to others.
        own: Seconds that our process trees used; 0 where they were not asked.
    """

    time_s: float
    cpus: int
    busy: float
    steal: float
    own: float = 0.0


def cpu_time(own: Sequence[int] | None = None, stat: Path = _STAT) -> CpuTime | None:
    """Return what the CPUs have done since boot; ``None`` where the kernel does not tell.

    Args:
        own: Roots of process trees that are ours, beside this process; ``None`` to leave them out.
        stat: The kernel's file.
    """
    usable = getattr(os, "sched_getaffinity", lambda _: set(range(os.cpu_count() or 1)))(0)
    try:
        lines = [line.split() for line in stat.read_text(encoding="ascii").splitlines()]
    except OSError:
        return None
    found = {words[0]: [int(word) / _TICKS for word in words[1:]] for words in lines if words}
    rows = [row for number in usable if len(row := found.get(f"cpu{number}", [])) > _STEAL]
    if not rows:
        return None
    busy = sum(row[i] for row in rows for i in _BUSY)
    steal = sum(row[_STEAL] for row in rows)
    return CpuTime(time.monotonic(), len(rows), busy, steal, 0.0 if own is None else own_seconds(own))


def own_seconds(roots: Sequence[int]) -> float:
    """Return the processor seconds of this process, of ``roots`` and of all below, ended ones included."""
    total, seen = 0.0, set()
    for root in (os.getpid(), *roots):
        try:
            process = psutil.Process(root)
            tree = [process, *process.children(recursive=True)]
        except psutil.Error:
            continue
        for one in tree:
            if one.pid in seen:
                continue
            seen.add(one.pid)
            try:
                total += sum(one.cpu_times()[:4])  # user, system, and of the children waited for
            except psutil.Error:  # it ended meanwhile
                continue
    return total


def cores_used(before: CpuTime, after: CpuTime) -> dict[str, float]:
    """Return how many CPUs were used between two looks, and by whom, as plain JSON data.

    Empty where the looks are too near to tell: the kernel counts whole ticks. None of what it counted is more
    than there are CPUs, nor less than nothing where a process of ours ended unseen.
    """
    passed = after.time_s - before.time_s
    if passed < LEAST_S:
        return {}
    busy = min((after.busy - before.busy) / passed, float(after.cpus))
    own = max(0.0, (after.own - before.own) / passed)
    cores = {"own": own, "others": max(0.0, busy - own), "steal": (after.steal - before.steal) / passed}
    return {"cpus": float(after.cpus), **{name: round(value, 3) for name, value in cores.items()}}


@dataclass
class SpareCpus:
    """Least number of CPUs left idle while a system worked.

    Args:
        read: Function that returns what the CPUs have done.
    """

    read: Callable[[], CpuTime | None] = cpu_time
    least: float | None = field(default=None, init=False)
    _last: CpuTime | None = field(default=None, init=False)

    def look(self) -> None:
        """Compare with the look before, unless that is too near to tell; a tenth of a millisecond."""
        last = self._last
        if last is not None and time.monotonic() - last.time_s < LEAST_S:
            return
        now = self._last = self.read()
        if last is None or now is None or now.time_s - last.time_s > 10 * LEAST_S + 1.0:
            return  # between two loads nothing works
        spare = now.cpus - (now.busy - last.busy) / (now.time_s - last.time_s)
        spare = min(spare, usable_cpus() - (now.cpus - spare))  # a quota may allow less than there is
        self.least = spare if self.least is None else min(self.least, spare)
