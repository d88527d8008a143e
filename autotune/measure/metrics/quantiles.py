"""The distribution of each latency in a few numbers, small enough to stay with every measurement.

The records of all requests lie in a file of the attempt's folder, which may be on another machine or deleted;
what is kept here draws the distribution without it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autotune.core.request import RequestRecord
from autotune.measure.metrics.e2e import E2E
from autotune.measure.metrics.itl import ITL
from autotune.measure.metrics.tpot import TPOT
from autotune.measure.metrics.ttft import TTFT
from autotune.measure.statistics.samples import is_answered

LEVELS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
"""Probabilities whose quantiles are kept: dense where limits are set."""


def latency_quantiles(records: Sequence[RequestRecord]) -> dict[str, list[float]]:
    """Return the quantiles of ``ttft``, ``itl``, ``tpot`` and ``e2e`` at ``levels``, in seconds.

    Args:
        records: Records of the measured requests; those without an answer have no latency.

    Returns:
        ``levels`` and the quantiles by metric; empty where no request has a latency.
    """
    answered = [record for record in records if is_answered(record)]
    found = {}
    for metric in (TTFT, ITL, TPOT, E2E):
        values = [value for record in answered for value in metric.values(record)]
        if values:
            found[metric.name] = [float(f"{q:.4g}") for q in np.quantile(values, LEVELS)]
    return {"levels": list(LEVELS), **found} if found else {}
