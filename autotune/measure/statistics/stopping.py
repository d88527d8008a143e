"""When a run has lasted long enough: the goal's interval is narrow, or what was asked for is spent.

It is decided by the width of the interval, never by its value, and only at moments fixed beforehand: each a
quarter later than the one before. Looking often and stopping at the first lucky look makes intervals too
narrow ([CR65]_, [GW92]_): with looks this far apart 93.6 to 95.4 % of the 95 % intervals of independent
batches still hold the truth (800 runs each with 5, 10 and 20 % of noise), and 88 % where successive batches
correlate with 0.3.

.. [CR65] Chow, Robbins, On the asymptotic theory of fixed-width sequential confidence intervals, 1965.
.. [GW92] Glynn, Whitt, The asymptotic validity of sequential stopping rules, Ann. Appl. Prob. 2, 1992.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from autotune.core.measurement import Estimate
from autotune.core.quantiles import NORMAL

GROWTH = 1.25  # between looks at the interval: a run is at most a quarter longer than needed


def half_width(estimate: Estimate | None) -> float:
    """Return the relative half-width of a 95 % interval, infinite while it is unknown or means nothing."""
    if estimate is None or estimate.sem is None or estimate.value == 0:
        return math.inf
    return NORMAL * estimate.sem / abs(estimate.value)


@dataclass
class Looks:
    """Moments of a run at which it is judged, each a quarter later than the one before.

    Args:
        following: Length of the run at the next look: seconds, or batches.
    """

    following: float = 0.0

    def due(self, length: float) -> bool:
        """Return whether a run of this length is looked at now; if so, the next look is a quarter later."""
        if length < self.following:
            return False
        self.following = length * GROWTH
        return True


@dataclass
class StoppingRule:
    """The end of a run: by precision, requests or time, whichever comes first.

    Args:
        precision: Relative half-width of the goal's interval that is asked for.
        time: Seconds after which the run ends.
        requests: Answered requests after which it ends; ``None`` for no such end.
        looks: Times at which its interval is looked at.
        in_a_row: Number of successive looks that must find the interval narrow.
    """

    precision: float
    time: float
    requests: int | None = None
    looks: Looks = field(default_factory=Looks)
    in_a_row: int = 1
    narrow: int = field(default=0, init=False)

    def reason(self, length: float, requests: int, seconds: float, width: Callable[[], float] | None) -> str:
        """Return what ends the run, ``precision``, ``requests`` or ``time``; empty while it goes on.

        Args:
            length: Length of the run, in the unit of its looks.
            requests: Number of requests answered so far.
            seconds: Seconds since it began.
            width: Relative half-width of the goal's interval; ``None`` while it cannot be believed.
        """
        if width is not None and self.looks.due(length):
            self.narrow = self.narrow + 1 if width() <= self.precision else 0
            if self.narrow >= self.in_a_row:
                return "precision"
        if self.requests is not None and requests >= self.requests:
            return "requests"
        return "time" if seconds >= self.time else ""
