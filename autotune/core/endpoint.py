"""Where a served system answers, and what it must be told so that it does the amount of work asked for."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Describe an OpenAI-compatible HTTP endpoint that is ready.

    Args:
        url: Scheme, host and port, without a path: ``http://127.0.0.1:8000``.
        model: Name that requests must give.
        path: Of the streaming interface: ``/v1/completions`` or ``/v1/chat/completions``.
        body: Fields that every request carries, such as ``ignore_eos``. The text ``{max_tokens}`` as a value
            stands for the request's own number of output tokens (``min_tokens: "{max_tokens}"``).
        headers: For every request. They may hold keys: never part of facts, logs or artifacts.
        tokenize: Path that turns text into tokens (``/tokenize``); empty where there is none.
        prometheus: Path of the server's own counters (``/metrics``); empty where there are none.
    """

    url: str
    model: str
    path: str = "/v1/completions"
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tokenize: str = ""
    prometheus: str = ""

    @property
    def is_chat(self) -> bool:
        """Whether requests are lists of messages rather than text."""
        return self.path.endswith("/chat/completions")


_LONGEST_TEXT = 400  # of a server's error, in ours


def message_of(found: Any) -> str:
    """Return the message of a server's error, on one short line.

    Args:
        found: Parsed JSON of the OpenAI form, or the body of an answer as text or bytes.
    """
    if isinstance(found, bytes):
        found = found.decode("utf-8", errors="replace")
    if isinstance(found, str):
        with contextlib.suppress(ValueError, RecursionError):  # it is the message itself
            found = json.loads(found)
    for key in ("error", "message", "detail"):
        if isinstance(found, Mapping) and key in found:
            found = found[key]
    return " ".join(str(found).split())[:_LONGEST_TEXT]


class Refused(Exception):
    """Say that a server gave no usable answer.

    Args:
        status: Of HTTP; 0 where there was no answer at all.
        text: What the server said, or what went wrong.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text}" if status else text)
        self.status = status
        self.text = text
