"""What the machine did while a load ran: clocks, throttling, other programs, the GPUs' memory and power.

Throttling makes a measurement INVALID where it cost time: more than ``MOST_THROTTLED`` of the measured
time, by the kernel's own count of milliseconds (Intel; ``thermal_throttle``), or of the looks at the GPUs
that found a thermal slowdown. A power cap is how GPUs run at full load, and is a fact only. Other programs
that were busy are a fact with a warning: whether they disturbed shows in the spread.

Formula: energy of GPUs = integral of ``power.draw`` over the looks (trapezoids)
Source: Linux, Documentation/arch/x86 (thermal_throttle); NVML API reference, clocks event reasons.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from autotune.measure.hardware import Spent, gpu_states, read_number, spent_by_others

EVERY_S = 2.0  # nvidia-smi takes some 30 ms of a processor
MOST_THROTTLED = 0.01
BUSY_CORES = 0.2  # less disturbs a measurement by less than its usual precision
CPUS = Path("/sys/devices/system/cpu")
_THERMAL = 0x20 | 0x40  # NVML: software and hardware thermal slowdown
_MOST_NAMED = 5


@dataclass(frozen=True)
class Look:
    """Hold the machine at one moment.

    Args:
        time_ns: Monotonic clock.
        clock_mhz: Mean of the processors' clocks, ``None`` if unknown.
        throttled_ms: Milliseconds throttled since boot, ``None`` if the kernel does not count.
        gpus: ``clock_mhz``, ``memory_mib``, ``power_w`` and ``reasons`` of each.
    """

    time_ns: int
    clock_mhz: float | None
    throttled_ms: float | None
    gpus: list[dict[str, Any]]


@dataclass
class MachineWatch:
    """Look at the machine now and then.

    Args:
        own: Process ids whose trees belong to the measurement, beside this process.
        clock: Monotonic nanoseconds.
        cpus: Where the kernel tells about processors.
        states: Returns what the GPUs do; empty without any.
    """

    own: Sequence[int] = ()
    clock: Callable[[], int] = time.monotonic_ns
    cpus: Path = CPUS
    states: Callable[[], list[dict[str, Any]]] = gpu_states
    looks: list[Look] = field(default_factory=list)
    _others: Spent | None = None

    def __post_init__(self) -> None:
        self._others = spent_by_others(self.own)

    def look(self) -> None:
        """Keep what the machine does, at most once per ``EVERY_S``."""
        now = self.clock()
        if self.looks and now - self.looks[-1].time_ns < EVERY_S * 1e9:
            return
        self.looks.append(Look(now, clock_mhz(self.cpus), throttled_ms(self.cpus), self.states()))

    def throttled(self, start_ns: int, end_ns: int) -> str:
        """Return a reason if heat slowed the measurement down; empty otherwise."""
        used = self._used(start_ns, end_ns)
        if len(used) < 2:
            return ""
        seconds = (used[-1].time_ns - used[0].time_ns) / 1e9
        before, after = used[0].throttled_ms, used[-1].throttled_ms
        if before is not None and after is not None and after - before > MOST_THROTTLED * 1e3 * seconds:
            return f"the processor was throttled for {(after - before) / 1e3:.3g} of {seconds:.3g} s"
        hot = sum(any(int(gpu.get("reasons") or 0) & _THERMAL for gpu in look.gpus) for look in used)
        if hot > max(1.0, MOST_THROTTLED * len(used)):
            return f"a GPU was slowed down by its temperature in {hot} of {len(used)} looks"
        return ""

    def facts(self, start_ns: int, end_ns: int) -> dict[str, Any]:
        """Return clocks, throttling and who else was busy, as plain JSON data."""
        used = self._used(start_ns, end_ns)
        clocks = [look.clock_mhz for look in used if look.clock_mhz is not None]
        facts: dict[str, Any] = {"looks": len(used), "busy_processes": self.busy()}
        if clocks:
            facts |= {"clock_mhz_mean": float(np.mean(clocks)), "clock_mhz_min": min(clocks)}
        if len(used) > 1 and used[0].throttled_ms is not None and used[-1].throttled_ms is not None:
            facts["throttled_ms"] = used[-1].throttled_ms - used[0].throttled_ms
        for i in range(len(used[-1].gpus) if used else 0):
            states = [look.gpus[i] for look in used if i < len(look.gpus)]
            clocks = [state["clock_mhz"] for state in states if state.get("clock_mhz")]
            memory = [state["memory_mib"] for state in states if state.get("memory_mib")]
            gpu = {
                "clock_mhz_min": min(clocks, default=None),
                "memory_mib_max": max(memory, default=None),
                "reasons": sorted({int(state.get("reasons") or 0) for state in states}),
            }
            facts.setdefault("gpus", []).append(gpu)
        return facts

    def gpu_memory(self, start_ns: int, end_ns: int) -> float | None:
        """Return the most memory in use on all GPUs together, in bytes; ``None`` without any."""
        totals = [
            sum(float(gpu.get("memory_mib") or 0) for gpu in look.gpus)
            for look in self._used(start_ns, end_ns)
            if look.gpus
        ]
        return max(totals) * 2**20 if totals else None

    def gpu_joules(self, start_ns: int, end_ns: int) -> float | None:
        """Return the energy of the GPUs between the first and the last look, scaled to the whole time."""
        used = [look for look in self._used(start_ns, end_ns) if look.gpus]
        powers = [sum(float(gpu.get("power_w") or 0) for gpu in look.gpus) for look in used]
        if len(used) < 2 or not any(powers):
            return None
        area = sum(
            (b.time_ns - a.time_ns) / 1e9 * (p + q) / 2
            for (a, p), (b, q) in pairwise(zip(used, powers, strict=True))
        )
        return area * (end_ns - start_ns) / (used[-1].time_ns - used[0].time_ns)

    def busy(self) -> list[dict[str, Any]]:
        """Return the programs that used a processor since the watch was made, without our own."""
        now = spent_by_others(self.own)
        before = self._others
        if before is None or now.time_s <= before.time_s:
            return []
        passed = now.time_s - before.time_s
        shares = [
            ((seconds - before.by_process.get(pid, (name, 0.0))[1]) / passed, pid, name)
            for pid, (name, seconds) in now.by_process.items()
        ]
        busy = sorted((share for share in shares if share[0] >= BUSY_CORES), reverse=True)[:_MOST_NAMED]
        return [{"name": name, "pid": pid, "cores": round(share, 2)} for share, pid, name in busy]

    def _used(self, start_ns: int, end_ns: int) -> list[Look]:
        return [look for look in self.looks if start_ns <= look.time_ns <= end_ns]


def warnings(facts: dict[str, Any]) -> list[str]:
    """Return what a person should know of the machine, one line each.

    Args:
        facts: Of :meth:`MachineWatch.facts`.
    """
    busy = facts.get("busy_processes") or []
    if not busy:
        return []
    shown = ", ".join(f"{p['name']} ({p['cores']:g} cores)" for p in busy)
    return [f"other programs were busy while it was measured: {shown}"]


def clock_mhz(cpus: Path = CPUS) -> float | None:
    """Return the mean clock of the processors in MHz; ``None`` where the machine does not tell."""
    files = cpus.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    clocks = [value / 1e3 for file in files if (value := read_number(file)) is not None]
    if clocks:
        return float(np.mean(clocks))
    if cpus != CPUS:
        return None
    found = psutil.cpu_freq()
    return float(found.current) if found is not None and found.current else None


def throttled_ms(cpus: Path = CPUS) -> float | None:
    """Return for how many milliseconds since boot the hottest package was throttled; ``None`` if unknown."""
    files = cpus.glob("cpu[0-9]*/thermal_throttle/package_throttle_total_time_ms")
    values = [value for file in files if (value := read_number(file)) is not None]
    return max(values, default=None)
