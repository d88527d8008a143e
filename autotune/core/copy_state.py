"""How far the copies of a study's ledger are behind it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CopyState:
    """The distance of the copies of a study's ledger behind it.

    Args:
        generation: Number of the newest copy; 0 without one.
        copied_ns: Its wall clock.
        since: Attempts that ended since.
        problem: Reason why the last try failed; empty where it did not.
    """

    generation: int
    copied_ns: int
    since: int
    problem: str
