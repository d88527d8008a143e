"""How fast the two phases of a request run, as its sender sees them.

Formula: prefill_throughput = sum of prompt tokens / sum of (first arrival - start of the work)
Formula: decode_throughput = sum of output tokens after the first arrival / sum of (last arrival - first)
Unit: tokens/s per request, higher is better. The work starts when the server says so (``prefill_ns``), where
it does not, when the request is sent: then waiting in the queue counts. A request that made tokens before the
first one shown (reasoning that is not streamed) does not tell when its prompt was done.
Source: NVIDIA GenAI-Perf and ``llama-bench`` (pp and tg) report both phases apart.
"""

from __future__ import annotations

from autotune.core.request import RequestRecord
from autotune.measure.metrics.base import Share


def prefill(record: RequestRecord) -> tuple[float, float] | None:
    """Return the prompt's tokens and the seconds until the first output token; ``None`` if that is hidden."""
    if record.hidden:
        return None
    seconds = (record.arrivals[0][0] - (record.prefill_ns or record.send_ns)) / 1e9
    return (float(record.prompt_tokens), seconds) if seconds > 0 else None


def decode(record: RequestRecord) -> tuple[float, float] | None:
    """Return the tokens after the first arrival and the seconds they took; ``None`` if not counted."""
    if record.shown_after_first is None:
        return None
    seconds = (record.arrivals[-1][0] - record.arrivals[0][0]) / 1e9
    return (float(record.output_tokens - record.arrivals[0][1]), seconds) if seconds > 0 else None


PREFILL_THROUGHPUT = Share("prefill_throughput", prefill)
DECODE_THROUGHPUT = Share("decode_throughput", decode)
