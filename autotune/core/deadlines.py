"""Bounds on the phases of an attempt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from autotune.core.kinds import Key, Number
from autotune.core.section import Section

_SECONDS = Number("s", above=0.0, bare=False)


@dataclass(frozen=True)
class Deadlines(Section):
    """Bounds on every phase of an attempt, in seconds; each phase has its own clock.

    Args:
        startup_s: Longest time from the launch to the first answer.
        measure_s: Warm-up and load together.
        stop_s: Time between asking a process to end and killing it.
    """

    title: ClassVar[str] = "deadlines"

    startup_s: Annotated[float, _SECONDS, Key("startup")] = 600.0
    measure_s: Annotated[float, _SECONDS, Key("measure")] = 600.0
    stop_s: Annotated[float, _SECONDS, Key("stop")] = 10.0
