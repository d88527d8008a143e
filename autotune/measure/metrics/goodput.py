"""Goodput: requests per second that were each fast enough to be of use.

Formula: goodput = count of requests with ttft, tpot and e2e within their limits / sum of seconds
Unit: requests/s, higher is better; the limits are the workload's ``goodput`` (by default ttft <= 1 s,
tpot <= 100 ms). A request counts when it is sent: one that is slow cannot leave the window it belongs to. One
whose tpot is not known is not known to be fast.
Source: Zhong et al., DistServe: disaggregating prefill and decoding for goodput-optimized LLM serving, OSDI
2024; ``vllm bench serve --goodput``.
"""

from __future__ import annotations

from autotune.core.request import RequestRecord
from autotune.measure.metrics.base import Rate
from autotune.measure.metrics.e2e import values as e2e
from autotune.measure.metrics.tpot import values as tpot
from autotune.measure.metrics.ttft import values as ttft
from autotune.measure.workload import RequestLimits


def goodput(limits: RequestLimits) -> Rate:
    """Return the metric for requests that must keep ``limits``."""

    def counts(record: RequestRecord) -> list[tuple[int, float]]:
        bounds = ((ttft, limits.ttft), (tpot, limits.tpot), (e2e, limits.e2e))
        untold = limits.tpot is not None and record.shown_after_first is None  # a tpot that nobody knows
        kept = not untold and all(
            value <= bound for values, bound in bounds if bound is not None for value in values(record)
        )
        return [(record.send_ns, float(kept))]

    return Rate("goodput", counts)
