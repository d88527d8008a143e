"""``autotune doctor``: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import click

from autotune.cli.options import json_option, store_option
from autotune.cli.output import echo, echo_json
from autotune.core.dependencies import DISTRIBUTION
from autotune.core.environment import NO_FOLDER
from autotune.errors import EnvironmentProblem
from autotune.executor.ray_address import split_address

if TYPE_CHECKING:
    from packaging.requirements import Requirement

EXTRA = "transformers"
"""Optional dependencies that are looked for: those of the transformers system."""

CONNECT_S = 2.0
"""Longest wait for a cluster or a tracking server to answer."""

_GIB = 2**30
_DISK_WARN, _DISK_LEAST = 5 * _GIB, _GIB // 4  # a model and its logs; the ledger alone
_MEMORY_WARN = 2 * _GIB  # Ray and one small model
_SHM_WARN = _GIB // 4  # Ray's object store lies there
_FILES_LEAST = 1024  # Ray's own processes open a few hundred

Status = Literal["ok", "none", "warn", "missing"]


@dataclass(frozen=True)
class Check:
    """Result of one check of the machine.

    Args:
        name: Part of the environment that was looked at.
        status: ``ok`` (found), ``none`` (not there or not looked at, and not needed), ``warn`` (works, with a
            drawback) or ``missing`` (required and not there).
        found: Version or state that was found.
        advice: Advice; empty when nothing needs to be done.
    """

    name: str
    status: Status
    found: str
    advice: str = ""


@click.command()
@store_option
@json_option
def doctor(store: Path, as_json: bool) -> int:
    """Say what works on this machine.

    And what to do about the rest.
    """
    checks: list[Check] = []
    for check in examine(store):
        checks.append(check)
        if not as_json:
            echo(f"{check.status:<8} {check.name:<13} {check.found}".rstrip())
            if check.advice:
                echo(f"{'':<22} {check.advice}")
    missing = [check.name for check in checks if check.status == "missing"]
    if as_json:
        echo_json({"ok": not missing, "checks": [asdict(check) for check in checks]})
    else:
        echo(f"missing: {', '.join(missing)}" if missing else "everything required is there")
    return 3 if missing else 0


def examine(store: Path) -> Iterator[Check]:
    """Look at everything in turn; loads none of the heavy packages."""
    yield _python()
    yield from _packages()
    yield _processors()
    yield _memory()
    yield _accelerators()
    yield _servers()
    yield from _plugins()
    yield _files()
    yield _shared_memory()
    yield _compiler()
    yield _folder("store", store)
    yield _folder("cache", _cache_folder())
    yield _ray_address(os.environ.get("RAY_ADDRESS", ""))
    yield _tracking(os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db"))


def _python() -> Check:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if platform.system() != "Linux":
        return Check("python", "warn", found, "autotune is tested on Linux only")
    return Check("python", "ok", found)


def _packages() -> Iterator[Check]:
    """Yield a check for each distribution that the package's own metadata require."""
    from packaging.requirements import Requirement  # each start of the command would pay for it

    for line in metadata.requires(DISTRIBUTION) or ():
        requirement = Requirement(line)
        needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if needed or (requirement.marker is not None and requirement.marker.evaluate({"extra": EXTRA})):
            yield _package(requirement, needed=needed)


def _package(requirement: Requirement, *, needed: bool) -> Check:
    name, version = requirement.name, _version(requirement.name)
    if version is not None and requirement.specifier.contains(version, prereleases=True):
        return Check(name, "ok", version)
    found = "not installed" if version is None else f"{version}, {requirement.specifier} is needed"
    if needed:
        return Check(name, "missing", found, f"pip install '{name}{requirement.specifier}'")
    hint = f"pip install '{DISTRIBUTION}[{EXTRA}]'"
    return Check(name, "warn", f"{found}; the transformers system needs it", hint)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processors() -> Check:
    count = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    found = f"{count}, load {load:.1f}"
    if load > count:
        return Check("processors", "warn", found, "other work runs here: measurements will be noisy")
    return Check("processors", "ok", found)


def _memory() -> Check:
    try:
        import psutil
    except ImportError:
        return Check("memory", "warn", "unknown without psutil")
    memory = psutil.virtual_memory()
    found = f"{memory.available / _GIB:.1f} GiB free of {memory.total / _GIB:.1f} GiB"
    if memory.available < _MEMORY_WARN:
        return Check("memory", "warn", found, "close other programs: a model and Ray may not fit")
    return Check("memory", "ok", found)


def _accelerators() -> Check:
    if shutil.which("nvidia-smi") is None:
        return Check("accelerators", "none", "no nvidia-smi: systems run on the processors")
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("accelerators", "warn", f"nvidia-smi failed: {error}", "check the driver")
    names = [line.strip() for line in answer.stdout.splitlines() if line.strip()]
    if answer.returncode != 0 or not names:
        said = (answer.stderr or answer.stdout).strip().splitlines()[:1]
        return Check("accelerators", "warn", f"nvidia-smi failed: {''.join(said)}", "check the driver")
    return Check("accelerators", "ok", "; ".join(names))


def _plugins() -> Iterator[Check]:
    """Import what third parties installed."""
    from autotune.cli.plugins import registries

    for registry in registries():
        for plugin in registry.plugins():
            name = f"{registry.kind} {plugin.name}"
            if plugin.unused:
                yield Check(name, "warn", plugin.unused, "uninstall the plug-in, or ask for another name")
                continue
            try:
                registry.load(plugin.name)
            except EnvironmentProblem as error:
                yield Check(name, "warn", error.message, error.hint)
            else:
                yield Check(name, "ok", f"plug-in {plugin.package}: {plugin.target}")


