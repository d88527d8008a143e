"""The two shapes of metric that follow from the records of requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from autotune.core.measurement import Estimate
from autotune.core.metric import METRICS
from autotune.core.request import RequestRecord
from autotune.measure.batch import Batch
from autotune.measure.estimate import mean, percentiles, ratio


@dataclass(frozen=True, slots=True)
class Latency:
    """Define a metric with one or more values in seconds per request, reported by its statistics.

    Args:
        name: Of the family, a key of :data:`autotune.core.metric.METRICS`.
        values: Seconds that one answered request contributes; may be empty.
    """

    name: str
    values: Callable[[RequestRecord], Sequence[float]]

    def estimates(self, batches: Sequence[Batch], seed: int = 0) -> dict[str, Estimate]:
        """Return ``{name.statistic: estimate}``; empty when no request has a value."""
        info = METRICS[self.name]
        samples = [
            np.array([x for record in batch.answered for x in self.values(record)], np.float64)
            for batch in batches
        ]
        if not any(len(x) for x in samples):
            return {}
        ranks = [statistic for statistic in info.statistics if statistic.startswith("p")]
        fractions = [int(statistic[1:]) / 100 for statistic in ranks]
        found = dict(zip(ranks, percentiles(samples, fractions, info.unit, seed), strict=True))
        found["mean"] = mean(samples, info.unit)
        return {f"{self.name}.{statistic}": found[statistic] for statistic in info.statistics}


@dataclass(frozen=True, slots=True)
class Rate:
    """Define a metric that is an amount per second of the batches' wall-clock time.

    Args:
        name: A key of :data:`autotune.core.metric.METRICS`.
        amount: What one answered request contributes.
    """

    name: str
    amount: Callable[[RequestRecord], float]

    def estimates(self, batches: Sequence[Batch], seed: int = 0) -> dict[str, Estimate]:
        """Return ``{name: estimate}``; empty when no time passed."""
        seconds = [batch.seconds for batch in batches]
        if sum(seconds) <= 0:
            return {}
        amounts = [float(sum(self.amount(record) for record in batch.answered)) for batch in batches]
        return {self.name: ratio(amounts, seconds, METRICS[self.name].unit)}


Metric = Latency | Rate
