"""Where a served system answers, and what it must be told so that it does the amount of work asked for."""

from __future__ import annotations

import contextlib
import json
import math
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from autotune.core.json_object import JsonObject
from autotune.core.nesting import MOST_LEVELS, TOO_DEEP, nests_too_deep


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible HTTP endpoint that is ready.

    Args:
        url: Scheme, host and port, without a path: ``http://127.0.0.1:8000``.
        model: Name that requests must give.
        path: Path of the streaming interface: ``/v1/completions`` or ``/v1/chat/completions``.
        body: Fields that every request carries, such as ``ignore_eos``. The text ``{max_tokens}`` as a value
            stands for the request's own number of output tokens (``min_tokens: "{max_tokens}"``).
        headers: Headers for every request. They may hold keys: never part of facts, logs or artifacts.
        tokenize: Path that turns text into tokens (``/tokenize``); empty where there is none.
        prometheus: Path of the server's own counters (``/metrics``); empty where there are none.
        omit: Fields that a server does not take, left out of every request.
        exact: Whether an answer of another length than asked for is an error, where the body asks for exactly
            that many tokens (``ignore_eos``).
        tokenizer: Folder or file of the model's own tokenizer; empty where none was named.
    """

    url: str
    model: str
    path: str = "/v1/completions"
    body: JsonObject = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tokenize: str = ""
    prometheus: str = ""
    omit: Sequence[str] = ()
    exact: bool = True
    tokenizer: str = ""

    @property
    def is_chat(self) -> bool:
        """Whether requests are lists of messages rather than text."""
        return self.path.endswith("/chat/completions")


_SPARE_FRAMES = 50
_LONGEST_TEXT = 400  # of a server's error, in ours
_REDIRECTED = re.compile(r"(?:https?://\S+: )?HTTP 3\d\d: redirected to (?:['\"](?P<place>.*)['\"]|nowhere)")


def foreign_json(text: str | bytes, *, once: bool = False) -> Any:
    r"""Return the JSON that a server or a program wrote.

    A byte order mark before it is passed over; halves of characters (``"\ud83d"``), which no file and no
    database takes, become question marks.

    Args:
        text: Text of it.
        once: Whether a key that an object has twice is an error; otherwise the last one counts.

    Raises:
        ValueError: It is none, is nested too deep, or has numbers of thousands of digits.
    """
    if isinstance(text, str):
        text = text.removeprefix("\ufeff")
        halves = "\\ud" in text or "\\uD" in text
    else:
        halves = b"\\ud" in text or b"\\uD" in text
    try:
        found = _loaded(text, _SPARE_FRAMES, _each_once if once else None)
        if len(text) > MOST_LEVELS and nests_too_deep(found):
            raise ValueError(TOO_DEEP)
        return _mended(found) if halves else found
    except RecursionError:
        raise ValueError(TOO_DEEP) from None


def whole_characters(text: str) -> str:
    """Return a text with a question mark for each half of a character."""
    return text.encode("utf-8", errors="replace").decode()


def _mended(found: object) -> object:
    if isinstance(found, str):
        return whole_characters(found)
    if isinstance(found, dict):
        return {whole_characters(name): _mended(value) for name, value in found.items()}
    return [_mended(value) for value in found] if isinstance(found, list) else found


def _loaded(
    text: str | bytes, frames: int, pairs: Callable[[list[tuple[str, object]]], object] | None
) -> object:
    """Parse with frames on the stack, so that whoever walks through the result later has these to spare."""
    return json.loads(text, object_pairs_hook=pairs) if not frames else _loaded(text, frames - 1, pairs)


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"duplicate key {twice[:60]!r}")
    return found


_COUNT = re.compile(r"[0-9]{1,10}", re.ASCII)
_MOST_COUNTED = 10**9  # tokens: more is no count


def count_of(found: object) -> int | None:
    """Return a count as a server writes it: a whole number, also as ``24.0`` or ``"24"``; ``None`` for none.

    Truth values, fractions, negative numbers and what no answer has are no counts.
    """
    if (isinstance(found, str) and _COUNT.fullmatch(found)) or (
        isinstance(found, float) and found.is_integer()
    ):
        found = int(found)
    return found if type(found) is int and 0 <= found <= _MOST_COUNTED else None


def message_of(found: object) -> str:
    """Return the message of a server's error, on one short line.

    Args:
        found: Parsed JSON of the OpenAI form, or the body of an answer as text or bytes.
    """
    if isinstance(found, bytes):
        found = found.decode("utf-8", errors="replace")
    if isinstance(found, str):
        with contextlib.suppress(ValueError):  # it is the message itself
            found = foreign_json(found)
    for key in ("error", "message", "detail"):
        if isinstance(found, Mapping) and key in found:
            found = found[key]
    return whole_characters(" ".join(str(found).split())[:_LONGEST_TEXT])


_LEAST_WAIT_S = 0.02  # a server that says "at once" again and again is not asked in a tight loop
BUSY = (429, 503)
"""HTTP statuses with which a server asks to come back later."""


def seconds_to_wait(header: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` header names; ``None`` without one, or for nonsense.

    Reference: RFC 9110, 10.2.3: a number of seconds or a date.
    """
    text = (header or "").strip()
    if not text:
        return None
    with contextlib.suppress(ValueError):
        seconds = float(text)
        return max(seconds, _LEAST_WAIT_S) if 0 <= seconds < math.inf else None
    with contextlib.suppress(ValueError, TypeError, OverflowError):  # some dates are beyond what C has
        return max(_LEAST_WAIT_S, parsedate_to_datetime(text).timestamp() - time.time())
    return None


