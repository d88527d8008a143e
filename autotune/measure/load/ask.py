"""A few requests to a server before the load begins: blocking, one after the other, each with a deadline."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from autotune.core.endpoint import BUSY, Endpoint, Refused, message_of, seconds_to_wait
from autotune.measure.load.answer import Answer
from autotune.measure.load.sse import EventReader, HostileStream, looks_like_events

_LONGEST = 16 << 20
_PIECE = 64 << 10


class Line:
    """One HTTP connection to an endpoint, for one request after the other.

    Args:
        endpoint: Where to.
        timeout: Seconds for each wait on the socket.
    """

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        parts = urlsplit(endpoint.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.endpoint = endpoint
        self._timeout = timeout
        self._prefix = parts.path.rstrip("/")
        self._connection = kind(parts.hostname or "", parts.port, timeout=timeout)

    def post(self, path: str, body: Mapping[str, Any]) -> bytes:
        """Return the body of the answer.

        Raises:
            Refused: There is none, or its status is not 200.
        """
        return b"".join(self._pieces(path, body))

    def _pieces(self, path: str, body: Mapping[str, Any]) -> Iterator[bytes]:
        """Yield the body of the answer as it comes; a server that is busy is waited for as it asks."""
        until = time.monotonic() + self._timeout
        while True:
            try:
                yield from self._once(path, body, until)
                return
            except Refused as refusal:
                wait = refusal.retry_after
                if refusal.status not in BUSY or wait is None or time.monotonic() + wait >= until:
                    raise
                time.sleep(wait)

    def _once(self, path: str, body: Mapping[str, Any], until: float) -> Iterator[bytes]:
        headers = {"Content-Type": "application/json", **self.endpoint.headers}
        length = 0
        try:
            self._connection.request("POST", self._prefix + path, json.dumps(body), headers)
            response = self._connection.getresponse()
            if response.status != http.client.OK:
                wait = seconds_to_wait(response.headers.get("Retry-After"))
                raise Refused(response.status, message_of(response.read(_LONGEST)), wait)
            while piece := response.read1(_PIECE):
                yield piece
                length += len(piece)
                if time.monotonic() > until or length > _LONGEST:
                    raise Refused(0, f"the answer did not end within {self._timeout:g} s or {length} bytes")
            response.read()  # nothing is left; without this the connection is not free again
        except (OSError, ValueError, http.client.HTTPException) as error:
            self._connection.close()
            raise Refused.of_error(error) from None
        except (Refused, GeneratorExit):
            self._connection.close()
            raise

    def completion(self, body: Mapping[str, Any]) -> Answer:
        """Return a streamed answer, read until it says that it has ended.

        Raises:
            Refused: There is none, or it is no stream.
        """
        reader, answer, begun = EventReader(), Answer(), b""
        try:
            for piece in self._pieces(self.endpoint.path, body):
                begun += piece[: 64 - len(begun)]
                if looks_like_events(begun) is False:
                    raise Refused(0, f"no stream of events came, but {begun!r}")
                for event in reader.feed(piece):
                    answer.add(0, event)
                if answer.error:
                    raise Refused(0, answer.error)
                if answer.done:
                    break
            else:
                for event in reader.end():
                    answer.add(0, event)
        except HostileStream as error:
            raise Refused(0, str(error)) from None
        return answer

    def close(self) -> None:
        """Let go of the connection; another request would open it again."""
        self._connection.close()

    def __enter__(self) -> Line:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
