"""Keep-alive connections to one address.

Some idle ones are kept ready, so that a request need not wait for a handshake. A server may close an idle
connection at the moment a request is written to it: a request on a used connection that dies before a byte of
its answer is sent once more on a new one (RFC 9112, 9.3.1), and is then as late as that made it.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from autotune.measure.load.exchange import Exchange
from autotune.measure.load.precise import PreciseSelector

CONNECT_S = 10.0
_MOST_TRIES = 2


class Connection(asyncio.Protocol):
    """A connection that carries one request at a time."""

    def __init__(self, pool: Connections) -> None:
        self.pool = pool
        self.exchange: Exchange | None = None
        self.transport: asyncio.Transport | None = None
        self.used = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        if TYPE_CHECKING:
            assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def start(self, exchange: Exchange) -> None:
        """Send a request."""
        assert self.transport is not None  # noqa: S101 - it is connected
        self.exchange = exchange
        exchange.abort = self.transport.abort
        exchange.write(self.transport.write)

    def data_received(self, data: bytes) -> None:
        """Hand over what came; free the connection once the response is complete."""
        exchange = self.exchange
        if exchange is None:  # nobody asked
            self.close()
            return
        # The wait may have ended before the request was written.
        now = max(self.pool.selector.now_ns, exchange.sent_ns)
        if exchange.take(now, data):
            self.exchange = None
            self.used = True
            if exchange.keep_alive:
                self.pool.idle.append(self)
            else:
                self.close()
            exchange.finish(now)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request, or send it again."""
        self.pool.drop(self)
        exchange, self.exchange = self.exchange, None
        if exchange is None or exchange.over:
            return
        if self.used and exchange.silent and exchange.tries < _MOST_TRIES:
            self.pool.open(exchange)
            return
        exchange.close(time.monotonic_ns(), "" if exc is None else f"connection lost: {exc}")

    def close(self) -> None:
        """Let go of the connection."""
        if self.transport is not None:
            self.transport.abort()


class Connections:
    """Pool of connections to an endpoint.

    Args:
        url: Scheme, host and port.
        loop: Its event loop.
        selector: Selector of the loop.
        spare: Idle connections to keep ready.
    """

    def __init__(
        self, url: str, loop: asyncio.AbstractEventLoop, selector: PreciseSelector, spare: int = 0
    ) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        self.host, self.port = parts.hostname or "", parts.port or (443 if secure else 80)
        self.ssl = ssl.create_default_context() if secure else None
        self.loop, self.selector, self.spare = loop, selector, spare
        self.idle: deque[Connection] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._spares = 0

    async def warm(self, count: int) -> None:
        """Open connections before they are needed."""
        for _ in range(count):
            self.open(None)
        if self._opening:
            await asyncio.wait(self._opening)

    def send(self, exchange: Exchange) -> None:
        """Send a request on an idle connection, or on a new one."""
        exchange.postpone = self.send_later
        while self.idle:  # the last one used: those before it grow old and are closed by the server
            connection = self.idle.pop()
            if connection.transport is not None and not connection.transport.is_closing():
                connection.start(exchange)
                break
        else:
            self.open(exchange)
        if len(self.idle) + self._spares < self.spare:
            self.open(None)

    def send_later(self, exchange: Exchange, seconds: float) -> None:
        """Send a request again after some seconds, unless it is over by then."""

        def again() -> None:
            if not exchange.over:
                self.send(exchange)

        self.loop.call_later(seconds, again)

    def open(self, exchange: Exchange | None) -> None:
        """Open a connection for a request, or to have one ready."""
        self._spares += exchange is None
        task = self.loop.create_task(self._open(exchange))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, exchange: Exchange | None) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                _, connection = await self.loop.create_connection(
                    lambda: Connection(self), self.host, self.port, ssl=self.ssl
                )
        except (OSError, TimeoutError) as error:
            if exchange is not None:
                text = str(error) or f"no connection within {CONNECT_S:g} s"
                exchange.close(time.monotonic_ns(), f"cannot connect: {text}")
            return
        finally:
            self._spares -= exchange is None
        if exchange is None or exchange.over:
            self.idle.append(connection)
        else:
            connection.start(exchange)

    def drop(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        if connection.exchange is None and connection in self.idle:
            self.idle.remove(connection)