class Refused(Exception):
    """A server's answer that is not usable.

    Args:
        status: HTTP status; 0 where there was no answer at all.
        text: Words of the server, or what went wrong.
        retry_after: Seconds after which it asks to be asked again.
        unreachable: Whether nothing of the kind can be there: connection refused, unknown host, a certificate
            that is not trusted.
        malformed: Whether what came is no answer at all: no HTTP, or more bytes than any has.
        location: Target of a redirect, as the server says it; empty for any other answer.
    """

    def __init__(
        self,
        status: int,
        text: str,
        retry_after: float | None = None,
        *,
        unreachable: bool = False,
        malformed: bool = False,
        location: str = "",
    ) -> None:
        super().__init__(": ".join(filter(None, (f"HTTP {status}" if status else "", text))))
        self.status = status
        self.text = text
        self.retry_after = retry_after
        self.unreachable = unreachable
        self.malformed = malformed
        self.location = location

    @property
    def redirected(self) -> bool:
        """Whether the server answers elsewhere: nothing is followed, and no retry changes that."""
        return 300 <= self.status < 400

    @classmethod
    def of_error(cls, error: Exception) -> Refused:
        """Return what a failed connection means; a ``UnicodeError`` is of a host that has no address."""
        hopeless = isinstance(error, ConnectionRefusedError | socket.gaierror | ssl.SSLError | UnicodeError)
        return cls(0, f"{type(error).__name__}: {error}", unreachable=hopeless)

    @classmethod
    def of_answer(cls, status: int, headers: Mapping[str, str], body: str | bytes) -> Refused:
        """Return what an answer with another status than 200 means.

        Args:
            status: HTTP status.
            headers: Names in lower case.
            body: Body of the answer.
        """
        text, place = message_of(body), ""
        if 300 <= status < 400:
            place = headers.get("location", "")[:_LONGEST_TEXT]
            shown = repr(place) if place else "nowhere (no Location)"
            text = f"redirected to {shown}, which is not followed"
        return cls(status, text, seconds_to_wait(headers.get("retry-after")), location=place)


def hint_of_redirect(endpoint_url: str, path: str, location: str) -> str:
    """Return which part of the address a redirect mends, with a separator before it; empty if not plain."""
    asked = endpoint_url.rstrip("/") + path
    try:
        old, new = urlsplit(asked), urlsplit(urljoin(asked, location))
    except ValueError:  # what a server sends need not be an address
        return ""
    if (old.scheme, new.scheme) == ("http", "https") and old.hostname == new.hostname:
        return "; the server wants TLS: the url is https://"
    if old.netloc == new.netloc and new.path == f"{old.path}/":
        return "; the path ends with a slash"
    return "; the study must name the address that answers itself"


def is_redirect(error: str) -> bool:
    """Return whether a request failed because the server answers elsewhere, by the text of its error."""
    return _REDIRECTED.match(error) is not None


def explained(error: str, endpoint: Endpoint) -> str:
    """Return the error of a request; that of a redirect with the address asked and what mends it."""
    found = _REDIRECTED.match(error)
    if found is None or not error.startswith("HTTP"):
        return error
    hint = hint_of_redirect(endpoint.url, endpoint.path, found["place"] or "")
    return f"{endpoint.url}{endpoint.path}: {error}{hint}"
