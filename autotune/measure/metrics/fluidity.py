"""Fluidity index: the share of token deadlines that were met, as a reader of the stream would set them.

Formula: fluidity_index = 1 - missed deadlines / all deadlines, over all requests. The first token is due
after ``ttft``, each next one ``tpot`` after the one before. A token in time adds what it did not use to the
slack of later ones. A token that is late misses ``floor((gap - slack - due) / tpot) + 1`` deadlines, slack
falls to 0, and the next deadline is counted from it.
Unit: 1, higher is better; ``ttft`` and ``tpot`` are those of the workload's ``goodput``, and without both
there is no such metric. Etalon lets the first deadline grow with the prompt; here it is the same for all.
Source: Agrawal et al., Etalon (Metron): holistic performance evaluation framework for LLM inference systems,
2024, arXiv 2407.07000; the algorithm as in arXiv 2507.09019.
"""

from __future__ import annotations

from autotune.core.request import RequestRecord
from autotune.measure.metrics.base import Share
from autotune.measure.workload import RequestLimits


def deadlines(record: RequestRecord, first_s: float, next_s: float) -> tuple[int, int]:
    """Return how many deadlines of one request were met and how many there were.

    Args:
        record: Record with at least one arrival.
        first_s: Time allowed to the first token in seconds.
        next_s: Time allowed to each later token in seconds, above 0.
    """
    missed = total = 0
    slack, before = 0.0, record.send_ns
    for i, (time_ns, count) in enumerate(record.arrivals):
        for j in range(1 if i == 0 and record.hidden else count):  # a reader waits for what is shown
            due = first_s if i == 0 and j == 0 else next_s
            gap = (time_ns - before) / 1e9 if j == 0 else 0.0  # tokens that come together are free
            if gap <= due + slack:
                slack += due - gap
                total += 1
            else:
                late = int((gap - slack - due) // next_s) + 1
                missed, total, slack = missed + late, total + late, 0.0
        before = time_ns
    return total - missed, total


def fluidity(limits: RequestLimits) -> Share | None:
    """Return the metric for a reader with these limits; ``None`` without both deadlines."""
    first_s, next_s = limits.ttft, limits.tpot
    if first_s is None or next_s is None or next_s <= 0:
        return None

    def parts(record: RequestRecord) -> tuple[float, float] | None:
        if record.shown_after_first is None:
            return None
        met, total = deadlines(record, first_s, next_s)
        return float(met), float(total)

    return Share("fluidity_index", parts)
