"""What the loop does about failures of the world: again later, elsewhere, a few times, and when to stop.

The configuration's own failures never come here: they are answers. An attempt that the world failed is
repeated after a pause that doubles, away from the nodes where it failed. When attempt after attempt fails on
every node there is, the machines are ill and not the trials: the breaker opens and says what it counted.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from autotune.core.measurement import Failure

MAX_ATTEMPTS = 3
"""Attempts of a trial that the world, not the configuration, keeps failing."""

BREAKER = 5
"""World failures in a row, on all nodes, before the study stops."""

BACK_OFF_S = 1.0
"""Pause before the second attempt; it doubles with each further one."""

BACK_OFF_MAX_S = 60.0
"""Longest pause before another attempt."""


@dataclass
class _Trial:
    failures: int = 0
    nodes: list[str] = field(default_factory=list)
    ready: float = 0.0


class Retries:
    """Count failures of the world of one run of a study.

    What an earlier run counted is not taken over: whoever runs the study again has looked at the machines.

    Args:
        clock: Monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._trials: dict[int, _Trial] = {}
        self._row: list[tuple[str, Failure]] = []  # node and failure, since the last answer

    def answered(self, trial: int) -> None:
        """Note that an attempt came to an answer: the row of failures ends."""
        self._row.clear()
        self._trials.pop(trial, None)

    def failed(self, trial: int, node: str, failure: Failure) -> bool:
        """Note that the world failed an attempt; return whether the trial is tried again."""
        self._row.append((node, failure))
        record = self._trials.setdefault(trial, _Trial())
        record.failures += 1
        if node and node not in record.nodes:
            record.nodes.append(node)
        pause = min(BACK_OFF_S * 2 ** (record.failures - 1), BACK_OFF_MAX_S)
        record.ready = self._clock() + pause
        return record.failures < MAX_ATTEMPTS

    def resting(self, trial: int) -> bool:
        """Return whether a trial's pause is not over yet."""
        record = self._trials.get(trial)
        return record is not None and self._clock() < record.ready

    def avoid(self, trial: int) -> list[str]:
        """Return the names of the nodes where the world failed a trial."""
        record = self._trials.get(trial)
        return [] if record is None else list(record.nodes)

    def open(self, nodes: Sequence[str]) -> str:
        """Return why the study must stop, with the counts; empty while it may go on.

        Args:
            nodes: Names of the nodes there are. With several, a row on one of them is that node's illness,
                which its quarantine answers; the study stops when every one of them has failed, or when the
                row is so long that each could have.
        """
        count = len(self._row)
        hit = {node for node, _ in self._row}
        everywhere = not nodes or hit.issuperset(nodes) or count >= BREAKER * len(nodes)
        if count < BREAKER or not everywhere:
            return ""
        causes = Counter(failure.cause.value for _, failure in self._row)
        places = Counter(node or "no node" for node, _ in self._row)
        last = self._row[-1][1]
        on = f" on all of {len(nodes)} nodes" if len(nodes) > 1 else ""
        return (
            f"{count} attempts in a row failed through no fault of their configuration{on} "
            f"({_counts(causes)}; {_counts(places)}); the last: {last.cause.value}: {last.message}"
        )


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())
