"""A few requests to a server before the load begins: blocking, one after the other, each with a deadline."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from autotune.core.endpoint import Endpoint
from autotune.measure.load.answer import Answer, message_of
from autotune.measure.load.sse import EventReader, HostileStream

_LONGEST = 16 << 20


class Refused(Exception):
    """Say that there is no usable answer.

    Args:
        status: Of HTTP; 0 where there was no answer at all.
        text: What the server said, or what went wrong.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text}" if status else text)
        self.status = status


class Line:
    """Keep one connection to an endpoint.

    Args:
        endpoint: Where to.
        timeout: Seconds for each wait on the socket.
    """

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        parts = urlsplit(endpoint.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.endpoint = endpoint
        self._prefix = parts.path.rstrip("/")
        self._connection = kind(parts.hostname or "", parts.port, timeout=timeout)

    def post(self, path: str, body: Mapping[str, Any]) -> bytes:
        """Return the body of the answer.

        Raises:
            Refused: There is none, or its status is not 200.
        """
        headers = {"Content-Type": "application/json", **self.endpoint.headers}
        try:
            self._connection.request("POST", self._prefix + path, json.dumps(body), headers)
            response = self._connection.getresponse()
            data = response.read(_LONGEST)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Refused(0, f"{type(error).__name__}: {error}") from None
        if response.status != http.client.OK:
            self._connection.close()
            try:
                text = message_of(json.loads(data))
            except ValueError:
                text = message_of(data.decode("utf-8", errors="replace"))
            raise Refused(response.status, text)
        return data

    def completion(self, body: Mapping[str, Any]) -> Answer:
        """Return a streamed answer, read whole.

        Raises:
            Refused: There is none.
        """
        reader, answer = EventReader(), Answer()
        try:
            for event in [*reader.feed(self.post(self.endpoint.path, body)), *reader.end()]:
                answer.add(0, event)
        except HostileStream as error:
            raise Refused(0, str(error)) from None
        if answer.error:
            raise Refused(0, answer.error)
        return answer

    def __enter__(self) -> Line:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
