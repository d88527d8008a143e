"""Run a program for what it prints: within a time, up to a size."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from typing import IO

MOST_BYTES = 8 << 20
"""Bytes of an output that are read: the flags of any server are a tenth of it."""


def run_program(argv: Sequence[str], timeout: float) -> tuple[int, str, str]:
    """Return a program's exit code, and the beginnings of what it printed to its output and to its errors.

    Both go to files: a pipe stays open while any process that the program left behind holds it, and whoever
    reads it then waits beyond every timeout.

    Args:
        argv: Program and arguments.
        timeout: Seconds.

    Raises:
        OSError: It cannot be started.
        subprocess.TimeoutExpired: It did not end in time; it is killed.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, timeout=timeout, check=False
        )
        return done.returncode, _beginning(out), _beginning(errors)


def _beginning(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(MOST_BYTES).decode("utf-8", errors="replace")
