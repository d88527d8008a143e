"""A piece of a run that metrics are computed over: a batch that ran together, or a window of time.

Both answer the same three questions, so that a metric's formula is written once: which requests belong to
the piece, how long it was, and how much of a flow (tokens, requests) passed in it. In a batch everything
belongs to it. Of a window of a served load, requests belong to it that were *sent* in it, so that a slow
answer cannot fall out of the measurement, while tokens and completions count when they *happen*, so that a
rate is what flowed in the window and not what was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from autotune.core.request import Request, RequestRecord

CUT_OFF = "cut off"
"""Error of a request that was under way when the generator ended: no fault of the system."""

Events = Callable[[RequestRecord], Iterable[tuple[int, float]]]
"""What a request contributes to a flow: ``(time_ns, amount)`` pairs."""


class Sample(Protocol):
    """One piece of a run, with what metrics need of it."""

    @property
    def answered(self) -> list[RequestRecord]:
        """Records of the requests that belong to it, without an error and with output."""

    @property
    def seconds(self) -> float:
        """How long it was."""

    def flow(self, events: Events, partial: bool) -> float:
        """Return the amount that passed in it.

        Args:
            events: Contribution of each request.
            partial: Whether requests count that were still under way when the run ended.
        """


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that ran together, and their records.

    Args:
        requests: Requests as they were sent.
        records: Records as they came back; one per request, in the same order, when all went well.
        called_ns: Time just before the batch was handed over, monotonic clock, nanoseconds.
        returned_ns: Time just after all answers were there.
    """

    requests: tuple[Request, ...]
    records: tuple[RequestRecord, ...]
    called_ns: int
    returned_ns: int

    @property
    def answered(self) -> list[RequestRecord]:
        """Records without an error and with at least one output token."""
        return [record for record in self.records if is_answered(record)]

    @property
    def seconds(self) -> float:
        """From the first send to the last end; the measuring program's own time between batches is out."""
        if not self.records:
            return 0.0
        start = min(record.send_ns for record in self.records)
        return (max(record.end_ns for record in self.records) - start) / 1e9

    def flow(self, events: Events, partial: bool) -> float:
        """Return the amount of all answered requests: a batch is complete when it returns."""
        return float(sum(amount for record in self.answered for _, amount in events(record)))


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a served load.

    Args:
        start_ns: Its begin, monotonic clock, nanoseconds.
        end_ns: Its end, which is the next one's begin.
        sent: Records of the requests sent in it, in the order they were sent.
        present: Records of all requests that were under way at some time in it.
        concurrency: Requests under way at all times in a closed loop; ``None`` in an open one.
        relaxations: Relaxation times of the queue that the whole run spans, in an open loop
            (:mod:`.queue_memory`); ``None`` where they are not known.
    """

    start_ns: int
    end_ns: int
    sent: tuple[RequestRecord, ...] = ()
    present: tuple[RequestRecord, ...] = field(default=(), repr=False)
    concurrency: int | None = None
    relaxations: float | None = None

    @property
    def answered(self) -> list[RequestRecord]:
        """Records of those sent in it, without an error and with at least one output token."""
        return [record for record in self.sent if is_answered(record)]

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end_ns - self.start_ns) / 1e9

    def flow(self, events: Events, partial: bool) -> float:
        """Return the amount that passed between its ends; requests that failed contribute nothing."""
        return float(sum(amount for _, amount in self.events(events, partial)))

    def events(self, events: Events, partial: bool) -> list[tuple[int, float]]:
        """Return the ``(time_ns, amount)`` pairs of :meth:`flow`, in no order."""
        return [
            (time_ns, amount)
            for record in self.present
            if is_answered(record) or (partial and record.error == CUT_OFF)
            for time_ns, amount in events(record)
            if self.start_ns <= time_ns < self.end_ns
        ]


def is_answered(record: RequestRecord) -> bool:
    """Return whether a request came back without an error and with output."""
    return record.error is None and bool(record.arrivals)


def cut_windows(
    records: Sequence[RequestRecord], start_ns: int, end_ns: int, count: int, concurrency: int | None = None
) -> list[Window]:
    """Return ``count`` windows of equal length between two times.

    Args:
        records: Records of everything that was sent, in any order.
        start_ns: Start of the first window.
        end_ns: End of the last one, after ``start_ns``.
        count: Number of windows, at least 1.
        concurrency: Requests under way at all times in a closed loop.
    """
    edges = [start_ns + (end_ns - start_ns) * i // count for i in range(count + 1)]
    width = max(1, (end_ns - start_ns) // count)
    sent: list[list[RequestRecord]] = [[] for _ in range(count)]
    present: list[list[RequestRecord]] = [[] for _ in range(count)]

    def place(time_ns: int) -> int:
        i = min(max((time_ns - start_ns) // width, 0), count - 1)
        while i > 0 and time_ns < edges[i]:
            i -= 1
        while i < count - 1 and time_ns >= edges[i + 1]:
            i += 1
        return i

    for record in sorted(records, key=lambda r: (r.send_ns, r.id)):
        if record.send_ns >= end_ns or record.end_ns < start_ns:
            continue
        first = place(record.send_ns)
        if record.send_ns >= start_ns:
            sent[first].append(record)
        for i in range(first, place(record.end_ns) + 1):
            present[i].append(record)
    return [
        Window(edges[i], edges[i + 1], tuple(sent[i]), tuple(present[i]), concurrency) for i in range(count)
    ]
