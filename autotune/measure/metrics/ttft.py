"""Time to first token: what a person waits before anything appears.

Formula: ttft = time of the first arrival - time of sending
Unit: s, lower is better; one value per request.
Source: MLPerf Inference, LLM benchmarks (TTFT); vLLM ``vllm bench serve``. In an open loop, sending means
the scheduled time, so that a slow system cannot postpone its own load. Reasoning that is streamed
has arrived; what is not streamed is waited for, as a person waits.
"""

from __future__ import annotations

from autotune.core.request import RequestRecord
from autotune.measure.metrics.base import Latency


def values(record: RequestRecord) -> list[float]:
    """Return the one value of an answered request, in seconds."""
    return [(record.arrivals[0][0] - record.send_ns) / 1e9]


TTFT = Latency("ttft", values)