def _servers() -> Check:
    """Look for the programs of the systems that are launched as servers."""
    from autotune.systems.registry import SYSTEMS

    programs: dict[str, tuple[str, ...]] = {}
    for name in SYSTEMS.names():
        with suppress(EnvironmentProblem):  # a plug-in that is broken has a line of its own
            programs[name] = getattr(SYSTEMS.load(name), "own_program", ())
    found = [
        f"{name} ({' '.join(words) if '-m' in words else words[0]})"
        for name, words in programs.items()
        if _is_there(words)
    ]
    if found:
        return Check("servers", "ok", ", ".join(found))
    elsewhere = "`system: {program: ...}` names one that is elsewhere, or the Python that has it"
    return Check("servers", "warn", "none on the PATH", elsewhere)


def _is_there(words: Sequence[str]) -> bool:
    """Return whether a program is on the PATH, and for ``python -m MODULE`` whether that Python has it."""
    program = shutil.which(words[0]) if words else None
    if program is None or "-m" not in words:
        return program is not None
    package = words[words.index("-m") + 1].partition(".")[0]
    code = f"{NO_FOLDER}; from importlib.util import find_spec; sys.exit(find_spec(sys.argv[1]) is None)"
    try:
        done = subprocess.run([program, "-c", code, package], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _files() -> Check:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft} open files"
    if soft != resource.RLIM_INFINITY and soft < _FILES_LEAST:
        top = "unlimited" if hard == resource.RLIM_INFINITY else hard
        return Check("ulimit -n", "warn", found, f"`ulimit -n 65536` before a run (at most {top} here)")
    return Check("ulimit -n", "ok", found)


def _shared_memory() -> Check:
    folder = Path("/dev/shm")  # noqa: S108 - the system's own shared memory, only looked at
    if not folder.is_dir():
        return Check("shared memory", "warn", "no /dev/shm", "Ray will use the disk instead and be slow")
    free = shutil.disk_usage(folder).free
    found = f"{free / _GIB:.1f} GiB free"
    if free < _SHM_WARN:
        return Check(
            "shared memory", "warn", found, "give the container more, such as docker run --shm-size=1g"
        )
    return Check("shared memory", "ok", found)


def _compiler() -> Check:
    found = shutil.which("g++") or shutil.which("c++")
    if found is None:
        return Check("compiler", "warn", "no g++", "4-bit weights on a processor need it the first time")
    return Check("compiler", "ok", found)


def _folder(name: str, folder: Path) -> Check:
    """Say whether files can be written in ``folder``, made or to be made, and how much room there is."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Check(
            name, "missing", f"{folder}: cannot be written", f"make {there} writable or name another"
        )
    free = shutil.disk_usage(there).free
    found = f"{folder}: {free / _GIB:.1f} GiB free"
    if free < _DISK_LEAST:
        return Check(name, "missing", found, "free some disk space")
    if free < _DISK_WARN:
        return Check(name, "warn", found, "models and logs may not fit")
    return Check(name, "ok", found)


def _cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(root) / "autotune"


def _ray_address(address: str) -> Check:
    if not address or address in ("local", "auto"):
        found = f"RAY_ADDRESS={address}" if address else "RAY_ADDRESS is not set"
        if address == "auto":
            return Check("ray cluster", "none", f"{found}: not looked for; Ray finds it, or stops")
        return Check("ray cluster", "none", f"{found}: a local one is started")
    try:
        host, port = split_address(address)
    except EnvironmentProblem as error:
        return Check("ray cluster", "missing", error.message, error.hint)
    problem = _unreachable(host, port)
    if problem:
        advice = "start the cluster, correct RAY_ADDRESS, or unset it to run locally"
        return Check("ray cluster", "missing", f"RAY_ADDRESS={address}: {problem}", advice)
    return Check("ray cluster", "ok", f"RAY_ADDRESS={address} answers")


def _tracking(uri: str) -> Check:
    from autotune.core.redact import redact

    shown = redact(uri)
    if uri.startswith("sqlite:///"):
        folder = Path(uri.removeprefix("sqlite:///")).absolute().parent
        check = _folder("mlflow store", folder)
        return Check(
            "mlflow store", check.status, f"{shown}: {check.found.rpartition(': ')[2]}", check.advice
        )
    if uri.startswith(("http://", "https://")):
        host, port = _host_and_port(uri, 443 if uri.startswith("https") else 80)
        problem = _unreachable(host, port)
        if problem:
            # Tracking never stops a study, so an absent server is no reason to refuse to work.
            return Check("mlflow store", "warn", f"{shown}: {problem}", "`autotune sync` completes it later")
        return Check("mlflow store", "ok", f"{shown} answers")
    place = uri.removeprefix("file://").removeprefix("file:")
    if "://" in place or place == "databricks":
        return Check("mlflow store", "none", f"{shown}: not looked at")
    return _folder("mlflow store", Path(place))


def _host_and_port(address: str, default: int) -> tuple[str, int]:
    parts = urlsplit(address)
    try:
        return parts.hostname or "", parts.port or default
    except ValueError:  # the port is no number
        return parts.hostname or "", 0


def _unreachable(host: str, port: int) -> str:
    """Return why nothing answers there, or an empty text."""
    try:
        socket.create_connection((host, port), timeout=CONNECT_S).close()
    except OSError as error:
        return f"no answer from {host}:{port} ({error.strerror or error})"
    return ""
