"""Bounds on the phases of an attempt."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Deadlines:
    """Bound every phase of an attempt, in seconds; each phase has its own clock.

    Args:
        startup_s: Longest time from the launch to the first answer.
        measure_s: Warm-up and load together.
        stop_s: Between asking a process to end and killing it.
    """

    startup_s: float = 600.0
    measure_s: float = 600.0
    stop_s: float = 10.0
