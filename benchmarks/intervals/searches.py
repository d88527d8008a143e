"""Searches for the highest rate, run on queues in virtual time whose truth is known."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotune.core.endpoint import Endpoint
from autotune.core.measurement import Estimate
from autotune.core.request import RequestRecord
from autotune.measure.endpoint.rate_search import Limit, Probe, highest_rate, measure_max_rate
from autotune.measure.endpoint.served import MeasurementContext
from autotune.measure.load.base import LoadPlan
from autotune.measure.statistics.validity import Measured
from autotune.measure.workload import Workload

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Server:
    """A first-come queue before ``slots`` servers, M/G/c under a Poisson load.

    Args:
        name: In the tables.
        slots: Requests served at once.
        draw: Seconds of service of that many requests.
        limits: That the rate must keep.
        capacity: Requests per second that saturate it.
    """

    name: str
    slots: int
    draw: Callable[[np.random.Generator, int], Floats]
    limits: tuple[Limit, ...]
    capacity: float

    def times(self, rng: np.random.Generator, rate: float, n: int) -> tuple[Floats, Floats, Floats]:
        """Return arrivals, waits and services of ``n`` requests, from an empty queue on."""
        arrivals = np.cumsum(rng.exponential(1 / rate, n))
        service = self.draw(rng, n)
        return arrivals, self.waits(arrivals, service, [0.0] * self.slots), service

    @staticmethod
    def waits(arrivals: Floats, service: Floats, free: Sequence[float]) -> Floats:
        """Return the time in the queue of each request, for slots that are free from some time on."""
        free = sorted(free)
        waits = []
        for arrival, took in zip(arrivals.tolist(), service.tolist(), strict=True):
            start = max(arrival, free[0])
            heapq.heapreplace(free, start + took)
            waits.append(start - arrival)
        return np.array(waits)

    def truth(self, requests: int = 400_000) -> float:
        """Return the rate at which the first limit is just kept; the capacity without limits."""
        if not self.limits:
            return self.capacity
        statistic, bound = self.limits[0][0].rpartition(".")[2], self.limits[0][2]
        low, high = 0.1 * self.capacity, 0.999 * self.capacity
        for _ in range(12):
            middle = (low + high) / 2
            _, waits, service = self.times(np.random.default_rng(5), middle, requests)
            latency = (waits + service)[requests // 10 :]
            found = latency.mean() if statistic == "mean" else np.quantile(latency, int(statistic[1:]) / 100)
            low, high = (middle, high) if found <= bound else (low, middle)
        return (low + high) / 2


class Clock:
    """Virtual time."""

    def __init__(self) -> None:
        self.now = 1_000_000_000

    def __call__(self) -> int:
        """Return nanoseconds."""
        return self.now


class Generator:
    """Load generator of a simulated server.

    Args:
        server: Takes the requests.
        seed: Of arrivals and services.
        speed: By which this launch is faster than the server says.
        aborts: Whether a cancelled request leaves the queue; one that is being served is served to its end.
    """

    def __init__(self, server: Server, seed: int, speed: float = 1.0, *, aborts: bool = True) -> None:
        self.server, self.seed, self.speed, self.clock = server, seed, speed, Clock()
        self.aborts = aborts
        self.busy_until_ns: list[int] = [0] * server.slots
        self.plans: list[LoadPlan] = []

    def start(self, plan: LoadPlan) -> Load:
        """Begin a load: open with the plan's rate, or one request after the other."""
        self.plans.append(plan)
        return Load(self, plan)


