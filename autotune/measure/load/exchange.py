"""One request under way: what was sent when, what has come back, and the record that this becomes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from autotune.core.endpoint import BUSY, Refused, foreign_json, message_of, seconds_to_wait
from autotune.core.http_response import BadResponse, ResponseReader, packed_as
from autotune.core.request import (
    BY_CHUNKS,
    BY_LENGTH,
    BY_LENGTH_NOT_USAGE,
    BY_SEVERAL_WORDS,
    BY_USAGE,
    RequestRecord,
)
from autotune.measure.load.answer import StreamedAnswer
from autotune.measure.load.prompts import Order
from autotune.measure.load.sse import EventReader, HostileStream, looks_like_events
from autotune.measure.statistics.samples import CUT_OFF

_MOST_ERROR = 64 << 10  # bytes of an error's body that are kept
_MOST_BYTES = 16 << 20  # of an answer, and as many more for each token asked for as an event with all of its
_MOST_BYTES_PER_TOKEN = 64 << 10  # alternatives has
_MOST_BYTES_AT_ALL = 1 << 30
_OK = 200
_NO_ROOM = " but {} of reasoning that is not shown: `output_tokens` leaves no room for an answer"


class Exchange:
    """One request and its answer.

    Args:
        order: Request to be made.
        payload: Its bytes.
        due_ns: Planned time of sending; 0 in a closed loop: when it is sent.
        ended: Callable for its end.
        exact: Whether fewer or more tokens than asked for are an error.
        length_told: Whether an end by ``length`` means that all tokens asked for came.
    """

    def __init__(
        self,
        order: Order,
        payload: bytes,
        due_ns: int,
        ended: Callable[[Exchange], None],
        exact: bool = False,
        length_told: bool = True,
    ) -> None:
        self.order, self.payload, self.due_ns = order, payload, due_ns
        self.begun_ns = due_ns or time.monotonic_ns()
        self.sent_ns = 0
        self.end_ns = 0
        self.done_ns = 0
        self.error = ""
        self.over = False
        self.tries = 0
        self.waits = 0
        self.abort: Callable[[], object] | None = None  # breaks off its connection
        self.postpone: Callable[[Exchange, float], object] | None = None  # sends it again after some seconds
        self._first_ns = 0
        self._most = min(_MOST_BYTES + _MOST_BYTES_PER_TOKEN * order.max_tokens, _MOST_BYTES_AT_ALL)
        self._ended, self._exact, self._length_told = ended, exact, length_told
        self._again()

    def _again(self) -> None:
        wanted = self.order.max_tokens if self._length_told else None
        self._response, self._events = ResponseReader(), EventReader()
        self._answer = StreamedAnswer(wanted, self.order.max_tokens)
        self._body = b""
        self._bytes = 0
        self._streams: bool | None = None  # not known yet

    def write(self, write: Callable[[bytes], object]) -> None:
        """Send it."""
        if self.tries:
            self._again()
        self.tries += 1
        self.sent_ns = time.monotonic_ns()
        if not self.waits:
            self._first_ns = self.sent_ns
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
        self._bytes += len(data)
        try:
            pieces = response.feed(data)
            if response.status == _OK and pieces:
                pieces = self._sniffed(pieces)
            if self._streams:
                for piece in pieces:
                    self._take_events(time_ns, self._events.feed(piece))
            elif response.status and len(self._body) < _MOST_ERROR:
                self._body += b"".join(pieces)
        except (BadResponse, HostileStream) as error:
            self.error = str(error)
        if self._bytes > self._most and not self.error:
            self.error = f"an answer of more than {self._most >> 20} MiB"
        if self._answer.error:
            self.error = self.error or self._answer.error
        return bool(self.error) or response.complete

    def _sniffed(self, pieces: list[bytes]) -> list[bytes]:
        """Find out whether the body is a stream of events: by its type, or by what it begins with."""
        if self._streams is None and self._kind() == "text/event-stream":
            self._streams = True
        if self._streams is not None:
            return pieces
        begun = self._body + b"".join(pieces)
        self._streams = looks_like_events(begun)
        if not self._streams:
            return pieces
        self._body = b""
        return [begun]

    def _kind(self) -> str:
        return self._response.headers.get("content-type", "").partition(";")[0].strip().lower()

    def _take_events(self, time_ns: int, events: list[bytes]) -> None:
        for event in events:
            self._answer.add(time_ns, event)
        if self._answer.done and not self.done_ns:
            self.done_ns = time_ns

    def close(self, time_ns: int, problem: str = "") -> None:
        """Take note that nothing more will come, and say so.

        Args:
            time_ns: Time of the break, monotonic clock, nanoseconds.
            problem: Reason of the break; empty where the connection just ended.
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
        """End it: the response is complete, or nothing more will come; or wait, if the server says so."""
        if self.over:
            return
        wait_s = self._told_to_wait()
        if wait_s is not None and self.postpone is not None:
            self.waits, self.tries, self.abort = self.waits + 1, 0, None
            self._again()
            self.postpone(self, wait_s)
            return
        if self._streams:
            self._take_events(time_ns, self._events.end())
        self.over = True
        self.end_ns = self.done_ns or time_ns
        self._ended(self)

    def _told_to_wait(self) -> float | None:
        """Return the seconds after which the server wants to be asked again; ``None`` if it does not."""
        if self.error or not self._response.complete or self._response.status not in BUSY:
            return None
        return seconds_to_wait(self._response.headers.get("retry-after"))

    @property
    def texts(self) -> list[str]:
        """The text of each chunk that came."""
        return self._answer.texts

    def record(self, per_character: float | None = None) -> RequestRecord:
        """Return what is to be told of it.

        Args:
            per_character: Tokens per character of answers that were counted, for one that was cut off.
        """
        answer = self._answer
        arrivals = answer.arrivals(per_character)
        sent_ns = self._first_ns or self.sent_ns if self.waits else self.sent_ns
        send_ns = self.due_ns or sent_ns or self.begun_ns
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
            slip_ns=max(0, (sent_ns or end_ns) - send_ns),
            counted_by=answer.counted_by if arrivals else "",
            wanted=self.order.max_tokens,
            waits=self.waits,
            hidden=answer.hidden,
            doubted=answer.doubted,
        )

    def _judge(self, tokens: int) -> str:
        """Return what is wrong with a response that came to its end."""
        response, answer = self._response, self._answer
        if response.status != _OK:
            return str(Refused.of_answer(response.status, response.headers, self._body))
        if packed := packed_as(response.headers):
            return packed
        if not self._streams and self._kind() != "text/event-stream":
            return self._no_stream()
        if not answer.ended:
            return f"truncated: the stream ended after {tokens} tokens without saying so"
        if not tokens:
            made = answer.reasoning
            return f"no output tokens{_NO_ROOM.format(made) if made else ''}"
        if answer.finished in ("abort", "error"):
            return f"the server ended it: {answer.finished}"
        wanted, how = self.order.max_tokens, answer.counted_by
        # Where the server's own word for an end by length is not to be believed, its chunks say what came.
        known = how in (BY_USAGE, BY_LENGTH, BY_LENGTH_NOT_USAGE) or (
            how == BY_CHUNKS and not self._length_told
        )
        if self._exact and known and wanted not in (tokens, tokens - max(0, answer.hidden)):
            return f"{tokens} of {wanted} tokens came"
        if self._exact and how in (BY_CHUNKS, BY_SEVERAL_WORDS) and tokens > wanted:
            return f"{tokens} chunks of text came for {wanted} tokens"
        return ""

    def _no_stream(self) -> str:
        """Return what is wrong with an answer that is no stream: an error's own words, where it has some."""
        kind = self._response.headers.get("content-type", "nothing")[:60]
        try:
            found = foreign_json(self._body)
        except ValueError:
            return f"no stream: {kind}"
        if isinstance(found, Mapping) and "choices" not in found:
            return f"the server said: {message_of(found)}"
        return f"no stream: the whole answer came as one {kind}"

    def cut(self, time_ns: int, per_character: float | None = None) -> RequestRecord:
        """Return the record of a request that is given up because the generator ends."""
        self.over, self.end_ns = True, time_ns
        self.error = CUT_OFF
        return self.record(per_character)
