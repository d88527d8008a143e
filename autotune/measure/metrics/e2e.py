"""End-to-end latency: how long a request takes altogether.

Formula: e2e = time of the end of the response - time of sending
Unit: s, lower is better; one value per request.
Source: vLLM ``vllm bench serve`` (E2EL); GuideLLM (request latency).
"""

from __future__ import annotations

from autotune.core.request import RequestRecord
from autotune.measure.metrics.base import Latency


def values(record: RequestRecord) -> list[float]:
    """Return the one value of an answered request, in seconds."""
    return [(record.end_ns - record.send_ns) / 1e9]


E2E = Latency("e2e", values)
