"""The bytes of a request: head and JSON body as one write."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from autotune.core.endpoint import Endpoint
from autotune.core.json_object import JsonObject

STREAM_OPTIONS: tuple[JsonObject | None, ...] = (
    {"include_usage": True, "continuous_usage_stats": True},
    {"include_usage": True},
    None,
)
"""What may be asked of a stream, most telling first; servers that check their input refuse what is new."""

_TOKENS = "{max_tokens}"

Message = tuple[str, str]
"""Role and text."""


def fields(
    endpoint: Endpoint, messages: Sequence[Message], joined: str, max_tokens: int, options: Any
) -> dict[str, Any]:
    """Return the JSON fields of a request.

    Args:
        endpoint: Its own fields win.
        messages: Messages of a chat.
        joined: Their texts as one, for a completion.
        max_tokens: Output tokens of the answer at most.
        options: One of :data:`STREAM_OPTIONS`.
    """
    prompt: dict[str, object] = {"prompt": joined}
    if endpoint.is_chat:
        prompt = {"messages": [{"role": role, "content": text} for role, text in messages]}
    body = {"model": endpoint.model, **prompt, "max_tokens": max_tokens, "temperature": 0.0, "stream": True}
    if options:
        body["stream_options"] = dict(options)
    body |= {key: _filled(value, max_tokens) for key, value in endpoint.body.items()}
    if "max_completion_tokens" in endpoint.body:  # the newer name of the same
        del body["max_tokens"]
    return {key: value for key, value in body.items() if key not in endpoint.omit}


def _filled(value: object, max_tokens: int) -> object:
    if value == _TOKENS:
        return max_tokens
    if isinstance(value, Mapping):
        return {key: _filled(inner, max_tokens) for key, inner in value.items()}
    return [_filled(inner, max_tokens) for inner in value] if isinstance(value, list | tuple) else value


def wants_all_tokens(endpoint: Endpoint) -> bool:
    """Return whether requests ask for exactly their tokens, so that fewer are an error."""
    if not endpoint.exact:
        return False
    body = {key: value for key, value in endpoint.body.items() if key not in endpoint.omit}
    return bool(body.get("ignore_eos")) or "min_tokens" in body or "n_predict" in body


class Head:
    """Head of the requests to one endpoint.

    Raises:
        ValueError: A header would end the head.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        parts = urlsplit(endpoint.url)
        own = {
            "Host": parts.netloc.rpartition("@")[2],
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",
            **endpoint.headers,
        }
        for name, value in own.items():
            if any(c in f"{name}{value}" for c in "\r\n\0"):
                raise ValueError(f"the header {name!r} has a line end in it")
        lines = [f"POST {parts.path.rstrip('/')}{endpoint.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in own.items()]
        self._text = ("\r\n".join(lines) + "\r\nContent-Length: ").encode("latin-1")

    def request(self, body: Mapping[str, object]) -> bytes:
        """Return the whole request."""
        data = json.dumps(body).encode()
        return b"%b%d\r\n\r\n%b" % (self._text, len(data), data)
