r"""Whether an open loop asks for more than the system can do: then its queue grows for as long as one looks.

Nothing about the waiting time is stationary then: twice the run, twice the time to the first token. Such a
run is neither INVALID (repeating it gives the same) nor are its latencies numbers of the system. It is a
valid answer of another kind: the configuration cannot keep up with this rate. So

* throughputs are kept: what flowed is what the system can do;
* goodput is of the requests that were sent in the second half, when the queue had begun to build;
* ``ttft`` and ``e2e`` are *projected*: given as a request would see them that is sent ``HORIZON_S`` after the
  load began, with the growth in seconds of waiting per second of load: measured value + growth *
  (``HORIZON_S`` - q * t). Of requests sent over ``t`` seconds into a growing queue, the quantile q (and the
  mean, q = 1/2) is that of the one sent at q * t. Such estimates say so (``Estimate.projected``), carry the
  error of the growth over the same time, and are bounds to an engine: worse than what was measured.

Growth: of every second's requests the share ``1 - served / sent`` is not served, so in a first-come queue
each second of load adds that many seconds of waiting. Its error is that of a ratio over pieces of the time
(:mod:`autotune.measure.statistics.estimate`), so that bouts of service and lumps of completions are in it.

Test: arrivals and departures of a queue that is never empty differ by a random walk of variance ``2 n`` after
``n`` arrivals (Poisson both), so a queue that grew by more than ``_SIGMAS`` times its root over the second
half of the time, and whose mean grew from quarter to quarter, grows by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from autotune.core.measurement import Estimate
from autotune.measure.statistics.estimate import ratio

HORIZON_S = 600.0  # ten minutes of the load: long beside any warm-up, short beside any deployment
_SIGMAS = 3.5  # looked at some twenty times per run: about one false alarm in a thousand runs
_LEAST_GROWTH = 8  # requests: a queue of fewer is no queue but a batch
_MOST_PIECES, _ENOUGH_PIECES = 20, 8  # of the time that the growth is measured in
_LEAST_SENT = 8  # requests of a piece


@dataclass(frozen=True, slots=True)
class RequestCount:
    """The number of requests at one time.

    Args:
        time_ns: Monotonic clock.
        ended: Requests that had ended.
        in_flight: Requests that were under way.
    """

    time_ns: int
    ended: int
    in_flight: int

    @property
    def sent(self) -> int:
        """Requests that had been sent."""
        return self.ended + self.in_flight


@dataclass(frozen=True, slots=True)
class Overload:
    """Evidence that the system cannot keep up.

    Args:
        sent: Requests per second that were sent in the time looked at.
        served: Requests per second that ended in it.
        growth: Seconds by which waiting grows per second of load.
        error: Standard error of ``growth``.
    """

    sent: float
    served: float
    growth: float
    error: float = 0.0

    def __str__(self) -> str:
        return f"{self.sent:.3g} requests/s were sent and {self.served:.3g} served"


def overload(levels: Sequence[RequestCount], start_ns: int = 0) -> Overload | None:
    """Return by how much the load exceeds what the system does, ``None`` if the queue does not grow.

    Args:
        levels: Counts through the run, oldest first.
        start_ns: Counts before it do not matter.
    """
    used = [level for level in levels if level.time_ns >= start_ns]
    if len(used) < 8:
        return None
    middle = _at(used, (used[0].time_ns + used[-1].time_ns) // 2)
    found = between([level for level in used if level.time_ns >= middle.time_ns])
    grown = used[-1].in_flight - middle.in_flight
    sent = used[-1].sent - middle.sent
    if found is None or grown < max(_LEAST_GROWTH, _SIGMAS * math.sqrt(2 * sent)):
        return None
    quarters = [float(np.mean([level.in_flight for level in part])) for part in _quarters(used)]
    return found if all(later > earlier for earlier, later in pairwise(quarters)) else None


def between(levels: Sequence[RequestCount]) -> Overload | None:
    """Return what was sent and served through a time; ``None`` where no more was sent than served.

    Args:
        levels: Counts through it, oldest first.
    """
    if len(levels) < 2:
        return None
    first, last = levels[0], levels[-1]
    seconds = (last.time_ns - first.time_ns) / 1e9
    sent, served = last.sent - first.sent, last.ended - first.ended
    if seconds <= 0 or sent <= served:
        return None
    pieces = min(len(levels) - 1, _MOST_PIECES, max(2, sent // _LEAST_SENT))
    cuts = [levels[i] for i in np.linspace(0, len(levels) - 1, pieces + 1).astype(int)]
    share = ratio(
        [b.ended - a.ended for a, b in pairwise(cuts)], [b.sent - a.sent for a, b in pairwise(cuts)], "1"
    )
    # Both counts scatter as those of a Poisson load at least, whatever few pieces say.
    scatter = math.sqrt(1 / sent + 1 / max(served, 1)) * served / sent if pieces < _ENOUGH_PIECES else 0.0
    return Overload(sent / seconds, served / seconds, 1 - served / sent, max(share.sem or 0.0, scatter))


def projected(metrics: Mapping[str, Estimate], found: Overload, seconds: float) -> dict[str, Estimate]:
    """Return the metrics with waiting times as they are ``HORIZON_S`` after the load began.

    Args:
        metrics: Measured metrics.
        found: The overload.
        seconds: Time from the begin of the load to when the last of the measured requests was sent.
    """
    return {
        name: _at_horizon(name.rpartition(".")[2], e, found, seconds) if is_projected(name) else e
        for name, e in metrics.items()
    }


def is_projected(name: str) -> bool:
    """Return whether a metric is projected in an overload."""
    return name.startswith(("ttft.", "e2e."))


def _at_horizon(statistic: str, measured: Estimate, found: Overload, seconds: float) -> Estimate:
    quantile = int(statistic[1:]) / 100 if statistic.startswith("p") else 0.5
    ahead = max(HORIZON_S - quantile * seconds, 0.0)
    error = math.hypot(measured.sem or 0.0, found.error * ahead)
    return replace(measured, value=measured.value + found.growth * ahead, sem=error, projected=True)


def _at(levels: Sequence[RequestCount], time_ns: int) -> RequestCount:
    return next(level for level in levels if level.time_ns >= time_ns)


def _quarters(levels: Sequence[RequestCount]) -> list[Sequence[RequestCount]]:
    cuts = np.linspace(0, len(levels), 5).astype(int)
    return [levels[a:b] for a, b in pairwise(cuts)]
