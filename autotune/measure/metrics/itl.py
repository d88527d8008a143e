"""Inter-token latency: the gap between consecutive output tokens.

Formula: itl = (time of an arrival - time of the arrival before it) / tokens in the arrival, once per token
Unit: s, lower is better; one value per output token after the first arrival.
Source: SGLang ``bench_serving`` shares a gap among the tokens that end it, as is done here.

When drafting, several tokens arrive at once. Counting the gap once and then zeros would make the median
drop to 0 and hide the wait; counting it once per arrival, as vLLM ``vllm bench serve`` does, makes accepted
drafts invisible, since fewer and longer gaps are counted. Sharing keeps the sum of all gaps equal to the
time that passed, so that the mean is the time per token. GuideLLM's "inter token latency" is one value per
request, (last arrival - first arrival) / (output tokens - 1), which is ``tpot`` here. Tokens that came with
the first arrival, or were made before it and not shown (reasoning), have no gap. Where it is not known how
many were not shown, a request has no values.
"""

from __future__ import annotations

from itertools import pairwise

from autotune.core.request import RequestRecord
from autotune.measure.metrics.base import Latency


def values(record: RequestRecord) -> list[float]:
    """Return one value per token after the first arrival, in seconds."""
    if record.shown_after_first is None:
        return []
    gaps: list[float] = []
    for (before, _), (now, tokens) in pairwise(record.arrivals):
        gaps += [(now - before) / tokens / 1e9] * tokens if tokens else []
    return gaps


ITL = Latency("itl", values)
