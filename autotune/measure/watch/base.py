"""What may be looked at beside the records while a system is measured."""

from __future__ import annotations

from typing import Protocol


class Watch(Protocol):
    """A witness beside the records: the server's counters, memory, clocks, other programs."""

    def look(self) -> None:
        """Take a look; called often, so it must cost little. Never raises."""
