"""One timed batch: what was sent, what came back, and what its clock said."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.core.request import Request, RequestRecord


@dataclass(frozen=True, slots=True)
class Batch:
    """Hold the requests that ran together and their records.

    Args:
        requests: As they were sent.
        records: As they came back; one per request, in the same order, when all went well.
        called_ns: Just before the batch was handed over, monotonic clock, nanoseconds.
        returned_ns: Just after all answers were there.
    """

    requests: tuple[Request, ...]
    records: tuple[RequestRecord, ...]
    called_ns: int
    returned_ns: int

    @property
    def answered(self) -> list[RequestRecord]:
        """Records without an error and with at least one output token."""
        return [record for record in self.records if record.error is None and record.arrivals]

    @property
    def seconds(self) -> float:
        """From the first send to the last end; the measuring program's own time between batches is out."""
        if not self.records:
            return 0.0
        start = min(record.send_ns for record in self.records)
        return (max(record.end_ns for record in self.records) - start) / 1e9
