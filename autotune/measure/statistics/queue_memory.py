r"""How long the queue of an open loop remembers, beside how long one looks.

Behind a queue every latency resembles the one before it until the queue has emptied. M/M/1 at 95 % of its
capacity of 10 requests/s forgets in 160 s: a minute of it is not one independent look at its mean latency.
What says so within the run is how fast the number :math:`N` of requests under way returns to its mean. With
:math:`N_i` its averages over ``STEPS`` equal parts of the run,

.. math:: N_{i + 1} - N_i = -k (N_i - \bar N) + \epsilon_i

and ``STEPS`` times the least-squares :math:`k` is the run's length in relaxation times, the statistic of a
test for a random walk ([DF79]_). It needs neither the server's capacity nor its slots; the requests' own
lengths, which hide the correlation of their latencies, are no noise in it. A random walk, which never
forgets, shows less than 14 in 95 % of its runs; a queue that forgets at once, 64.

Requests that do not hinder each other are under way for as long as they take, too. What tells a queue from
them is that who finds many under way waits longer: the correlation of the logarithm of a request's latency
with what was under way when it was sent is ``_DEPENDENT`` standard errors above 0. Else there is no memory
that matters.

.. [DF79] Dickey, Fuller, Distribution of the estimators for autoregressive time series with a unit root, J.
   American Statistical Association 74, 1979.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEPS = 64

_LEAST_REQUESTS = 10
_DEPENDENT = 2.0  # standard errors
_ALIKE = 1e-6  # of latencies, relative

LEAST_RELAXATIONS = 12.0
"""Relaxation times of a run, below which its latencies cannot be told from those of a growing queue."""


def relaxations(sent: Floats, took: Floats, seconds: float) -> float:
    """Return how many relaxation times of its queue a run spans; infinite where there is no queue.

    Args:
        sent: Seconds from the begin of the run to when each request was sent, below 0 for earlier ones.
        took: Latency of each in seconds.
        seconds: Length of the run.
    """
    begins, ends = np.sort(sent), np.sort(sent + took)
    seen = (sent >= 0) & (sent < seconds) & (took > 0)
    found = np.searchsorted(begins, sent[seen]) - np.searchsorted(ends, sent[seen])
    if not _dependent(found, np.log(took[seen])):
        return math.inf
    edges = np.linspace(0.0, seconds, STEPS + 1)
    under_way = np.diff(_passed(begins, edges) - _passed(ends, edges))
    before = under_way[:-1] - under_way[:-1].mean()
    power = float(before @ before)
    return math.inf if power <= 0 else max(-float(before @ np.diff(under_way)) / power * STEPS, 0.0)


def _dependent(under_way: NDArray[np.int64], latency: Floats) -> bool:
    """Return whether requests that found more under way took longer, by more than chance."""
    n = len(latency)
    if n < _LEAST_REQUESTS or np.ptp(under_way) == 0 or np.ptp(latency) < _ALIKE:
        return False
    r = float(np.corrcoef(under_way, latency)[0, 1])
    return r * math.sqrt(n - 2) > _DEPENDENT * math.sqrt(max(1 - r * r, 0.0))


def _passed(times: Floats, edges: Floats) -> Floats:
    """Return the integral from 0 to each edge of the count of sorted times that have passed."""
    total = np.concatenate([[0.0], np.cumsum(times)])
    passed = np.searchsorted(times, edges)
    return np.asarray(passed * edges - total[passed], np.float64)
