"""Longest pause within one answer: what a reader notices of preemption and of long prefills beside it.

Formula: stall = largest gap between consecutive arrivals of one request
Unit: s, lower is better; one value per request of at least two arrivals.
"""

from __future__ import annotations

from itertools import pairwise

from autotune.core.metric import STATISTICS, MetricInfo
from autotune.core.request import RequestRecord
from autotune.measure.metrics import Latency


def values(record: RequestRecord) -> list[float]:
    """Return the one value of an answered request, in seconds; nothing of one with a single arrival."""
    times = [time_ns for time_ns, _ in record.arrivals]
    gaps = [(after - before) / 1e9 for before, after in pairwise(times)]
    return [max(gaps)] if gaps else []


STALL = Latency(
    "stall", values, MetricInfo("stall", "s", "minimize", "longest pause within one answer", STATISTICS)
)
