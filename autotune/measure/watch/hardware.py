"""What machine a measurement ran on, and what else ran there: facts for whoever compares numbers later."""

from __future__ import annotations

import csv
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_BUSY_SHARE = 0.2  # of one core: less disturbs a measurement by less than its usual precision
_MOST_NAMED = 5
_NVIDIA_TIMEOUT_S = 10.0  # nvidia-smi takes seconds where the driver must be loaded first
_GPU_FIELDS = {
    "name": "name",
    "uuid": "uuid",
    "memory.total": "memory_mib",
    "driver_version": "driver",
    "power.limit": "power_limit_w",
    "clocks.max.sm": "max_clock_mhz",
    "temperature.gpu": "temperature_c",
    "utilization.gpu": "utilization_percent",
}
_STATE_FIELDS = {
    "clocks.sm": "clock_mhz",
    "memory.used": "memory_mib",
    "power.draw": "power_w",
    "clocks_throttle_reasons.active": "reasons",
}


def hardware_facts(sample_s: float = 0.2) -> dict[str, object]:
    """Return facts of this machine as plain JSON data.

    Args:
        sample_s: Time to watch which processes use the processor; 0 leaves that out.
    """
    memory = psutil.virtual_memory()
    return {
        "cpu": cpu_model(),
        "cores": psutil.cpu_count(logical=False),
        "threads": psutil.cpu_count(logical=True),
        "usable_cpus": usable_cpus(),
        "governor": _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "max_clock_mhz": max_clock_mhz(),
        "memory_bytes": memory.total,
        "memory_available_bytes": memory.available,
        "load_average": list(os.getloadavg()),
        "busy_processes": busy_processes(sample_s) if sample_s > 0 else [],
        "gpus": gpus(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
    }


def cpu_model() -> str:
    """Return the processor's name as the system gives it, or its architecture."""
    for line in (_read(Path("/proc/cpuinfo")) or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "cpu model") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def usable_cpus() -> float:
    """Return how many processors this process may use: its affinity, and its container's quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = float(len(affinity(0)) if affinity is not None else os.cpu_count() or 1)
    quota, _, period = (_read(Path("/sys/fs/cgroup/cpu.max")) or "max").partition(" ")
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        count = min(count, int(quota) / int(period))
    return count


def busy_processes(sample_s: float) -> list[dict[str, object]]:
    """Return the busiest other processes: name, id and share of one core. No arguments: they hold secrets.

    Args:
        sample_s: Time to watch for.
    """
    me = psutil.Process()
    own = {me.pid, *(p.pid for p in me.children(recursive=True))}
    before = _cpu_seconds(own)
    started = time.monotonic()
    time.sleep(sample_s)
    after = _cpu_seconds(own)
    passed = time.monotonic() - started
    shares = [
        ((spent - before[pid][1]) / passed, pid, name)
        for pid, (name, spent) in after.items()
        if pid in before
    ]
    busy = sorted((share for share in shares if share[0] >= _BUSY_SHARE), reverse=True)
    return [{"name": name, "pid": pid, "cores": round(share, 2)} for share, pid, name in busy[:_MOST_NAMED]]


@dataclass(frozen=True)
class Spent:
    """Processor time of other programs.

    Args:
        time_s: Time of reading, monotonic clock.
        by_process: Name and seconds by process id.
    """

    time_s: float
    by_process: dict[int, tuple[str, float]]


def spent_by_others(own: Sequence[int] = ()) -> Spent:
    """Return what all processes have used that are not ours.

    Args:
        own: Roots of process trees that are ours, beside this process and its children.
    """
    ours: set[int] = set()
    for root in (os.getpid(), *own):
        try:
            process = psutil.Process(root)
            ours |= {root, *(child.pid for child in process.children(recursive=True))}
        except psutil.NoSuchProcess:
            continue
    return Spent(time.monotonic(), _cpu_seconds(ours))


def max_clock_mhz() -> float | None:
    """Return the highest clock of the first processor in MHz; ``None`` where the machine does not tell."""
    found = read_number(Path("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"))
    return None if found is None else found / 1e3


def read_number(path: Path) -> float | None:
    """Return the number in a file of the kernel; ``None`` where there is none."""
    text = _read(path)
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def gpus() -> list[dict[str, object]]:
    """Return what ``nvidia-smi`` says about each GPU; empty where there is none or it does not answer."""
    return ask_gpus(_GPU_FIELDS)


def ask_gpus(fields: dict[str, str]) -> list[dict[str, object]]:
    """Return what ``nvidia-smi`` says of each GPU; empty where it does not answer or knows no such field.

    Args:
        fields: Names of its fields, with our names of them.
    """
    return parse_gpus(_ask_gpus(fields), fields)


def gpu_states() -> list[dict[str, object]]:
    """Return clock, memory in use, power and the reasons for a lower clock (a bit mask) of each GPU."""
    states = ask_gpus(_STATE_FIELDS)
    for state in states:
        reasons = state["reasons"]
        state["reasons"] = int(reasons, 16) if isinstance(reasons, str) and reasons.startswith("0x") else None
    return states


def _ask_gpus(fields: dict[str, str]) -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    query = [program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=_NVIDIA_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""  # a driver that does not answer: the facts then name no GPU
    return done.stdout


def parse_gpus(text: str, fields: dict[str, str] = _GPU_FIELDS) -> list[dict[str, object]]:
    """Return one mapping per line of ``nvidia-smi``'s answer; what it does not know is ``None``."""
    rows = [row for row in csv.reader(text.splitlines(), skipinitialspace=True) if len(row) == len(fields)]
    return [
        {key: _number_or_text(cell.strip()) for key, cell in zip(fields.values(), row, strict=True)}
        for row in rows
    ]


def _number_or_text(cell: str) -> float | str | None:
    if cell.startswith("[") or cell in ("N/A", ""):
        return None
    if cell.replace(".", "", 1).isdigit() and cell.count(".") <= 1:
        return float(cell) if "." in cell else int(cell)
    return cell


def _cpu_seconds(leave_out: set[int]) -> dict[int, tuple[str, float]]:
    found: dict[int, tuple[str, float]] = {}
    for process in psutil.process_iter(["name", "cpu_times"]):
        times = process.info["cpu_times"]
        if process.pid not in leave_out and times is not None:
            found[process.pid] = (process.info["name"] or "?", times.user + times.system)
    return found


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None
