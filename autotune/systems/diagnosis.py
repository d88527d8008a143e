"""Why a server died, read from its exit code and its log.

The first line that explains is looked for, not the last line of the log: servers die in one process and
report it in another ("Engine core initialization failed. See root cause above").
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

from autotune.core.diagnosis import LIBRARIES, SERVERS, Reading, matcher
from autotune.core.measurement import Cause, Failure
from autotune.systems.shortfall import shortfall

# Runs are bounded where what they follow may come again and again: a line is then read in time that grows
# with its length alone.

_PREFIX = re.compile(  # of vLLM, SGLang, ranks of torch, loguru and plain logging
    r"^(?:\x1b\[[\d;]*m)*(?:\[rank\d+\]:? ?|\((?:\w+)(?: \w+)? ?pid=\d+\)(?:\x1b\[[\d;]*m)* ?)*"
    r"(?:(?:INFO|WARNING|ERROR|CRITICAL):? +(?:[\d-]+ [\d:.,]+ )?\[[^\]]*\] ?)?"
)
_ERROR = re.compile(r"^(?:[\w.]+(?:Error|Exception)|error|Error|ERROR|[\w.-]+: error)\b[: ]")
_HARMLESS = re.compile(r"^(?:\S+ |\(\w+ pid=\d+\) )?(?:INFO|WARNING|DEBUG)\b|\b\w{0,60}Warning: ")
PLACES = (  # of OpenVINO
    Reading(r"Exception from \S{1,400}:\d+:$", "Exception from src/inference/src/cpp/core.cpp:126:"),
    Reading(r"Check '[^']{0,400}' failed at \S{1,400}:\d+:$", "Check 'false' failed at src/plugin.cpp:53:"),
)
"""Lines that only say where: what follows says what."""

# fmt: off
USELESS = (
    Reading("Engine core initialization failed", "RuntimeError: Engine core initialization failed."),
    Reading("See root cause", "RuntimeError: worker 0 died. See root cause above."),
    Reading("EngineDeadError", "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue."),
    Reading("resource_tracker", "resource_tracker: There appear to be 1 leaked shared_memory objects"),
    Reading("exiting due to model loading error", "main: exiting due to model loading error"),
    Reading("KeyboardInterrupt", "KeyboardInterrupt: terminated"),
    Reading("BrokenPipeError", "BrokenPipeError: [Errno 32] Broken pipe"),
    Reading("ChildFailedError", "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:"),
    Reading("SystemExit", "SystemExit: 1"),
    Reading("validation errors? for", "pydantic_core.ValidationError: 1 validation error for X"),
    Reading(r"raise \w+Error", '    raise RuntimeError("no server")'),
    Reading("Failed to create llama_context", "ValueError: Failed to create llama_context"),
)
"""Lines that say that there is an error, not which."""
# fmt: on

_PLACE, _USELESS = matcher(PLACES), matcher(USELESS)
_RULES = (*LIBRARIES, *SERVERS)
_MEANINGS = list(dict.fromkeys(rule.meaning for rule in SERVERS if rule.meaning))
_MEANT = {meaning: matcher(rule for rule in SERVERS if rule.meaning == meaning) for meaning in _MEANINGS}
_PORT, _DISK_FULL, _MEMORY, _REFUSED = (
    matcher(rule for rule in _RULES if rule.cause is cause)
    for cause in (Cause.PORT_TAKEN, Cause.DISK_FULL, Cause.OUT_OF_MEMORY, Cause.REJECTED_FLAGS)
)


def is_out_of_memory(text: str) -> bool:
    """Return whether a message or a log says that memory ran out."""
    return _MEMORY.search(text) is not None


def diagnose(exit_code: int | None, log: str) -> Failure:
    """Return why a server died before or under load.

    What nobody recognizes is no refusal of flags: the server crashed, and a fresh launch tells more.

    Args:
        exit_code: Exit code, negative for a signal; ``None`` when it is not known.
        log: The end of its output.
    """
    told = [line for line in log.splitlines() if not _HARMLESS.search(line)]
    lines = _joined([_PREFIX.sub("", line).strip() for line in told])
    said = _said(lines)
    for pattern, cause in ((_PORT, Cause.PORT_TAKEN), (_DISK_FULL, Cause.DISK_FULL)):
        if line := _first(lines, pattern):
            return Failure(cause, line, log)
    if line := _first(lines, _MEMORY):
        return Failure(Cause.OUT_OF_MEMORY, line, log, shortfall("\n".join(lines)))
    if exit_code == -signal.SIGKILL:
        text = "killed by SIGKILL, as the kernel does when the machine runs out of memory"
        return Failure(Cause.OUT_OF_MEMORY, text, log)
    for meaning, pattern in _MEANT.items():
        if line := _first(lines, pattern):
            return Failure(Cause.OWNER_MISTAKE, f"{meaning}: {line}", log)
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        return Failure(Cause.CRASHED_UNDER_LOAD, f"ended by {name}: {said}", log)
    if any(_REFUSED.search(line) for line in lines):
        telling = [line for line in lines if not _USELESS.search(line)]
        return Failure(Cause.REJECTED_FLAGS, _first(telling, _REFUSED) or said, log)
    return Failure(Cause.CRASHED_UNDER_LOAD, said, log)


def _joined(lines: Sequence[str]) -> list[str]:
    """Return the lines that are not empty; a line that only says where comes with what follows it."""
    result: list[str] = []
    for line in filter(None, lines):
        if result and _PLACE.search(result[-1]):
            result[-1] = f"{_PLACE.sub('', result[-1]).rstrip()} {line}"
        else:
            result.append(line)
    return result


def _first(lines: Sequence[str], pattern: re.Pattern[str]) -> str:
    """Return the first line that a pattern is found in, rather one that is an error than one that is not."""
    found = [line for line in lines if pattern.search(line)]
    errors = [line for line in found if _ERROR.match(line)]
    return (errors or found or [""])[0][:500]


def _said(lines: Sequence[str]) -> str:
    """Return the first error that explains, else the last line."""
    errors = [line for line in lines if _ERROR.match(line)]
    telling = [line for line in errors if not _USELESS.search(line)]
    return (telling or errors[-1:] or list(lines[-1:]) or ["no output"])[0][:500]
