"""What the machine did while a load ran: clocks, throttling, other programs, the GPUs' memory and power.

Throttling makes a measurement INVALID where it cost time: more than ``MOST_THROTTLED`` of the measured
time, by the kernel's own count of milliseconds (Intel; ``thermal_throttle``), or of the looks at the GPUs
that found a thermal slowdown. A power cap is how GPUs run at full load, and is a fact only. Other programs
that were busy are a fact with a warning: the machine's processor time less our own over the whole measured
time (:mod:`.cpu_time`), and the names of those that were there from begin to end. Whether they disturbed
shows in the spread.

Formula: energy of GPUs = integral of ``power.draw`` over the looks (trapezoids)
Source: Linux, Documentation/arch/x86 (thermal_throttle); NVML API reference, clocks event reasons.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import psutil

from autotune.core.json_object import JsonObject
from autotune.core.measurement import Cause
from autotune.measure.watch.cpu_time import LEAST_S, CpuTime, cores_used, cpu_time
from autotune.measure.watch.hardware import Spent, gpu_states, read_number, spent_by_others

if TYPE_CHECKING:
    from autotune.measure.statistics.validity import Measured

GpuState = JsonObject
"""Clock, memory, power and throttling of one GPU at a moment, see :func:`.hardware.gpu_states`."""

EVERY_S = 2.0  # nvidia-smi takes some 30 ms of a processor
MOST_THROTTLED = 0.01
BUSY_CORES = 0.2  # less disturbs a measurement by less than its usual precision
CPUS = Path("/sys/devices/system/cpu")
_THERMAL = 0x20 | 0x40  # NVML: software and hardware thermal slowdown
_MOST_NAMED = 5


@dataclass(frozen=True)
class Look:
    """State of the machine at one moment.

    Args:
        time_ns: Monotonic clock.
        clock_mhz: Mean of the processors' clocks, ``None`` if unknown.
        throttled_ms: Milliseconds throttled since boot, ``None`` if the kernel does not count.
        gpus: ``clock_mhz``, ``memory_mib``, ``power_w`` and ``reasons`` of each.
        cpu: Processor time so far and for whom, ``None`` if the kernel does not tell.
    """

    time_ns: int
    clock_mhz: float | None
    throttled_ms: float | None
    gpus: Sequence[GpuState]
    cpu: CpuTime | None = None


@dataclass
class MachineWatch:
    """A watch that looks at the machine now and then.

    Args:
        own: Process ids whose trees belong to the measurement, beside this process.
        clock: Monotonic nanoseconds.
        cpus: File where the kernel tells about processors.
        states: Function that returns what the GPUs do; empty without any.
        cpu_time: Function that returns what the processors have done; takes the roots of our process trees.
    """

    own: Sequence[int] = ()
    clock: Callable[[], int] = time.monotonic_ns
    cpus: Path = CPUS
    states: Callable[[], Sequence[GpuState]] = gpu_states
    cpu_time: Callable[[Sequence[int]], CpuTime | None] = cpu_time
    looks: list[Look] = field(default_factory=list)
    _others: Spent | None = None

    def __post_init__(self) -> None:
        self._others = spent_by_others(self.own)

    def look(self, *, last: bool = False) -> None:
        """Keep what the machine does, at most once per ``EVERY_S``.

        Args:
            last: Whether to look in any case: the measurement is over.
        """
        now = self.clock()
        if self.looks and not last and now - self.looks[-1].time_ns < EVERY_S * 1e9:
            return
        self.looks.append(
            Look(now, clock_mhz(self.cpus), throttled_ms(self.cpus), self.states(), self.cpu_time(self.own))
        )

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
        if cores := self.cores(start_ns, end_ns):
            facts["cores"] = cores
        if clocks:
            facts |= {"clock_mhz_mean": fmean(clocks), "clock_mhz_min": min(clocks)}
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

    def busy(self) -> list[dict[str, object]]:
        """Return the programs that used a processor since the watch was made, without our own."""
        now = spent_by_others(self.own)
        before = self._others
        if before is None or now.time_s - before.time_s < LEAST_S:
            return []
        passed = now.time_s - before.time_s
        shares = [
            ((seconds - before.by_process.get(pid, (name, 0.0))[1]) / passed, pid, name)
            for pid, (name, seconds) in now.by_process.items()
        ]
        busy = sorted((share for share in shares if share[0] >= BUSY_CORES), reverse=True)[:_MOST_NAMED]
        return [{"name": name, "pid": pid, "cores": round(share, 2)} for share, pid, name in busy]

    def cores(self, start_ns: int, end_ns: int) -> dict[str, float]:
        """Return how many CPUs there are and who used how many of them; empty if nobody can tell.

        Between the last look before a time and the first one after it: none of it may be left out.
        """
        seen = [look for look in self.looks if look.cpu is not None]
        before = [look for look in seen if look.time_ns <= start_ns][-1:] or seen[:1]
        after = [look for look in seen if look.time_ns >= end_ns][:1] or seen[-1:]
        if not before or before[0].time_ns >= after[0].time_ns:
            return {}
        first, last = before[0].cpu, after[0].cpu
        return {} if first is None or last is None else cores_used(first, last)

    def _used(self, start_ns: int, end_ns: int) -> list[Look]:
        """Return the looks within a time; for a time too short to hold two, those around it as well."""
        within = [look for look in self.looks if start_ns <= look.time_ns <= end_ns]
        if len(within) > 1:
            return within
        before = [look for look in self.looks if look.time_ns < start_ns][-1:]
        return [*before, *within, *[look for look in self.looks if look.time_ns > end_ns][:1]]


def warnings(facts: dict[str, Any]) -> list[str]:
    """Return what a person should know of the machine, one line each.

    Args:
        facts: Facts by :meth:`MachineWatch.facts`.
    """
    cores = facts.get("cores")
    shown = [f"{p['name']} ({p['cores']:g} cores)" for p in facts.get("busy_processes") or []]
    if cores is not None:
        if cores["others"] < BUSY_CORES:
            return []
        shown = [f"{cores['others']:.2g} of {cores['cpus']:g} CPUs", *shown]
    return [f"other programs were busy while it was measured: {', '.join(shown)}"] if shown else []


def facts_with_machine(
    facts: JsonObject, machine: MachineWatch, start_ns: int, end_ns: int
) -> dict[str, Any]:
    """Return facts of a measurement with what the machine did meanwhile and its warnings.

    The machine is looked at a last time.

    Args:
        facts: Facts so far.
        machine: Watch over the machine while it was measured.
        start_ns: Start of the measured time.
        end_ns: Its end.
    """
    machine.look(last=True)
    seen = machine.facts(start_ns, end_ns)
    notes = [*facts.get("warnings", ()), *warnings(seen)]
    return {**facts, "machine": seen, **({"warnings": notes} if notes else {})}


def with_machine(found: Measured, machine: MachineWatch, start_ns: int, end_ns: int) -> Measured:
    """Return what was measured with what the machine did meanwhile; INVALID where heat slowed it down."""
    found = replace(found, facts=facts_with_machine(found.facts, machine, start_ns, end_ns))
    hot = machine.throttled(start_ns, end_ns)
    return replace(found, invalid=(hot,), cause=Cause.THROTTLED) if hot and not found.invalid else found


def clock_mhz(cpus: Path = CPUS) -> float | None:
    """Return the mean clock of the processors in MHz; ``None`` where the machine does not tell."""
    files = cpus.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    clocks = [value / 1e3 for file in files if (value := read_number(file)) is not None]
    if clocks:
        return fmean(clocks)
    if cpus != CPUS:
        return None
    found = psutil.cpu_freq()
    return float(found.current) if found is not None and found.current else None


def throttled_ms(cpus: Path = CPUS) -> float | None:
    """Return for how many milliseconds since boot the hottest package was throttled; ``None`` if unknown."""
    files = cpus.glob("cpu[0-9]*/thermal_throttle/package_throttle_total_time_ms")
    values = [value for file in files if (value := read_number(file)) is not None]
    return max(values, default=None)
