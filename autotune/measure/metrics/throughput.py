"""Throughput: tokens or requests per second of wall-clock time, over all requests together.

Formula: output_throughput = sum of output tokens / sum of the batches' seconds
Formula: total_throughput = sum of prompt and output tokens / sum of the batches' seconds
Formula: request_throughput = count of answered requests / sum of the batches' seconds
Unit: tokens/s, tokens/s, requests/s; higher is better.
Source: vLLM ``vllm bench serve``; MLPerf Inference, offline scenario. A batch's seconds run from its first
send to its last end; requests that failed add time and no tokens.
"""

from __future__ import annotations

from autotune.measure.metrics.base import Rate

OUTPUT_THROUGHPUT = Rate("output_throughput", lambda record: record.output_tokens)
TOTAL_THROUGHPUT = Rate("total_throughput", lambda record: record.prompt_tokens + record.output_tokens)
REQUEST_THROUGHPUT = Rate("request_throughput", lambda record: 1.0)
