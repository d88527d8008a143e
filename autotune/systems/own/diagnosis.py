"""Why a program that measures itself failed, from its exit code and its log."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping

from autotune.core.diagnosis import LIBRARIES, NO_MEMORY, matcher
from autotune.core.measurement import INFEASIBLE, Cause, Failure
from autotune.errors import SpecError, did_you_mean
from autotune.systems.own.protocol import CANNOT_LOAD
from autotune.systems.shortfall import shortfall

_DISK_FULL = matcher(rule for rule in LIBRARIES if rule.cause is Cause.DISK_FULL)
_NO_PROGRAM = re.compile(r"^cannot start .*$", re.MULTILINE)
_INFEASIBLE = re.compile(
    rf"^{re.escape(INFEASIBLE)} ({'|'.join(c for c in Cause if c.configuration_at_fault)}): (.*)$",
    re.MULTILINE,
)
_LAST_ERROR = re.compile(r"^[A-Za-z_][A-Za-z0-9_.]*(?:Error|Exception|Interrupt|Exit)\b.*$", re.MULTILINE)

_MOST_SAID = 500  # characters of a line that are a message
_AT_FAULT = [cause.value for cause in Cause]


def read_failures(data: object, name: str = "failures") -> dict[str, Cause]:
    """Read the ``failures`` of a section: causes by exit code or by text of the log.

    Args:
        data: The mapping.
        name: Its key.

    Raises:
        SpecError: A cause is unknown; ``path`` is relative to the mapping.
    """
    if not isinstance(data, Mapping):
        raise SpecError(f"{name} must be a mapping of exit codes or texts to causes, found {data!r}")
    result = {}
    for key, cause in data.items():
        if cause not in _AT_FAULT:
            raise SpecError(
                f"unknown cause {cause!r}; allowed: {', '.join(_AT_FAULT)}",
                path=(str(key),),
                hint=did_you_mean(str(cause), _AT_FAULT),
            )
        result[str(key)] = Cause(cause)
    return result


def diagnose(exit_code: int | None, log: str, failures: Mapping[str, Cause]) -> Failure:
    """Return why a program failed.

    What the study file says comes first: texts of the log, then exit codes. Then what is known of all
    programs: memory that ran out, a full disk, a program that is not there.

    Args:
        exit_code: Exit code, negative or above 128 for a signal.
        log: The end of its standard error.
        failures: Causes by exit code (``137``) or by text of the log.
    """
    code = 128 - exit_code if exit_code is not None and exit_code < 0 else exit_code
    said = _said(code, log)
    for text, cause in failures.items():
        if not text.isdigit() and text in log:
            return Failure(cause, said, log, shortfall(log) if cause is Cause.OUT_OF_MEMORY else None)
    if str(code) in failures:
        return Failure(failures[str(code)], said, log)
    if NO_MEMORY.search(log):
        return Failure(Cause.OUT_OF_MEMORY, said, log, shortfall(log))
    if _DISK_FULL.search(log):
        return Failure(Cause.DISK_FULL, said, log)
    absent = _NO_PROGRAM.search(log)
    if absent is not None and code == 127:
        return Failure(Cause.OWNER_MISTAKE, absent.group()[:_MOST_SAID], log)
    if CANNOT_LOAD in log:
        return Failure(Cause.OWNER_MISTAKE, said, log)
    infeasible = _INFEASIBLE.findall(log)
    if infeasible:
        cause, message = infeasible[-1]
        return Failure(Cause(cause), message[:_MOST_SAID], log)
    return Failure(Cause.CRASHED_UNDER_LOAD, said, log)


def _said(code: int | None, log: str) -> str:
    errors = _LAST_ERROR.findall(log)
    lines = log.strip().splitlines()
    memory = [line for line in lines if NO_MEMORY.search(line)]
    last = (memory or errors or lines or ["no output"])[-1].strip()[:_MOST_SAID]
    if code is None or (code == 1 and (memory or errors)):  # Python's own way to end: the error says it all
        return last
    try:
        how = f"ended by {signal.Signals(code - 128).name}" if code > 128 else f"ended with {code}"
    except ValueError:  # above 128, but no signal
        how = f"ended with {code}"
    return f"{how}: {last}"
