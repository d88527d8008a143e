"""Error rate: the share of the requests that failed, were cut short or got no answer.

Formula: error_rate = failed requests / requests sent
Unit: 1, lower is better; what was still under way when the run ended is not counted.
Source: MLPerf Inference rules (a run with dropped responses is invalid). The standard error is that of
Agresti and Coull, Approximate is better than "exact" for interval estimation of binomial proportions, The
American Statistician 52, 1998: two successes and two failures added, so that none of 50 has an error too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.core.measurement import Estimate
from autotune.core.request import RequestRecord
from autotune.measure.statistics.samples import CUT_OFF, is_answered


def error_rate(records: Sequence[RequestRecord]) -> dict[str, Estimate]:
    """Return the metric by its name; empty without requests."""
    counted = [record for record in records if record.error != CUT_OFF]
    n = len(counted)
    if not n:
        return {}
    failed = sum(not is_answered(record) for record in counted)
    p = (failed + 2) / (n + 4)
    return {"error_rate": Estimate(failed / n, math.sqrt(p * (1 - p) / (n + 4)), n, "1")}
