"""The metrics of requests by the formulas that clients share, from a server's log or a client's records."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.load.servers import Row

LATENCIES = ("ttft", "tpot", "itl", "e2e")
STATISTICS = ("mean", "p50", "p99")
RATES = ("request_throughput", "output_throughput", "goodput")
METRICS = (*(f"{name}.{statistic}" for name in LATENCIES for statistic in STATISTICS), *RATES)
"""Latencies in milliseconds, rates per second."""


def observe(
    rows: Sequence[Row], start_ns: int, end_ns: int, limits_ms: tuple[float, float]
) -> dict[str, float]:
    """Return the metrics of a time; latencies are of the requests that began in it.

    Args:
        rows: Of all requests.
        start_ns: Begin, monotonic clock.
        end_ns: End.
        limits_ms: Longest ``ttft`` and ``tpot`` of a request that counts for the goodput.
    """
    seconds = (end_ns - start_ns) / 1e9
    begun = [row for row in rows if start_ns <= row.begun_ns < end_ns and len(row.tokens_ns) > 1]
    if not begun or seconds <= 0:
        return {}
    ttft = np.array([row.tokens_ns[0] - row.begun_ns for row in begun]) / 1e6
    e2e = np.array([row.tokens_ns[-1] - row.begun_ns for row in begun]) / 1e6
    gaps = np.array([len(row.tokens_ns) - 1 for row in begun])
    itl = np.concatenate([np.diff(row.tokens_ns) for row in begun]) / 1e6
    values = {"ttft": ttft, "tpot": (e2e - ttft) / gaps, "itl": itl, "e2e": e2e}
    found = {}
    for name, of in values.items():
        found |= {f"{name}.mean": float(of.mean()), f"{name}.p50": float(np.median(of)),
                  f"{name}.p99": float(np.percentile(of, 99))}  # fmt: skip
    ended = sum(start_ns <= row.tokens_ns[-1] < end_ns for row in rows if row.tokens_ns)
    tokens = sum(start_ns <= t < end_ns for row in rows for t in row.tokens_ns)
    good = (values["ttft"] <= limits_ms[0]) & (values["tpot"] <= limits_ms[1])
    return found | {
        "request_throughput": ended / seconds,
        "output_throughput": tokens / seconds,
        "goodput": float(good.sum()) / seconds,
    }


def whole_run(rows: Sequence[Row]) -> tuple[int, int]:
    """Return the time from the first request to the last token."""
    return min(row.begun_ns for row in rows), max(row.tokens_ns[-1] for row in rows) + 1


def steady_part(rows: Sequence[Row]) -> tuple[int, int]:
    """Return the time without the first wave of requests and without the drain."""
    first, last = min(row.begun_ns for row in rows), max(row.begun_ns for row in rows)
    wave = round(1.2 * float(np.median([row.tokens_ns[-1] - row.begun_ns for row in rows])))
    return min(first + wave, (first + last) // 2), last


def mean_streams(rows: Sequence[Row], start_ns: int, end_ns: int) -> float:
    """Return the mean number of requests under way in a time."""
    shared = sum(max(0, min(row.tokens_ns[-1], end_ns) - max(row.begun_ns, start_ns)) for row in rows)
    return shared / (end_ns - start_ns)


def arrivals(rows: Sequence[Row]) -> tuple[float, float]:
    """Return the rate of arrivals per second and the coefficient of variation of their gaps."""
    begun = np.sort([row.begun_ns for row in rows])
    gaps = np.diff(begun) / 1e9
    return float(1 / gaps.mean()), float(gaps.std(ddof=1) / gaps.mean())
