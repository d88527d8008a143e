"""A few JSON requests to a server that is being launched: is it ready, what does it serve, what is it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from autotune.core.endpoint import Refused, foreign_json
from autotune.core.http_client import HttpConnection

_LONGEST = 8 << 20  # bytes of an answer: a server's facts and one short completion are far below


def ask(
    url: str,
    path: str,
    body: Mapping[str, object] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float = 5.0,
    most_bytes: int = _LONGEST,
) -> Any:
    """Return the answer to a GET, or to a POST of ``body``: parsed JSON, or text that is none.

    Args:
        url: Scheme, host and port; a path in it comes before ``path``.
        path: Path with its leading slash.
        body: Data that is sent as JSON.
        headers: Headers on top of the content type.
        timeout: Seconds for all of it.
        most_bytes: Longest answer.

    Raises:
        Refused: There is no answer, or its status is not 200.
    """
    connection = HttpConnection(url)
    data = None if body is None else json.dumps(body).encode()
    sent = {"Connection": "close", **(headers or {})}
    deadline = time.monotonic() + timeout
    try:
        answer = connection.ask(path, data, sent, deadline=deadline, most_bytes=most_bytes)
        text = answer.read().decode("utf-8", errors="replace")
    finally:
        connection.close()
    if answer.status != 200:
        raise Refused.of_answer(answer.status, answer.headers, text)
    try:
        return foreign_json(text)
    except ValueError:
        return text
