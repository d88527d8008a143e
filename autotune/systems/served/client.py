"""A few JSON requests to a server that is being launched: is it ready, what does it serve, what is it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from autotune.core.endpoint import Refused, message_of, seconds_to_wait

_LONGEST = 8 << 20  # bytes of an answer: a server's facts and one short completion are far below


def ask(
    url: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float = 5.0,
) -> Any:
    """Return the answer to a GET, or to a POST of ``body``: parsed JSON, or text that is none.

    Args:
        url: Scheme, host and port; a path in it comes before ``path``.
        path: With its leading slash.
        body: Sent as JSON.
        headers: On top of the content type.
        timeout: Seconds for each wait on the socket.

    Raises:
        Refused: There is no answer, or its status is not 200.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=max(0.01, timeout))
    data = None if body is None else json.dumps(body)
    sent = {"Content-Type": "application/json", "Connection": "close", **(headers or {})}
    try:
        connection.request("GET" if data is None else "POST", parts.path.rstrip("/") + path, data, sent)
        response = connection.getresponse()
        text = response.read(_LONGEST).decode("utf-8", errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise Refused.of_error(error) from None
    finally:
        connection.close()
    if response.status != http.client.OK:
        wait = seconds_to_wait(response.headers.get("Retry-After"))
        raise Refused(response.status, message_of(text), wait)
    try:
        return json.loads(text)
    except ValueError:
        return text
