"""The contract between what decides how long to measure and what sends the requests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from autotune.core.endpoint import Endpoint
from autotune.core.request import RequestRecord
from autotune.measure.workload import Workload

REALTIME, NICE, ORDINARY = "real-time", "nice -10", "ordinary"
PRECEDENCE = (REALTIME, NICE, ORDINARY)
"""How a load generator is scheduled beside other processes."""


@dataclass(frozen=True)
class LoadPlan:
    """A load to put on an endpoint.

    Args:
        endpoint: Endpoint of the server.
        workload: Lengths, texts and the kind of arrivals.
        rate: Requests per second of an open loop; ``None`` for a closed one.
        concurrency: Requests under way at once in a closed loop; ``None`` for an open one.
        stream: Name of the random stream of arrivals and requests (``warmup``, ``measured``, ``search/3``):
            equal streams of equal workloads are equal schedules.
        precedence: One of :data:`PRECEDENCE`: how the generator wants to be scheduled.
        patience_s: Seconds that questions to the server before the load may take in all.
    """

    endpoint: Endpoint
    workload: Workload
    rate: float | None = None
    concurrency: int | None = None
    stream: str = "measured"
    precedence: str = ORDINARY
    patience_s: float = math.inf


class Load(Protocol):
    """A load that is being put on an endpoint. Never raises for what the server does: records tell it."""

    def poll(self, timeout: float) -> list[RequestRecord]:
        """Return the requests that ended since the last call, waiting at most ``timeout`` seconds for one.

        Raises:
            AutotuneError: The generator itself died.
        """

    @property
    def started_ns(self) -> int:
        """When the schedule began, monotonic clock, nanoseconds."""

    @property
    def ended(self) -> bool:
        """Whether everything that was scheduled was sent and has ended (a trace has an end)."""

    def in_flight(self) -> int:
        """Return how many requests are under way."""

    def ended_up_to(self, time_ns: int) -> bool:
        """Return whether everything that was sent up to a time has ended; the next poll gives the last.

        Args:
            time_ns: Monotonic clock, not later than now.
        """

    def stop(self, drain_s: float) -> list[RequestRecord]:
        """Send no more, wait at most ``drain_s`` seconds for what is under way, and end the generator.

        Returns:
            The records since the last poll; what was still under way has the error ``cut off``.
        """


class LoadGenerator(Protocol):
    """A starter of loads."""

    def facts(self, endpoint: Endpoint) -> dict[str, object]:
        """Return what a measurement notes of how its requests were made: plain JSON data."""

    def start(self, plan: LoadPlan) -> Load:
        """Begin to send; returns once the schedule runs."""
