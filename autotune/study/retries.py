"""Retry policy for environment faults: back-off, avoidance of nodes, circuit breaker.

Configuration faults never come here: they are answers. An attempt with an environment fault is repeated after
a pause that doubles, away from the nodes where it failed. When attempt after attempt fails on every node
there is, the machines are ill and not the trials: the breaker opens and says what it counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from autotune.core.measurement import Failure

MAX_ATTEMPTS = 3
"""Attempts of a trial that end with environment faults."""

BREAKER = 5
"""Environment faults in a row, on all nodes, before the study stops."""

BACK_OFF_S = 1.0
"""Pause before the second attempt; it doubles with each further one."""

BACK_OFF_MAX_S = 60.0
"""Longest pause before another attempt."""


@dataclass(frozen=True)
class TrialFaults:
    """Environment faults of one trial.

    Args:
        count: Number of its attempts that ended with one.
        nodes: Names of the nodes of those attempts.
        ready: Time before which it is not tried again, seconds.
    """

    count: int = 0
    nodes: tuple[str, ...] = ()
    ready: float = 0.0


@dataclass(frozen=True)
class Retries:
    """Environment faults of one run of a study, as a value.

    What an earlier run counted is not taken over: whoever runs the study again has looked at the machines.

    Args:
        faults: Faults by trial that has no answer yet.
        row: Node and failure of each fault since the last answer.
    """

    faults: Mapping[int, TrialFaults] = field(default_factory=lambda: MappingProxyType({}))
    row: tuple[tuple[str, Failure], ...] = ()

    def answered(self, trial: int) -> Retries:
        """Return what is known once an attempt came to an answer: the row of faults ends."""
        if not self.row and trial not in self.faults:
            return self
        left = {number: faults for number, faults in self.faults.items() if number != trial}
        return Retries(MappingProxyType(left))

    def failed(self, trial: int, node: str, failure: Failure, now: float) -> Retries:
        """Return what is known after an environment fault of an attempt at the time ``now``, seconds."""
        known = self.faults.get(trial, TrialFaults())
        nodes = known.nodes if not node or node in known.nodes else (*known.nodes, node)
        pause = min(BACK_OFF_S * 2**known.count, BACK_OFF_MAX_S)
        faults = TrialFaults(known.count + 1, nodes, now + pause)
        return replace(
            self, faults=MappingProxyType({**self.faults, trial: faults}), row=(*self.row, (node, failure))
        )

    def used_up(self, trial: int) -> bool:
        """Return whether a trial met so many environment faults that it is given up."""
        return trial in self.faults and self.faults[trial].count >= MAX_ATTEMPTS

    def resting(self, trial: int, now: float) -> bool:
        """Return whether a trial's pause is not over yet at the time ``now``, seconds."""
        return trial in self.faults and now < self.faults[trial].ready

    def avoid(self, trial: int) -> list[str]:
        """Return the names of the nodes where a trial met environment faults."""
        return list(self.faults[trial].nodes) if trial in self.faults else []

    def open(self, nodes: Sequence[str]) -> str:
        """Return why the study must stop, with the counts; empty while it may go on.

        Args:
            nodes: Names of the nodes there are. With several, a row on one of them is that node's illness,
                which its quarantine answers; the study stops when every one of them has failed, or when the
                row is so long that each could have.
        """
        count = len(self.row)
        hit = {node for node, _ in self.row}
        everywhere = not nodes or hit.issuperset(nodes) or count >= BREAKER * len(nodes)
        if count < BREAKER or not everywhere:
            return ""
        causes = Counter(failure.cause.value for _, failure in self.row)
        places = Counter(node or "no node" for node, _ in self.row)
        last = self.row[-1][1]
        on = f" on all of {len(nodes)} nodes" if len(nodes) > 1 else ""
        return (
            f"{count} attempts in a row failed through no fault of their configuration{on} "
            f"({_counts(causes)}; {_counts(places)}); the last: {last.cause.value}: {last.message}"
        )


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())
