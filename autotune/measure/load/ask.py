"""A few requests to a server before the load begins: blocking, one after the other, each with a deadline."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Generator, Mapping
from contextlib import closing

from autotune.core.endpoint import BUSY, Endpoint, Refused
from autotune.core.http_client import HttpConnection
from autotune.measure.load.answer import StreamedAnswer
from autotune.measure.load.sse import EventReader, HostileStream, looks_like_events

_LONGEST = 16 << 20


class EndpointConnection:
    """One HTTP connection to an endpoint, for one request after the other.

    Args:
        endpoint: Endpoint of the server.
        timeout: Seconds for each answer, waits that a busy server asks for included.
        deadline: ``time.monotonic()`` value after which nothing is waited for.
    """

    def __init__(self, endpoint: Endpoint, timeout: float, deadline: float = math.inf) -> None:
        self.endpoint = endpoint
        self._timeout, self._deadline = timeout, deadline
        self._connection = HttpConnection(endpoint.url)

    def post(self, path: str, body: Mapping[str, object]) -> bytes:
        """Return the body of the answer.

        Raises:
            Refused: There is none, or its status is not 200.
        """
        return b"".join(self._pieces(path, body))

    def _pieces(self, path: str, body: Mapping[str, object]) -> Generator[bytes]:
        """Yield the body of the answer as it comes; a server that is busy is waited for as it asks."""
        until = min(time.monotonic() + self._timeout, self._deadline)
        data = json.dumps(body).encode()
        while True:
            answer = self._connection.ask(
                path, data, self.endpoint.headers, deadline=until, most_bytes=_LONGEST
            )
            if answer.status == 200:
                yield from answer.pieces
                return
            refusal = Refused.of_answer(answer.status, answer.headers, answer.read())
            wait = refusal.retry_after
            if refusal.status not in BUSY or wait is None or time.monotonic() + wait >= until:
                raise refusal
            time.sleep(wait)

    def completion(self, body: Mapping[str, object]) -> StreamedAnswer:
        """Return a streamed answer, read until it says that it has ended.

        Raises:
            Refused: There is none, or it is no stream.
        """
        reader, answer, begun = EventReader(), StreamedAnswer(), b""
        try:
            with closing(self._pieces(self.endpoint.path, body)) as pieces:
                for piece in pieces:
                    begun += piece[: 64 - len(begun)]
                    if looks_like_events(begun) is False:
                        raise Refused(0, f"no stream of events came, but {begun!r}")
                    for event in reader.feed(piece):
                        answer.add(0, event)
                    if answer.error:
                        raise Refused(0, answer.error)
                    if answer.done:
                        return answer
            for event in reader.end():
                answer.add(0, event)
        except HostileStream as error:
            raise Refused(0, str(error)) from None
        return answer

    def close(self) -> None:
        """Let go of the connection; another request would open it again."""
        self._connection.close()

    def __enter__(self) -> EndpointConnection:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