class Load:
    """One load on a simulated server; everything is known when it begins."""

    def __init__(self, owner: Generator, plan: LoadPlan) -> None:
        self.owner, self.clock, self.started_ns = owner, owner.clock, owner.clock.now
        self.ended = False
        rng = np.random.default_rng([owner.seed, *plan.stream.encode()])
        server = owner.server
        free = [max(0.0, (time_ns - self.started_ns) / 1e9) for time_ns in owner.busy_until_ns]
        if plan.rate is None:
            n = 64
            service = server.draw(rng, n) / owner.speed
            waits = np.concatenate([[min(free)], np.zeros(n - 1)])
            arrivals = np.concatenate([[0.0], np.cumsum(service + waits)[:-1]])
        else:
            n = int(plan.rate * 4 * plan.workload.time) + 200
            arrivals = np.cumsum(rng.exponential(1 / plan.rate, n))
            service = server.draw(rng, n) / owner.speed
            waits = server.waits(arrivals, service, free)
        self.sent = self.started_ns + np.round(1e9 * arrivals).astype(np.int64)
        self.begun = self.sent + np.round(1e9 * waits).astype(np.int64)
        self.ends = self.begun + np.round(1e9 * service).astype(np.int64)
        self.order = np.argsort(self.ends, kind="stable")
        self.sorted = self.ends[self.order]
        self.sent_sorted = np.sort(self.sent)
        self.done = 0

    def poll(self, timeout: float) -> list[RequestRecord]:
        """Go on by ``timeout`` seconds and return what ended meanwhile."""
        self.clock.now += round(1e9 * timeout)
        upto = int(np.searchsorted(self.sorted, self.clock.now, side="right"))
        found = [self._record(int(i)) for i in self.order[self.done : upto]]
        self.done = upto
        return found

    def _record(self, i: int) -> RequestRecord:
        end = int(self.ends[i])
        return RequestRecord(i, 20, int(self.sent[i]), ((end, 10),), end, None, 0, int(self.begun[i]))

    def in_flight(self) -> int:
        """Return how many requests were sent and have not ended."""
        return int(np.searchsorted(self.sent_sorted, self.clock.now, side="right")) - self.done

    def ended_up_to(self, time_ns: int) -> bool:
        """Return whether everything sent up to a time has ended."""
        count = int(np.searchsorted(self.sent_sorted, time_ns, side="right"))
        return count == 0 or bool(np.max(self.ends[:count]) <= self.clock.now)

    def stop(self, drain_s: float) -> list[RequestRecord]:
        """End it; what is under way is cut off."""
        self.ended = True
        now = self.clock.now
        left = [int(i) for i in self.order[self.done :] if self.sent[i] <= now]
        kept = [int(self.ends[i]) for i in left if self.begun[i] <= now or not self.owner.aborts]
        busy = sorted(kept)[-len(self.owner.busy_until_ns) :]
        self.owner.busy_until_ns = [0] * (len(self.owner.busy_until_ns) - len(busy)) + busy
        return [replace(self._record(i), arrivals=(), end_ns=now, error="cut off") for i in left]


def search(
    server: Server, seed: int, *, time: float = 60.0, deadline: float = 1200.0, speed: float = 1.0
) -> Measured:
    """Run one search for the highest rate in virtual time.

    Args:
        server: Simulated.
        seed: Of the launch.
        time: The workload's, in seconds.
        deadline: Seconds for all of it.
        speed: Of this launch.
    """
    generator = Generator(server, seed, speed)
    work = Workload(arrival="poisson", time=time, seed=seed)
    context = MeasurementContext(
        generator, Endpoint("http://127.0.0.1:1", "toy"), work, 1.0 + deadline, generator.clock
    )  # type: ignore[arg-type]
    return measure_max_rate(context, goal="max_rate", limits=server.limits)


def record(server: Server, seed: int) -> dict[str, Any]:
    """Run one search and return its probes, from which the rate can be computed again.

    Args:
        server: Simulated.
        seed: Of the launch.
    """
    facts = search(server, seed).facts["search"]
    return {"server": server.name, "seed": seed, "probes": facts}


def recorded_rate(server: Server, line: Mapping[str, Any]) -> Estimate:
    """Return the highest rate that the present code computes from recorded probes."""
    probes = [
        Probe(p["rate"], p["passed"], p["why"], p["seconds"], p["requests"],
              {name: Estimate(*found) for name, found in p["found"].items()}, p["idle_s"], p["overloaded"])
        for p in line["probes"]
    ]  # fmt: skip
    return highest_rate(probes, server.limits, int(line["seed"]))


def _deterministic(seconds: float) -> Callable[[np.random.Generator, int], Floats]:
    return lambda rng, n: np.full(n, seconds)


def _lognormal(mean: float, variation: float) -> Callable[[np.random.Generator, int], Floats]:
    spread = math.sqrt(math.log1p(variation**2))
    return lambda rng, n: mean * np.exp(spread * rng.normal(size=n) - spread**2 / 2)


def _exponential(rng: np.random.Generator, n: int) -> Floats:
    return rng.exponential(0.1, n)


SERVERS: Sequence[Server] = (
    Server("M/D/4, e2e.p95 <= 0.15 s", 4, _deterministic(0.06), (("e2e.p95", "<=", 0.15),), 4 / 0.06),
    Server("M/D/8, e2e.mean <= 0.2 s", 8, _deterministic(0.12), (("e2e.mean", "<=", 0.2),), 8 / 0.12),
    Server("M/M/1, e2e.mean <= 0.4 s", 1, _exponential, (("e2e.mean", "<=", 0.4),), 10.0),
    Server("M/G/8 heavy, e2e.p95 <= 1.2 s", 8, _lognormal(0.2, 2.0), (("e2e.p95", "<=", 1.2),), 40.0),
)  # fmt: skip
