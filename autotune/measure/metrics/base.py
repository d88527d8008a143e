"""The shapes of metric that follow from the records of requests, over batches and over windows alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from autotune.core.measurement import Estimate
from autotune.core.metric import METRICS, MetricInfo
from autotune.core.request import RequestRecord
from autotune.measure.statistics import flow
from autotune.measure.statistics.estimate import mean, percentiles, ratio
from autotune.measure.statistics.samples import CUT_OFF, Events, Sample, Window, is_answered


class Metric(Protocol):
    """A formula over the records of requests; a plug-in's has :attr:`Shape.info` as well."""

    @property
    def name(self) -> str:
        """Name of the family."""

    def estimates(self, samples: Sequence[Sample], seed: int = 0) -> dict[str, Estimate]:
        """Return ``{name: estimate}``, or ``{name.statistic: estimate}``; empty where nothing tells it.

        Args:
            samples: Measured batches or windows in the order they ran.
            seed: Seed of the bootstrap.
        """


class Shape:
    """Base of the shapes of metric."""

    __slots__ = ()

    name: str
    info: MetricInfo | None

    @property
    def about(self) -> MetricInfo:
        """Unit, direction and statistics."""
        return METRICS[self.name] if self.info is None else self.info


@dataclass(frozen=True, slots=True)
class Latency(Shape):
    """A metric with one or more values per request, reported by its statistics.

    Args:
        name: Name of the family, a key of :data:`autotune.core.metric.METRICS`.
        values: Values that one answered request contributes; may be empty.
        info: Unit, direction and statistics of a plug-in's, which that table does not have.
    """

    name: str
    values: Callable[[RequestRecord], Sequence[float]]
    info: MetricInfo | None = None

    def estimates(self, samples: Sequence[Sample], seed: int = 0) -> dict[str, Estimate]:
        """Return ``{name.statistic: estimate}``; empty when no request has a value."""
        info = self.about
        groups = [
            np.array([x for record in sample.answered for x in self.values(record)], np.float64)
            for sample in samples
        ]
        if not any(len(x) for x in groups):
            return {}
        memory = next((s.relaxations for s in samples if isinstance(s, Window)), None)
        ranks = [statistic for statistic in info.statistics if statistic.startswith("p")]
        fractions = [int(statistic[1:]) / 100 for statistic in ranks]
        found = dict(zip(ranks, percentiles(groups, fractions, info.unit, seed, memory), strict=True))
        found["mean"] = mean(groups, info.unit, memory)
        return {f"{self.name}.{statistic}": found[statistic] for statistic in info.statistics}


@dataclass(frozen=True, slots=True)
class Rate(Shape):
    """A metric that is an amount per second of wall-clock time.

    Args:
        name: A key of :data:`autotune.core.metric.METRICS`.
        events: Contribution of one request, and when.
        partial: Whether requests count that were under way when the run ended.
        info: Unit and direction of a plug-in's.
    """

    name: str
    events: Events
    partial: bool = False
    info: MetricInfo | None = None

    def estimates(self, samples: Sequence[Sample], seed: int = 0) -> dict[str, Estimate]:
        """Return ``{name: estimate}``; empty when no time passed."""
        seconds = [sample.seconds for sample in samples]
        if sum(seconds) <= 0:
            return {}
        windows = [sample for sample in samples if isinstance(sample, Window)]
        if len(windows) == len(samples):
            return {self.name: self._of_flow(windows)}
        amounts = [sample.flow(self.events, self.partial) for sample in samples]
        return {self.name: ratio(amounts, seconds, self.about.unit)}

    def _of_flow(self, windows: Sequence[Window]) -> Estimate:
        """Return the rate over windows that follow each other, as one flow."""
        start_ns, end_ns = windows[0].start_ns, windows[-1].end_ns
        passed = sorted(event for window in windows for event in window.events(self.events, self.partial))
        times = np.array([time_ns - start_ns for time_ns, _ in passed], np.float64) / 1e9
        # A record is present in every window that it reaches; it ends in one.
        ended = sorted(
            (r.end_ns - start_ns, r.end_ns - r.send_ns, sum(amount for _, amount in self.events(r)))
            for window in windows
            for r in window.present
            if window.start_ns <= r.end_ns < window.end_ns and is_answered(r)
        )
        ends, took, amounts = np.array(ended, np.float64).reshape(-1, 3).T
        requests = flow.Requests(ends / 1e9, took / 1e9, amounts, _under_way(windows))
        weights = np.array([amount for _, amount in passed], np.float64)
        seconds = (end_ns - start_ns) / 1e9
        return flow.rate(times, weights, seconds, requests, self.about.unit, len(windows))


def _under_way(windows: Sequence[Window]) -> float | None:
    """Return how many requests that do not fail are under way on average; ``None`` in an open loop."""
    if windows[0].concurrency is None:
        return None
    busy_ns = sum(
        min(r.end_ns, window.end_ns) - max(r.send_ns, window.start_ns)
        for window in windows
        for r in window.present
        if is_answered(r) or r.error == CUT_OFF
    )
    return busy_ns / (windows[-1].end_ns - windows[0].start_ns)


@dataclass(frozen=True, slots=True)
class Share(Shape):
    """A metric that is a ratio of sums over requests.

    Args:
        name: A key of :data:`autotune.core.metric.METRICS`.
        parts: ``(numerator, denominator)`` that one answered request contributes; ``None`` for nothing.
        info: Unit and direction of a plug-in's.
    """

    name: str
    parts: Callable[[RequestRecord], tuple[float, float] | None]
    info: MetricInfo | None = None

    def estimates(self, samples: Sequence[Sample], seed: int = 0) -> dict[str, Estimate]:
        """Return ``{name: estimate}``; empty when no request has a part."""
        top, bottom = [], []
        for sample in samples:
            parts = [part for record in sample.answered if (part := self.parts(record)) is not None]
            if parts:
                top.append(float(sum(a for a, _ in parts)))
                bottom.append(float(sum(b for _, b in parts)))
        return {self.name: ratio(top, bottom, self.about.unit)} if sum(bottom) > 0 else {}
