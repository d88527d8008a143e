"""One request to an inference system and the record of how its tokens came back."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.core.json_object import JsonObject

BY_USAGE, BY_LENGTH, BY_TOKENIZER = "usage", "length", "tokenizer"
"""How output tokens were counted: by the server, by the length asked for that was reached, by a tokenizer."""

BY_LENGTH_NOT_USAGE = "length, against the usage"
"""The length asked for that was reached, where the server's own count says something else."""

BY_USAGE_AGAINST_ITSELF = "usage, against itself"
"""By the server, which tells of more tokens of reasoning than of all."""

BY_CHUNKS, BY_SEVERAL_WORDS = "chunks", "chunks of several words"
"""As above, where only chunks of the stream could be counted, one token each."""

HIDDEN_UNCOUNTED = -1
"""Of :attr:`RequestRecord.hidden`: tokens were made that no chunk shows, or may have been; nobody says how
many."""

_MALFORMED = ("no HTTP: ", "an event ", "an answer ", "no stream")


def is_malformed(error: str) -> bool:
    """Return whether a request failed because what came was no answer, rather than none or an error."""
    return error.startswith(_MALFORMED)


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Args:
        id: Unique within a run.
        prompt: The text sent.
        max_tokens: Output tokens wanted; the system is told to ignore end-of-sequence, so that the
            amount of work does not depend on the configuration.
        prompt_tokens: Length wanted in tokens: a system with the tokenizer at hand cuts the text to it.
    """

    id: int
    prompt: str
    max_tokens: int
    prompt_tokens: int | None = None

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data; :meth:`from_dict` reads it back."""
        return {
            "id": self.id,
            "prompt": self.prompt,
            "max_tokens": self.max_tokens,
            "prompt_tokens": self.prompt_tokens,
        }

    @classmethod
    def from_dict(cls, data: JsonObject) -> Request:
        """Read what :meth:`to_dict` wrote."""
        return cls(data["id"], data["prompt"], data["max_tokens"], data.get("prompt_tokens"))


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """The times at which the tokens of one request arrived.

    Args:
        id: Id of the request.
        prompt_tokens: Prompt length in tokens, as the system counted it.
        send_ns: Planned time of sending, monotonic clock, nanoseconds. In an open loop that is the
            schedule's time: a generator that was late (``slip_ns``) makes latencies longer, never shorter.
        arrivals: ``(time_ns, tokens)`` for each arrival of output tokens, in order.
        end_ns: Time at which the response was complete.
        error: Reason of the failure, or ``None``.
        slip_ns: Delay of the first byte really sent after ``send_ns``.
        prefill_ns: Time at which the server began to work on it, where it says so; 0 where it does not.
        counted_by: Source of the token count, such as :data:`BY_USAGE`; empty where the system made
            them in a process of ours.
        wanted: Output tokens asked for; 0 where it is not known.
        waits: Number of requests to come back later (429 or 503 with ``Retry-After``); the latency
            counts from the first time.
        hidden: Output tokens that were made before the first one that was shown, such as reasoning that is
            not streamed: a part of the first arrival. :data:`HIDDEN_UNCOUNTED` where their number is unknown.
        doubted: Claim of the server on tokens that cannot be, in words; empty where it was believed.
    """

    id: int
    prompt_tokens: int
    send_ns: int
    arrivals: tuple[tuple[int, int], ...]
    end_ns: int
    error: str | None = None
    slip_ns: int = 0
    prefill_ns: int = 0
    counted_by: str = ""
    wanted: int = 0
    waits: int = 0
    hidden: int = 0
    doubted: str = ""

    @property
    def shown_after_first(self) -> int | None:
        """Count of the output tokens that are shown one after the other after the first; ``None`` if unknown.

        All but one, whatever the first arrival holds; where tokens were made before anything was shown, those
        of the later arrivals.
        """
        if self.hidden == HIDDEN_UNCOUNTED or not self.arrivals:
            return None
        return self.output_tokens - (self.arrivals[0][1] if self.hidden else 1)

    @property
    def output_tokens(self) -> int:
        """Count of the output tokens that arrived."""
        return sum(count for _, count in self.arrivals)

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data; :meth:`from_dict` reads it back."""
        return {
            "id": self.id,
            "prompt_tokens": self.prompt_tokens,
            "send_ns": self.send_ns,
            "arrivals": [list(arrival) for arrival in self.arrivals],
            "end_ns": self.end_ns,
            "error": self.error,
            "slip_ns": self.slip_ns,
            "prefill_ns": self.prefill_ns,
            "counted_by": self.counted_by,
            "wanted": self.wanted,
            "waits": self.waits,
            "hidden": self.hidden,
            "doubted": self.doubted,
        }

    @classmethod
    def from_dict(cls, data: JsonObject) -> RequestRecord:
        """Read what :meth:`to_dict` wrote."""
        return cls(
            id=data["id"],
            prompt_tokens=data["prompt_tokens"],
            send_ns=data["send_ns"],
            arrivals=tuple((int(t), int(count)) for t, count in data["arrivals"]),
            end_ns=data["end_ns"],
            error=data.get("error"),
            slip_ns=data.get("slip_ns", 0),
            prefill_ns=data.get("prefill_ns", 0),
            counted_by=data.get("counted_by", ""),
            wanted=data.get("wanted", 0),
            waits=data.get("waits", 0),
            hidden=data.get("hidden", 0),
            doubted=data.get("doubted", ""),
        )
