"""What the commands write: text or JSON to standard output, errors to standard error."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import TextIO

import click

from autotune.core.redact import escaped, line_for, redact

SAID = "autotune.said"
"""Key of a command's context: its exit code once all is said, which no signal changes any more."""

_LOOK_S = 0.1
_SAY_S = 10.0  # between two lines that say what is waited for


def all_is_said(code: int) -> int:
    """Return a command's exit code, which stands from here on: see :data:`SAID`."""
    click.get_current_context().meta[SAID] = code
    return code


def echo(text: str, stream: TextIO | None = None) -> None:
    """Write text and a line end; characters that the stream does not know are replaced.

    What a terminal would obey is left out: texts may come from a server's log.

    Raises:
        BrokenPipeError: The reader went away.
    """
    out = sys.stdout if stream is None else stream
    out.write(line_for(out, text))
    out.flush()


def echo_json(data: object) -> None:
    """Write one JSON document on one line."""
    echo(escaped(json.dumps(data, allow_nan=False, ensure_ascii=False)))


def echo_error(message: str, hint: str = "") -> None:
    """Write ``error: message`` and the hint on a line of its own, secrets masked."""
    try:
        echo(redact(f"error: {message}" + (f"\n  {hint}" if hint else "")), sys.stderr)
    except (OSError, ValueError):  # nobody reads errors: the exit code still tells
        return


def note(text: str) -> None:
    """Write a line beside the output: to standard error."""
    echo(text, sys.stderr)


def wait_for_end(lives: Callable[[], bool], most_s: float, say: Callable[[float], None]) -> float | None:
    """Wait until something has ended; return the seconds waited where it has not in time, else ``None``.

    Args:
        lives: Whether it has not ended.
        most_s: Longest wait, in seconds.
        say: Callable that takes the seconds that went by, now and then: somebody looks on.
    """
    start = said = time.monotonic()
    while lives():
        now = time.monotonic()
        if now - start > most_s:
            return now - start
        if now - said > _SAY_S:
            said = now
            say(now - start)
        time.sleep(_LOOK_S)
    return None
