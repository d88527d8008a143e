"""Why a transformers process died, read from its exit code and its log."""

from __future__ import annotations

import re
import signal

from autotune.core.measurement import Cause, Failure
from autotune.systems.served.diagnosis import REFUSED
from autotune.systems.shortfall import NO_MEMORY, shortfall

_OUT_OF_MEMORY = re.compile(NO_MEMORY, re.MULTILINE)
_MOST_SAID = 500  # characters of a line that are a message
_RANK = re.compile(r"^\[rank\d+\]: ?", re.MULTILINE)
_LAST_ERROR = re.compile(r"^[A-Za-z_.]+(?:Error|Exception|Interrupt): .*$", re.MULTILINE)


def is_out_of_memory(text: str) -> bool:
    """Return whether a message or a log says that memory ran out."""
    return _OUT_OF_MEMORY.search(text) is not None


def diagnose(exit_code: int | None, log: str) -> Failure:
    """Return why the process died before or under load.

    Args:
        exit_code: Negative for a signal; ``None`` when it is not known.
        log: The end of its output.
    """
    plain = _RANK.sub("", log)
    last = _LAST_ERROR.findall(plain)
    said = (last[-1] if last else (plain.strip().splitlines() or ["no output"])[-1])[:_MOST_SAID]
    if is_out_of_memory(plain):
        found = [line for line in plain.splitlines() if is_out_of_memory(line)]
        return Failure(Cause.OUT_OF_MEMORY, found[-1].strip()[:_MOST_SAID], log, shortfall(plain))
    if exit_code == -signal.SIGKILL:
        return Failure(
            Cause.OUT_OF_MEMORY,
            "killed by SIGKILL, as the kernel does when the machine runs out of memory",
            log,
        )
    if "No space left on device" in plain:
        return Failure(Cause.DISK_FULL, said, log)
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        return Failure(Cause.CRASHED_UNDER_LOAD, f"ended by {name}: {said}", log)
    refused = REFUSED.search(plain) is not None
    return Failure(Cause.REJECTED_FLAGS if refused else Cause.CRASHED_UNDER_LOAD, said, log)
