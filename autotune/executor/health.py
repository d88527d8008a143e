"""Which nodes are trusted with attempts: one with fault after fault is left alone for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

QUARANTINE_AFTER = 3
"""Environment faults in a row on a node before it is left alone: one or two happen to a good node."""

QUARANTINE_S = 600.0
"""First quarantine of a node; each further one is twice as long."""

QUARANTINE_MAX_S = 4 * 3600.0
"""Longest quarantine: somebody may have repaired the node."""


@dataclass
class _Record:
    """The environment faults of one node."""

    in_a_row: int = 0
    times: int = 0
    until: float = 0.0
    why: str = ""


class NodeHealth:
    """A count of environment faults by node.

    A bad node fails at once and is free again at once, so it would draw every retry to itself.

    Args:
        clock: Monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: dict[str, _Record] = {}

    def succeeded(self, node: str) -> None:
        """Note that an attempt on a node came to an answer; the configuration's own failure is one too."""
        self._records.pop(node, None)

    def failed(self, node: str, why: str) -> bool:
        """Note an environment fault on a node; return whether the node is in quarantine from now on."""
        record = self._records.setdefault(node, _Record())
        record.in_a_row += 1
        record.why = why
        if record.in_a_row < QUARANTINE_AFTER:
            return False
        record.until = self._clock() + min(QUARANTINE_S * 2**record.times, QUARANTINE_MAX_S)
        record.times += 1
        record.in_a_row = QUARANTINE_AFTER - 1  # after it, one more failure is enough
        return True

    def trusted(self, nodes: Iterable[str]) -> list[str]:
        """Return the nodes that are not in quarantine; all of them if none is left: they fail together."""
        everything = list(nodes)
        good = [node for node in everything if not self.quarantined(node)]
        return good or everything

    def quarantined(self, node: str) -> str:
        """Return why a node is left alone now; empty if it is not."""
        record = self._records.get(node)
        return "" if record is None or self._clock() >= record.until else record.why
