"""A target and a load generator on clocks of their own, with timings that the test chose."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from autotune.core.request import Request, RequestRecord
from autotune.measure.load.base import LoadPlan


class FakeTarget:
    """Advance a clock by what ``seconds(batch_number, requests)`` says and spread the tokens evenly."""

    def __init__(
        self,
        seconds: Callable[[int, Sequence[Request]], float],
        *,
        alter: Callable[[int, list[RequestRecord]], list[RequestRecord]] = lambda number, records: records,
        tokens_at_once: int = 1,
    ) -> None:
        self.seconds = seconds
        self.alter = alter
        self.tokens_at_once = tokens_at_once
        self.now = 0
        self.batches: list[Sequence[Request]] = []

    def clock(self) -> int:
        return self.now

    def generate(self, requests: Sequence[Request], deadline: float) -> list[RequestRecord]:
        number = len(self.batches)
        self.batches.append(requests)
        start = self.now + 1_000
        length = round(self.seconds(number, requests) * 1e9)
        records = [self._record(request, start, length) for request in requests]
        self.now = start + length + 1_000
        return self.alter(number, records)

    def _record(self, request: Request, start: int, length: int) -> RequestRecord:
        arrivals, left = [], request.max_tokens
        steps = -(-request.max_tokens // self.tokens_at_once)
        for i in range(steps):
            count = min(left, self.tokens_at_once)
            arrivals.append((start + length * (i + 1) // steps, count))
            left -= count
        return RequestRecord(request.id, request.prompt_tokens or 1, start, tuple(arrivals), start + length)


@pytest.fixture
def fake_target() -> type[FakeTarget]:
    return FakeTarget


class World:
    """Clock of a simulation."""

    def __init__(self) -> None:
        self.now = 1_000_000_000

    def clock(self) -> int:
        return self.now


class FakeGenerator:
    """Play a first-come queue with ``slots`` servers in virtual time.

    Args:
        service: Seconds that request ``i``, sent ``t`` seconds after the load began, occupies a slot.
        slots: Requests served at once.
        tokens: Output tokens per request, spread evenly over its service.
        error: What request ``i`` of a stream fails with, ``None`` for none.
        slip_s: By how much the generator sends late.
    """

    def __init__(
        self,
        service: Callable[[np.random.Generator, int, float], float],
        *,
        slots: int = 1,
        tokens: int = 10,
        error: Callable[[str, int], str | None] = lambda stream, i: None,
        slip_s: float = 0.0,
    ) -> None:
        self.world = World()
        self.service, self.slots, self.tokens = service, slots, tokens
        self.error, self.slip_s = error, slip_s
        self.plans: list[LoadPlan] = []

    def facts(self, endpoint: object) -> dict[str, str]:
        return {"generator": "fake"}

    def start(self, plan: LoadPlan) -> "FakeLoad":
        self.plans.append(plan)
        return FakeLoad(self, plan)


class FakeLoad:
    def __init__(self, owner: FakeGenerator, plan: LoadPlan) -> None:
        self.owner, self.plan, self.world = owner, plan, owner.world
        self.started_ns = self.world.now
        self.ended = False
        self.rng = np.random.default_rng([plan.workload.seed, *plan.stream.encode()])
        self.free = [self.world.now] * owner.slots
        self.under_way: list[tuple[int, int, RequestRecord]] = []
        self.count = 0
        self.due = [self.world.now] * (plan.concurrency or 0)
        if plan.rate is not None:
            self.due = [self.world.now + self.gap()]

    def gap(self) -> int:
        return round(1e9 * self.rng.exponential(1 / self.plan.rate))

    def send(self, time_ns: int) -> None:
        i, self.count = self.count, self.count + 1
        start = max(time_ns, heapq.heappop(self.free))
        took = round(1e9 * self.owner.service(self.rng, i, (time_ns - self.started_ns) / 1e9))
        n = self.owner.tokens
        arrivals = tuple((start + took * (k + 1) // n, 1) for k in range(n))
        error = self.owner.error(self.plan.stream, i)
        if error:
            took, arrivals = took // 10, ()
        heapq.heappush(self.free, start + took)
        record = RequestRecord(
            i, 20, time_ns, arrivals, start + took, error, round(1e9 * self.owner.slip_s), start
        )
        heapq.heappush(self.under_way, (record.end_ns, i, record))

    def poll(self, timeout: float) -> list[RequestRecord]:
        until = self.world.now + round(1e9 * timeout)
        while self.due and self.due[0] <= until:
            if self.under_way and self.under_way[0][0] < self.due[0]:
                break
            time_ns = heapq.heappop(self.due)
            self.send(time_ns)
            if self.plan.rate is not None:
                heapq.heappush(self.due, time_ns + self.gap())
        if not self.under_way or self.under_way[0][0] > until:
            self.world.now = until
            return []
        self.world.now = max(self.world.now, self.under_way[0][0])
        done = []
        while self.under_way and self.under_way[0][0] <= self.world.now:
            done.append(heapq.heappop(self.under_way)[2])
            if self.plan.concurrency is not None:
                heapq.heappush(self.due, done[-1].end_ns)
        return done

    def in_flight(self) -> int:
        return sum(record.send_ns <= self.world.now for _, _, record in self.under_way)

    def ended_up_to(self, time_ns: int) -> bool:
        return all(record.send_ns > time_ns for _, _, record in self.under_way)

    def stop(self, drain_s: float) -> list[RequestRecord]:
        left = [record for _, _, record in self.under_way if record.send_ns <= self.world.now]
        self.ended = True
        return [
            replace(
                r,
                arrivals=tuple(a for a in r.arrivals if a[0] <= self.world.now),
                end_ns=self.world.now,
                error="cut off",
            )
            for r in left
        ]


@pytest.fixture
def fake_generator() -> type[FakeGenerator]:
    return FakeGenerator
