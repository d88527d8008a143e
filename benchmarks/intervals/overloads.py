"""Simulated overloads: does a latency projected to the horizon hold what a request would see there?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autotune.core.measurement import Estimate
from autotune.measure.endpoint.overload import HORIZON_S, RequestCount, overload, projected
from autotune.measure.statistics.estimate import mean, percentiles
from benchmarks.intervals.searches import Server

_STEPS = 100
_TIME = 60.0
_WINDOWS = 32


@dataclass(frozen=True)
class Overloaded:
    """A load beyond what a server can do.

    Args:
        server: It.
        factor: Requests per second over the server's capacity.
    """

    server: Server
    factor: float

    @property
    def truth(self) -> float:
        """Latency of a request sent at the horizon: the queue that grew by then, and its own service."""
        service = float(self.server.draw(np.random.default_rng(0), 20_000).mean())
        return (1 - 1 / self.factor) * HORIZON_S + service

    def projections(self, seed: int) -> dict[str, Estimate]:
        """Return what a run says that ends once the overload is certain; empty if it never is."""
        rng = np.random.default_rng([11, seed])
        rate = self.factor * self.server.capacity
        arrivals, waits, service = self.server.times(rng, rate, int(rate * _TIME * 1.3) + 50)
        ends = arrivals + waits + service
        ordered = np.sort(ends)
        levels: list[RequestCount] = []
        for step in range(1, _STEPS + 1):
            now = step * _TIME / _STEPS
            ended = int(np.searchsorted(ordered, now))
            levels.append(RequestCount(round(1e9 * now), ended, int(np.searchsorted(arrivals, now)) - ended))
            found = overload(levels) if step >= _STEPS // 4 else None
            if found is None:
                continue
            answered = ends <= now
            sent, latency = arrivals[answered], (waits + service)[answered]
            cuts = np.searchsorted(sent, np.linspace(0, now, _WINDOWS + 1)[1:-1])
            groups = [g for g in np.split(latency, cuts) if len(g)]
            middle, high = percentiles(groups, (0.5, 0.99), "s")
            measured = {"e2e.mean": mean(groups, "s"), "e2e.p50": middle, "e2e.p99": high}
            return projected(measured, found, float(sent.max()))
        return {}
