"""Why a server died, read from its exit code and its log.

The first line that explains is looked for, not the last line of the log: engines die in one process and
report it in another ("Engine core initialization failed. See root cause above").
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

from autotune.core.measurement import Cause, Failure
from autotune.systems.shortfall import NO_MEMORY, shortfall

# Runs are bounded where what they follow may come again and again: a line is then read in time that grows
# with its length alone.

_PREFIX = re.compile(  # of vLLM, SGLang, ranks of torch, loguru and plain logging
    r"^(?:\x1b\[[\d;]*m)*(?:\[rank\d+\]:? ?|\((?:\w+)(?: \w+)? ?pid=\d+\)(?:\x1b\[[\d;]*m)* ?)*"
    r"(?:(?:INFO|WARNING|ERROR|CRITICAL):? +(?:[\d-]+ [\d:.,]+ )?\[[^\]]*\] ?)?"
)
_ERROR = re.compile(r"^(?:[\w.]+(?:Error|Exception)|error|Error|ERROR|[\w.-]+: error)\b[: ]")
_HARMLESS = re.compile(r"^(?:\S+ |\(\w+ pid=\d+\) )?(?:INFO|WARNING|DEBUG)\b|\b\w{0,60}Warning: ")
_PLACE = re.compile(r"(?:Exception from|Check '[^']{0,400}' failed at) \S{1,400}:\d+:$")  # of OpenVINO
_USELESS = re.compile(  # says that there is an error, not which
    r"Engine core initialization failed|See root cause|EngineDeadError|resource_tracker|"
    r"exiting due to model loading error|KeyboardInterrupt|BrokenPipeError|ChildFailedError|"
    r"SystemExit|validation errors? for|raise \w+Error|"
    r"Failed to create llama_context"
)

PORT = re.compile(
    r"[Aa]ddress already in use|\[?[Ee]rrno 98\]?|couldn't bind (?:HTTP )?(?:server )?socket|"
    r"port \d+ is (?:already )?(?:in use|not available|occupied)",
)
MEMORY = re.compile(
    rf"{NO_MEMORY}|out of memory|ErrorOut[oO]f\w{0, 40}Memory|"
    r"No available memory for the cache blocks|larger than the (?:maximum number of tokens|available KV)|"
    r"KV cache is needed, which is larger|[Mm]emory on (?:device|node) .{0,400} is less than|"
    r"failed to allocate (?:\w{1,40} )?(?:buffer|memory|compute|CPU|KV)|"
    r"unable to allocate|insufficient memory|"
    r"[Nn]ot enough memory|(?:exceeds|larger than) (?:the )?available (?:system )?memory|"
    r"requires more system memory|"
    r"Failed to allocate|Can not allocate|alloc_tensor_range: failed"
)
MISSING_MODEL = re.compile(
    r"is not a local folder and is not a valid model identifier|Repository Not Found|RepositoryNotFound|"
    r"couldn't connect to .{0,400}huggingface|"
    r"Cannot find (?:an appropriate cached snapshot|the requested files)|"
    r"failed to open GGUF file|\[load_gguf\] Failed to open|No such file or directory.{0,400}\.gguf|"
    r"Model path does not exist|"
    r"Invalid repository ID or local directory|HFValidationError|model '[^']{0,400}' not found|"
    r"does not appear to have a file named config\.json|Could not find a model in the directory"
)
MISSING_ENGINE = re.compile(
    r"No module named '?(?!autotune)\w|ModuleNotFoundError|command not found|"
    r"error while loading shared libraries|cannot open shared object file|"
    r"Missing dependencies for|You can install it with|CUDA driver version is insufficient|libcuda\.so"
)
REFUSED = re.compile(
    r"error: (?:unrecognized arguments|argument |ambiguous option|the following arguments)|"
    r"error: invalid argument|error while handling argument|No such option|Invalid value for|"
    r"Unknown option|unknown (?:flag|argument)|Input should be|Value error, |not supported|unsupported|"
    r"does not support|must be divisible|is incompatible|[Ii]nvalid value|[Ww]rong value|"
    r"\b(?:ValueError|NotImplementedError|ValidationError)\b|"
    r"llama_\w{1,60}: .{0,400}(?:requires|failed to|invalid|must)"
)


def is_out_of_memory(text: str) -> bool:
    """Return whether a message or a log says that memory ran out."""
    return MEMORY.search(text) is not None


def diagnose(exit_code: int | None, log: str) -> Failure:
    """Return why a server died before or under load.

    What nobody recognizes is no refusal of flags: the server crashed, and a fresh launch tells more.

    Args:
        exit_code: Negative for a signal; ``None`` when it is not known.
        log: The end of its output.
    """
    told = [line for line in log.splitlines() if not _HARMLESS.search(line)]
    lines = _joined([_PREFIX.sub("", line).strip() for line in told])
    said = _said(lines)
    for pattern, cause in ((PORT, Cause.PORT_TAKEN), (re.compile("No space left on"), Cause.DISK_FULL)):
        if line := _first(lines, pattern):
            return Failure(cause, line, log)
    if line := _first(lines, MEMORY):
        return Failure(Cause.OUT_OF_MEMORY, line, log, shortfall("\n".join(lines)))
    if exit_code == -signal.SIGKILL:
        text = "killed by SIGKILL, as the kernel does when the machine runs out of memory"
        return Failure(Cause.OUT_OF_MEMORY, text, log)
    if line := _first(lines, MISSING_MODEL):
        return Failure(Cause.OWNER_MISTAKE, f"the model cannot be read: {line}", log)
    if line := _first(lines, MISSING_ENGINE):
        return Failure(Cause.OWNER_MISTAKE, f"the engine cannot be run here: {line}", log)
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        return Failure(Cause.CRASHED_UNDER_LOAD, f"ended by {name}: {said}", log)
    if any(REFUSED.search(line) for line in lines):
        telling = [line for line in lines if not _USELESS.search(line)]
        return Failure(Cause.REJECTED_FLAGS, _first(telling, REFUSED) or said, log)
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
