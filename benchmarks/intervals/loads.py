"""Open loops below saturation: rate, mean and percentile of queues whose truth is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from autotune.core.measurement import Estimate
from autotune.measure.statistics.estimate import mean, percentiles
from autotune.measure.statistics.flow import Requests, rate
from autotune.measure.statistics.queue_memory import relaxations
from benchmarks.intervals.searches import Floats, Server

UTILIZATIONS = (0.5, 0.7, 0.8, 0.9, 0.95)
STATISTICS = ("request_throughput", "e2e.mean", "e2e.p50", "e2e.p95")
RELAXATIONS = "relaxations"
_RELAXATIONS = 4.0  # thrown away before a run, of a queue's relaxation time at that load
_MOST_WINDOWS = 64
_FORGOTTEN = 1e3  # stands for no queue at all


@dataclass(frozen=True)
class Load:
    """A Poisson load on a simulated server.

    Args:
        server: It.
        utilization: Share of the server's capacity that is asked for.
    """

    server: Server
    utilization: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.utilization * self.server.capacity

    def truth(self, requests: int = 300_000) -> dict[str, float]:
        """Return what an endless run would show, from a long one."""
        _, waits, service = self.server.times(np.random.default_rng(5), self.rate, requests)
        latency = (waits + service)[requests // 10 :]
        middle, high = np.quantile(latency, (0.5, 0.95))
        return dict(zip(STATISTICS, (self.rate, float(latency.mean()), middle, high), strict=True))

    def runs(self, seed: int, seconds: float, runs: int) -> Iterator[dict[str, Estimate]]:
        """Yield what each of the runs says, from a steady queue on, and its length in relaxations."""
        before = _RELAXATIONS * 4 / (self.server.capacity * (1 - self.utilization) ** 2) + 10
        for run in range(runs):
            rng = np.random.default_rng([13, seed, run])
            count = int(self.rate * (before + seconds) * 1.2) + 60
            arrivals, waits, service = self.server.times(rng, self.rate, count)
            yield _measured(arrivals - before, waits + service, seconds)


def _measured(sent: Floats, latency: Floats, seconds: float) -> dict[str, Estimate]:
    """Return the estimates over requests sent in the time, and of the completions in it."""
    ended = sent + latency
    done = np.nonzero((ended > 0) & (ended <= seconds))[0]
    done = done[np.argsort(ended[done])]
    one = np.ones(len(done))
    requests = Requests(ended[done], latency[done], one)
    seen = (sent >= 0) & (sent < seconds)
    windows = max(8, min(_MOST_WINDOWS, int(seen.sum()) // 2))
    cuts = np.searchsorted(sent[seen], np.linspace(0, seconds, windows + 1)[1:-1])
    groups = [group for group in np.split(latency[seen], cuts) if len(group)]
    memory = relaxations(sent[ended > 0], latency[ended > 0], seconds)
    middle, high = percentiles(groups, (0.5, 0.95), "s", relaxations=memory)
    flow = rate(ended[done], one, seconds, requests, "requests/s", windows)
    found = dict(zip(STATISTICS, (flow, mean(groups, "s", memory), middle, high), strict=True))
    return found | {RELAXATIONS: Estimate(min(memory, _FORGOTTEN), None, 1, "1")}
