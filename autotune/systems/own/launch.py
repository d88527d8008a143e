"""Run a program some times, keep what it prints, say how it ended.

``python -m autotune.systems.own.launch --repeats 3 -- PROGRAM ARGUMENT ...`` works in the attempt's folder.
A program that ends well leaves its metrics there, and this process waits to be stopped. One that fails ends
this process with its own exit code (128 + n for signal n), so that whoever watches it sees the failure.

Standard library only: this process lives beside what is measured.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from autotune.core.file_names import METRICS, OUTCOME, STARTED, STDOUT
from autotune.core.room import give_room, keep_room
from autotune.systems.own.protocol import FILE, OOM_KILLED, RUN

_ROOM_NAME, _ROOM = ".room-outcome", 1 << 16  # bytes kept for the outcome
_NO_PROGRAM = 127  # what a shell returns for a command that it cannot find


def main() -> None:
    """Run the program of the arguments; see the module."""
    options, program = _read(sys.argv[1:])
    write(Path(STARTED), {"pid": os.getpid()})
    keep_room(Path(_ROOM_NAME), _ROOM)
    runs: list[dict[str, object]] = []
    code = 0
    for run in range(1, options + 1):
        words = [word.replace(RUN, str(run)).replace(FILE, str(metrics_file(run))) for word in program]
        began = time.monotonic()
        code = _run(words, Path(STDOUT.format(run=run)))
        runs.append({"seconds": round(time.monotonic() - began, 6)})
        if code:
            break
    give_room(Path(_ROOM_NAME))  # the program may have filled the disk
    write(Path(OUTCOME), {"exit": code, "runs": runs})
    if code:
        sys.exit(code)
    while True:  # the worker reads the metrics, then ends this process
        signal.pause()


def metrics_file(run: int) -> Path:
    """Return the absolute path of a run's metrics file."""
    return Path(METRICS.format(run=run)).resolve()


def _read(argv: list[str]) -> tuple[int, list[str]]:
    if len(argv) < 4 or argv[0] != "--repeats" or argv[2] != "--":
        sys.exit("usage: python -m autotune.systems.own.launch --repeats N -- PROGRAM ARGUMENT ...")
    return int(argv[1]), argv[3:]


def _run(words: list[str], stdout: Path) -> int:
    """Run the program once; return its exit code as a shell would."""
    before = oom_kills()
    with stdout.open("wb") as out:
        folder = os.environ.get("AUTOTUNE_FOLDER") or None
        try:
            code = subprocess.run(
                words, stdin=subprocess.DEVNULL, stdout=out, cwd=folder, check=False
            ).returncode
        except OSError as error:
            sys.stderr.write(f"cannot start {words[0]}: {error}\n")
            return _NO_PROGRAM
    if code == -signal.SIGKILL and oom_kills() > before:
        sys.stderr.write(OOM_KILLED + "\n")
    return code if code >= 0 else 128 - code


def oom_kills() -> int:
    """Return how many processes the kernel has ended for want of memory, here or in this control group.

    Source: ``oom_kill`` of ``/proc/vmstat`` and of the control group's ``memory.events`` (cgroup v2) or
    ``memory.oom_control`` (v1).
    """
    files = [Path("/proc/vmstat")]
    try:
        groups = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # no control groups here
        groups = []
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            files.append(Path("/sys/fs/cgroup") / path.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(","):
            files.append(Path("/sys/fs/cgroup/memory") / path.lstrip("/") / "memory.oom_control")
    return sum(_counter(file) for file in files)


def _counter(file: Path) -> int:
    try:
        lines = file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:  # not mounted, or a kernel without it
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def write(path: Path, data: dict[str, object]) -> None:
    """Write a file so that whoever reads it sees all of it or none."""
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(data), encoding="utf-8")
    draft.replace(path)


if __name__ == "__main__":
    main()
