"""Send requests: at the times of a schedule (open loop), or one for each that ends (closed loop)."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count

from autotune.core.request import BY_LENGTH, BY_LENGTH_NOT_USAGE, BY_USAGE, RequestRecord
from autotune.measure.load.connections import Connections
from autotune.measure.load.exchange import Exchange
from autotune.measure.load.prompts import Order

_SWEEP_S = 0.25
_DONE_GRACE_S = 1.0  # for the connection's own end after the answer's
_QUIET_NS = 3_000_000  # nothing is due for this long: time to prepare a request
_AHEAD = 256  # requests prepared beforehand
_PAUSES_S = (0.05, 1.0)  # after a failure in a closed loop, doubled up to the second: no storm of refusals

Make = Callable[[int], tuple[Order, bytes]]
"""Gives request number ``i`` and its bytes."""


class Sending:
    """The sending of the requests of one load.

    Args:
        connections: Connections to the server.
        make: Function that makes requests.
        ended: Callable for the record of each, and the text of each chunk of its answer.
        timeout_s: Longest time of a request.
        exact: Whether answers must have the length asked for.
        length_told: Whether an end by ``length`` means that all tokens asked for came.
        schedule: Offsets of an open loop in nanoseconds; ``None`` for a closed one.
        concurrency: Requests under way of a closed loop.
    """

    def __init__(
        self,
        connections: Connections,
        make: Make,
        ended: Callable[[RequestRecord, list[str]], None],
        *,
        timeout_s: float,
        exact: bool,
        length_told: bool = True,
        schedule: Iterator[int] | None = None,
        concurrency: int = 0,
    ) -> None:
        self.connections, self._make, self._record = connections, make, ended
        self._loop = connections.loop
        self._timeout_ns, self._exact, self._length_told = round(timeout_s * 1e9), exact, length_told
        self._characters = self._tokens = 0  # of the answers whose tokens were counted
        self._schedule, self._concurrency = schedule, concurrency
        self._numbers = count()
        self._ready: deque[tuple[Order, bytes]] = deque()
        self._due: int | None = None
        self._start_ns = 0
        self._failures = 0
        self.under_way: dict[Exchange, None] = {}
        self.sent = 0
        self.stopped = False
        self.exhausted = False

    @property
    def oldest_ns(self) -> int:
        """When the oldest request that has not ended was due, or begun; now without one."""
        now = time.monotonic_ns()
        oldest = next(iter(self.under_way), None)  # they are kept in the order they began
        return min(now, self._due or now, now if oldest is None else oldest.begun_ns)

    def prepare(self, most: int, seconds: float, most_bytes: int) -> None:
        """Make requests beforehand until one of the bounds is met."""
        until, size = time.monotonic() + seconds, 0
        while len(self._ready) < most and size < most_bytes and time.monotonic() < until:
            self._ready.append(self._make(next(self._numbers)))
            size += len(self._ready[-1][1])

    def begin(self, start_ns: int) -> None:
        """Begin at a time."""
        self._start_ns = start_ns
        self._loop.call_later(_SWEEP_S, self._sweep)
        self._loop.call_later(0, self._refill)
        if self._schedule is None:
            for _ in range(self._concurrency):
                self._loop.call_at(start_ns / 1e9, self._next)
        else:
            self._advance()

    def _advance(self) -> None:
        """Set the timer for what is due next."""
        assert self._schedule is not None  # noqa: S101 - only open loops come here
        offset = next(self._schedule, None)
        self._due = None if offset is None else self._start_ns + offset
        if self._due is None:
            self.exhausted = True
        else:
            self._loop.call_at(self._due / 1e9, self._fire)

    def _fire(self) -> None:
        """Send all that is due.

        What becomes due meanwhile waits for the next turn of the loop: a generator that is asked for more
        than it can send must still read answers, and the order to stop.
        """
        assert self._schedule is not None  # noqa: S101 - only open loops come here
        now = time.monotonic_ns()
        while self._due is not None and not self.stopped:
            if self._due > now:
                self._loop.call_at(self._due / 1e9, self._fire)
                return
            self._send(self._due)
            offset = next(self._schedule, None)
            self._due = None if offset is None else self._start_ns + offset
        self.exhausted = self._due is None

    def _next(self) -> None:
        if not self.stopped:
            self._send(0)

    def _send(self, due_ns: int) -> None:
        order, payload = self._ready.popleft() if self._ready else self._make(next(self._numbers))
        exchange = Exchange(order, payload, due_ns, self._ended, self._exact, self._length_told)
        self.under_way[exchange] = None
        self.sent += 1
        self.connections.send(exchange)

    def _ended(self, exchange: Exchange) -> None:
        self.under_way.pop(exchange, None)
        record, texts = exchange.record(), exchange.texts
        if record.error is None and record.counted_by in (BY_USAGE, BY_LENGTH, BY_LENGTH_NOT_USAGE):
            self._characters += sum(map(len, texts))
            self._tokens += record.output_tokens
        self._record(record, texts)
        if self._schedule is not None or self.stopped:
            return
        self._failures = self._failures + 1 if record.error else 0
        if self._failures:
            least, most = _PAUSES_S
            self._loop.call_later(min(most, least * 2.0 ** min(10, self._failures - 1)), self._next)
        else:
            self._next()

    def _refill(self) -> None:
        """Make one request ahead while there is time for it."""
        if self.stopped:
            return
        quiet = self._due is None or self._due - time.monotonic_ns() > _QUIET_NS
        if quiet and len(self._ready) < _AHEAD:
            self._ready.append(self._make(next(self._numbers)))
            self._loop.call_soon(self._refill)
        else:
            self._loop.call_later(_QUIET_NS / 1e9, self._refill)

    def _sweep(self) -> None:
        """End what has taken too long."""
        now = time.monotonic_ns()
        for exchange in list(self.under_way):
            if exchange.done_ns and now - exchange.done_ns > _DONE_GRACE_S * 1e9:
                exchange.give_up(exchange.done_ns)
            elif now - exchange.begun_ns > self._timeout_ns:
                exchange.give_up(now, f"timeout: no end within {self._timeout_ns / 1e9:g} s")
        if not self.stopped:
            self._loop.call_later(_SWEEP_S, self._sweep)

    async def stop(self, drain_s: float) -> None:
        """Send no more; wait for what is under way; cut off the rest."""
        self.stopped = True
        deadline = time.monotonic() + drain_s
        while self.under_way and (left := deadline - time.monotonic()) > 0:
            await asyncio.sleep(min(0.01, left))
        now = time.monotonic_ns()
        per_character = self._tokens / self._characters if self._characters else None
        for exchange in list(self.under_way):
            self._record(exchange.cut(now, per_character), [])
        self.under_way.clear()
