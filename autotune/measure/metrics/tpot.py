"""Time per output token: how fast a request's answer flows once it has begun.

Formula: tpot = (e2e - ttft) / (output tokens - 1)
Unit: s, lower is better; one value per request of at least two output tokens.
Source: MLPerf Inference, LLM benchmarks (TPOT); the same as GuideLLM's inter-token latency up to the time
between the last token and the end of the response.
"""

from __future__ import annotations

from autotune.core.request import RequestRecord
from autotune.measure.metrics.base import Latency


def values(record: RequestRecord) -> list[float]:
    """Return the one value of a request in seconds; nothing for a single token."""
    tokens = record.output_tokens
    return [(record.end_ns - record.arrivals[0][0]) / (tokens - 1) / 1e9] if tokens >= 2 else []


TPOT = Latency("tpot", values)
