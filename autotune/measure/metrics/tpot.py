"""Time per output token: how fast a request's answer flows once it has begun.

Formula: tpot = (e2e - ttft) / (output tokens after the first one shown)
Unit: s, lower is better; one value per request of at least two output tokens.
Source: MLPerf Inference, LLM benchmarks (TPOT); the same as GuideLLM's inter-token latency up to the time
between the last token and the end of the response. Both divide by the output tokens - 1, which is the same
where all tokens are shown. Reasoning that is not streamed lies before the first token that is: it is no part
of the time, and of the tokens neither. Where nobody tells how many these are, a request has no value.
"""

from __future__ import annotations

from autotune.core.request import RequestRecord
from autotune.measure.metrics.base import Latency


def values(record: RequestRecord) -> list[float]:
    """Return the one value of a request in seconds; nothing for a single token."""
    tokens = record.shown_after_first
    return [(record.end_ns - record.arrivals[0][0]) / tokens / 1e9] if tokens else []


TPOT = Latency("tpot", values)
