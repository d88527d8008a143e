"""What a launch leaves in the attempt's folder, so that whoever waits for the server can find it."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from autotune.core.endpoint import Endpoint
from autotune.core.file_names import LAUNCH_NAME, LOG_NAME, PROCESS_NAME
from autotune.systems.deployment import HOST

_MOST_LOG = 8 << 20  # bytes: a server has told its settings by then


_NEGOTIATED = ("headers", "omit", "exact")  # once the server answers; headers may hold keys


@dataclass(frozen=True, slots=True)
class Launch(Endpoint):
    """The endpoint of a launched server before it answers: what is left empty is found out then.

    Args:
        model: Name that requests give; empty to take what the server lists first.
        path: Path of the streaming interface; empty to find out whether completions or chats are served.
        ready: Path that answers 200 once the server takes requests; empty for the list of models, where it
            has one.
        ours: Whether the process that listens must be one that we launched.
        optional: Fields of ``body`` that a server may be spared which does not take them.
        varied: Fields of ``body`` that are parameters of the configuration.
    """

    model: str = ""
    ready: str = "/health"
    ours: bool = True
    optional: Sequence[str] = ()
    varied: Sequence[str] = ()

    def write(self, folder: Path) -> None:
        """Keep it in the attempt's folder."""
        kept = {name: value for name, value in asdict(self).items() if name not in _NEGOTIATED}
        (folder / LAUNCH_NAME).write_text(json.dumps(kept), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Launch:
        """Read what :meth:`write` kept."""
        return cls(**json.loads((folder / LAUNCH_NAME).read_text(encoding="utf-8")))

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(self.url.rpartition(":")[2])


def free_port() -> int:
    """Return a port of this machine that nothing listens on now.

    Somebody may take it before the server does; that shows in the server's log, or by :func:`listens`, and
    is an environment fault.
    """
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def startup_log(folder: Path) -> str:
    """Return what a server has written to its log, the beginning where that is long; empty without one."""
    try:
        with (folder / LOG_NAME).open("rb") as file:
            return file.read(_MOST_LOG).decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def root_process(folder: Path) -> int | None:
    """Return the process id that the worker noted, or ``None`` where nothing was launched."""
    path = folder / PROCESS_NAME
    return int(json.loads(path.read_text(encoding="utf-8"))["pid"]) if path.exists() else None


def tree(root: int) -> list[psutil.Process]:
    """Return a process and all below it; empty once it is gone."""
    try:
        process = psutil.Process(root)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def connections(root: int, port: int) -> list[str]:
    """Return the state of each TCP connection of the process and all below it at a port of this machine."""
    found = []
    for process in tree(root):
        try:
            # which psutil 5 calls `connections`
            read = process.net_connections if hasattr(process, "net_connections") else process.connections
            held = read(kind="tcp")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it ended, or it changed its user
        found += [one.status for one in held if one.laddr.port == port]
    return found


def listens(root: int, port: int) -> bool:
    """Return whether the process or one below it listens on a port of this machine."""
    return psutil.CONN_LISTEN in connections(root, port)


def memory_peak(root: int) -> int:
    """Return the highest resident memory of the process and all below it, in bytes.

    The sum of what each reached (``VmHWM``), at different moments perhaps and with shared pages counted in
    each: an upper bound that needs no sampling beside the load.
    """
    total = 0
    for process in tree(root):
        try:
            text = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it ended between the look and the reading
        line = next((line for line in text.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB")
        total += int(line.split()[1]) * 1024
    return total
