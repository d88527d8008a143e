"""When warm-up is over: the Marginal Standard Error Rule, applied to rate and latency as they come in.

The first batches pay for lazy initialisation, compilation, cold caches and clock ramps. MSER ([W97]_,
[WR10]_) cuts a series where the standard error of what is kept is smallest:

    d* = argmin_d  sum_{i >= d} (x_i - mean_d)^2 / (n - d)^2

and was found the best of the automatic rules in comparison ([HRD10]_). A cut in the second half says that
the series is still moving, so warm-up is over once ``d* <= n / 2`` with at least ``KEPT`` batches after the
cut, for the rate and the latency alike. A drift that is small against the noise passes; the validity rules
look for it again over the whole run.

.. [HRD10] Hoad, Robinson, Davies, Automating warm-up length estimation, J. Operational Research Society 61.
.. [W97] White, An effective truncation heuristic for bias reduction in simulation output, Simulation 69.
.. [WR10] White, Robinson, The problem of the initial transient (again), or why MSER works, J. Simulation 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

KEPT = 4  # below this the variance of what is kept is small by luck
MOST_BATCHES = 20  # a system that still drifts then is measured as it is, and the drift rule judges it
MOST_TIME = 0.5  # share of the workload's time


def truncation_point(series: Sequence[float]) -> int:
    """Return how many of the first values MSER cuts off; at least ``KEPT - 1`` values are kept."""
    x = np.asarray(series, np.float64)
    last = len(x) - (KEPT - 1)
    if last <= 0:
        return 0
    kept = [x[d:] for d in range(last + 1)]
    return int(np.argmin([np.sum((part - part.mean()) ** 2) / len(part) ** 2 for part in kept]))


def is_steady(*series: Sequence[float]) -> bool:
    """Return whether every series has stopped drifting.

    Args:
        series: One value per batch, oldest first; all of one length.
    """
    for values in series:
        cut, n = truncation_point(values), len(values)
        if n - cut < KEPT or cut > n / 2:
            return False
    return True
