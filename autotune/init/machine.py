"""What a machine has for serving models: GPUs, memory, processors, and the systems that are installed."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from autotune.core.units import counted, format_quantity
from autotune.init.installed import Installed, find_installed, named
from autotune.measure.watch.hardware import ask_gpus, cpu_model, usable_cpus
from autotune.systems.registry import SYSTEMS

GIB = 1 << 30

_GPU = {"name": "name", "memory.total": "memory_mib", "compute_cap": "capability"}
_GPU_OF_OLD_DRIVERS = {"name": "name", "memory.total": "memory_mib"}


@dataclass(frozen=True)
class Gpu:
    """A graphics processor.

    Args:
        name: Name of the card.
        memory: Bytes.
        capability: CUDA compute capability, such as 9.0; 0 where the driver does not tell.
    """

    name: str
    memory: int
    capability: float = 0.0


@dataclass(frozen=True)
class Machine:
    """The hardware of a machine for serving models.

    Args:
        cpu: Model of the processor.
        cores: Processors that may be used: affinity and the container's quota.
        physical: Cores without their second threads.
        memory: Bytes that may be used, with the container's limit.
        gpus: Its graphics processors.
        numa_nodes: Memory nodes.
        compiler: Whether there is a C++ compiler.
        installed: Systems.
    """

    cpu: str
    cores: int
    physical: int
    memory: int
    gpus: tuple[Gpu, ...] = ()
    numa_nodes: int = 1
    compiler: bool = True
    installed: tuple[Installed, ...] = ()

    @property
    def gpu_memory(self) -> int:
        """Bytes of the smallest GPU; 0 without any."""
        return min((gpu.memory for gpu in self.gpus), default=0)

    @property
    def capability(self) -> float:
        """Least compute capability of the GPUs; 0 without any, or where it is not known."""
        return min((gpu.capability for gpu in self.gpus), default=0.0)

    @property
    def workers(self) -> int:
        """Cores that arithmetic can use: physical ones, of those that may be used."""
        return max(1, min(self.cores, self.physical))

    def find(self, system: str) -> Installed | None:
        """Return a system that is installed; ``None`` where it is not."""
        return next((found for found in self.installed if found.system == system), None)

    def __str__(self) -> str:
        names = [gpu.name for gpu in self.gpus]
        kinds = [
            f"{names.count(gpu.name)} x {gpu.name} with {gpu.memory / GIB:.0f} GiB"
            for i, gpu in enumerate(self.gpus)
            if gpu.name not in names[:i]
        ]
        cores = f"{counted(self.cores, 'core')} ({self.cpu})"
        return ", ".join([*(kinds or ["no GPU"]), cores, f"{format_quantity(self.memory, 'B')} of memory"])


def look(program: str = "", system: str = "") -> Machine:
    """Return what this machine has.

    Args:
        program: Program of a system, or the Python that has it, that is not on the ``PATH``.
        system: System that it is for; found out where it is not said.

    Raises:
        EnvironmentProblem: There is no such program.
        SpecError: It is of no system that is known.
    """
    found = {one.system: one for one in find_installed()}
    if program:
        found |= {one.system: one for one in named(program, system)}
    return Machine(
        cpu=cpu_model(),
        cores=max(1, int(usable_cpus())),
        physical=psutil.cpu_count(logical=False) or 1,
        memory=memory_limit(psutil.virtual_memory().total),
        gpus=_gpus(),
        numa_nodes=max(1, len(list(Path("/sys/devices/system/node").glob("node[0-9]*")))),
        compiler=bool(shutil.which("g++") or shutil.which("c++")),
        installed=tuple(found[name] for name in SYSTEMS.names() if name in found),
    )


def memory_limit(
    total: int, root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int:
    """Return the bytes that this process may use: the machine's, or a control group's limit.

    Args:
        total: Bytes of the machine.
        root: Mount of the control groups, of version 2 or 1.
        own: File that names the groups of this process.
    """
    groups = [":", ":memory:"]
    with suppress(OSError):
        groups += own.read_text(encoding="utf-8").splitlines()
    for group in groups:
        _, kinds, path = [*group.split(":", 2), "", ""][:3]
        folder, name = (root / "memory", "memory.limit_in_bytes") if kinds else (root, "memory.max")
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        for count in range(len(parts) + 1):
            with suppress(OSError):
                text = folder.joinpath(*parts[:count], name).read_text(encoding="utf-8").strip()
                total = min(total, int(text)) if text.isdigit() and int(text) > 0 else total
    return total


def _gpus() -> tuple[Gpu, ...]:
    rows = ask_gpus(_GPU) or ask_gpus(_GPU_OF_OLD_DRIVERS)
    found = []
    for row in rows:
        memory, capability = row.get("memory_mib"), row.get("capability")
        if isinstance(memory, int | float):
            number = float(capability) if isinstance(capability, int | float) else 0.0
            found.append(Gpu(str(row["name"]), int(memory) << 20, number))
    return tuple(found)
