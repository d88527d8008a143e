"""Throughput: tokens or requests per second of wall-clock time, over all requests together.

Formula: output_throughput = sum of output tokens / sum of seconds
Formula: total_throughput = sum of prompt and output tokens / sum of seconds
Formula: request_throughput = count of answered requests / sum of seconds
Unit: tokens/s, tokens/s, requests/s; higher is better.
Source: vLLM ``vllm bench serve``; MLPerf Inference, offline scenario. A batch's seconds run from its first
send to its last end; requests that failed add time and no tokens. In a window of a served load tokens count
when they arrive (those of a prompt with the first output token), requests when they are complete.
"""

from __future__ import annotations

from autotune.core.request import RequestRecord
from autotune.measure.metrics.base import Rate


def tokens(record: RequestRecord) -> list[tuple[int, float]]:
    """Return the output tokens as they arrive."""
    return [(time_ns, float(count)) for time_ns, count in record.arrivals]


def all_tokens(record: RequestRecord) -> list[tuple[int, float]]:
    """Return prompt and output tokens."""
    first = [(record.arrivals[0][0], float(record.prompt_tokens))] if record.arrivals else []
    return first + tokens(record)


def completion(record: RequestRecord) -> list[tuple[int, float]]:
    """Return the request as it ends."""
    return [(record.end_ns, 1.0)]


OUTPUT_THROUGHPUT = Rate("output_throughput", tokens, partial=True)
TOTAL_THROUGHPUT = Rate("total_throughput", all_tokens, partial=True)
REQUEST_THROUGHPUT = Rate("request_throughput", completion)
