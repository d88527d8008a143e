"""One request under way: what was sent when, what has come back, and the record that this becomes."""

from __future__ import annotations

import time
from collections.abc import Callable

from autotune.core.endpoint import message_of
from autotune.core.request import RequestRecord
from autotune.measure.batch import CUT_OFF
from autotune.measure.load.answer import Answer
from autotune.measure.load.http_response import BadResponse, ResponseReader
from autotune.measure.load.prompts import Order
from autotune.measure.load.sse import EventReader, HostileStream

_MOST_ERROR = 64 << 10  # bytes of an error's body that are kept
_OK = 200


class Exchange:
    """Keep one request and its answer.

    Args:
        order: What is asked.
        payload: Its bytes.
        due_ns: When it was to be sent; 0 in a closed loop: when it is.
        ended: Called once it is over.
        exact: Whether fewer or more tokens than asked for are an error.
    """

    def __init__(
        self,
        order: Order,
        payload: bytes,
        due_ns: int,
        ended: Callable[[Exchange], None],
        exact: bool = False,
    ) -> None:
        self.order, self.payload, self.due_ns = order, payload, due_ns
        self.begun_ns = due_ns or time.monotonic_ns()
        self.sent_ns = 0
        self.end_ns = 0
        self.done_ns = 0
        self.error = ""
        self.over = False
        self.tries = 0
        self.abort: Callable[[], object] | None = None  # breaks off its connection
        self._ended, self._exact = ended, exact
        self._again()

    def _again(self) -> None:
        self._response, self._events, self._answer = ResponseReader(), EventReader(), Answer()
        self._body = b""

    def write(self, write: Callable[[bytes], object]) -> None:
        """Send it."""
        if self.tries:
            self._again()
        self.tries += 1
        self.sent_ns = time.monotonic_ns()
        write(self.payload)

    @property
    def silent(self) -> bool:
        """Whether not a byte has come back."""
        return not self._response.started

    @property
    def keep_alive(self) -> bool:
        """Whether its connection may be used again."""
        return self._response.complete and self._response.keep_alive and not self.error

    def take(self, time_ns: int, data: bytes) -> bool:
        """Take what came at ``time_ns``; return whether the response is complete or broken."""
        response = self._response
        try:
            pieces = response.feed(data)
            if response.status == _OK and self._is_stream():
                for piece in pieces:
                    self._take_events(time_ns, self._events.feed(piece))
            elif response.status and len(self._body) < _MOST_ERROR:
                self._body += b"".join(pieces)
        except (BadResponse, HostileStream) as error:
            self.error = str(error)
        if self._answer.error:
            self.error = self.error or self._answer.error
        return bool(self.error) or response.complete

    def _is_stream(self) -> bool:
        kind = self._response.headers.get("content-type", "")
        return kind.partition(";")[0].strip().lower() == "text/event-stream"

    def _take_events(self, time_ns: int, events: list[bytes]) -> None:
        for event in events:
            self._answer.add(time_ns, event)
        if self._answer.done and not self.done_ns:
            self.done_ns = time_ns

    def close(self, time_ns: int, problem: str = "") -> None:
        """Take note that nothing more will come, and say so.

        Args:
            time_ns: When.
            problem: What broke it off; empty where the connection just ended.
        """
        if self.over:
            return
        if problem:
            self.error = self.error or problem
        elif not self._response.complete and not self.error:
            try:
                self._response.end()
            except BadResponse as error:
                self.error = "" if self.done_ns else str(error)
        self.finish(time_ns)

    def give_up(self, time_ns: int, problem: str = "") -> None:
        """Break off: nothing more is waited for."""
        self.close(time_ns, problem)
        if self.abort is not None:
            self.abort()

    def finish(self, time_ns: int) -> None:
        """End it: the response is complete, or nothing more will come."""
        if self.over:
            return
        if self._response.status == _OK and self._is_stream():
            self._take_events(time_ns, self._events.end())
        self.over = True
        self.end_ns = self.done_ns or time_ns
        self._ended(self)

    def record(self) -> RequestRecord:
        """Return what is to be told of it."""
        answer = self._answer
        arrivals = answer.arrivals()
        send_ns = self.due_ns or self.sent_ns or self.begun_ns
        end_ns = max(self.end_ns, send_ns, arrivals[-1][0] if arrivals else 0)
        error = self.error or answer.error or self._judge(sum(tokens for _, tokens in arrivals))
        prompt_tokens = self.order.prompt_tokens if answer.prompt_tokens is None else answer.prompt_tokens
        return RequestRecord(
            id=self.order.id,
            prompt_tokens=prompt_tokens,
            send_ns=send_ns,
            arrivals=arrivals,
            end_ns=end_ns,
            error=error or None,
            slip_ns=max(0, (self.sent_ns or end_ns) - send_ns),
        )

    def _judge(self, tokens: int) -> str:
        """Return what is wrong with a response that came to its end."""
        response, answer = self._response, self._answer
        if response.status != _OK:
            text = message_of(self._body)
            return f"HTTP {response.status}" + (f": {text}" if text else "")
        if not self._is_stream():
            return f"no stream: {response.headers.get('content-type', 'nothing')[:60]}"
        if not answer.ended:
            return f"truncated: the stream ended after {tokens} tokens without saying so"
        if not tokens:
            return "no output tokens"
        if answer.finished in ("abort", "error"):
            return f"the server ended it: {answer.finished}"
        wanted = self.order.max_tokens
        if self._exact and answer.output_tokens is not None and answer.output_tokens != wanted:
            return f"{answer.output_tokens} of {wanted} tokens came"
        return ""

    def cut(self, time_ns: int) -> RequestRecord:
        """Return the record of a request that is given up because the generator ends."""
        self.over, self.end_ns = True, time_ns
        self.error = CUT_OFF
        return self.record()
