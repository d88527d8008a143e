"""The contract of a mirror: a copy of the ledger where a team already looks, never in the study's way."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class StoppedError(Exception):
    """The end of the time before everything was written."""


@dataclass(frozen=True)
class MirrorReport:
    """Progress of a mirror.

    Args:
        pending: Items of the ledger that the mirror does not have yet.
        errors: Last errors, for people; empty when there was none.
    """

    pending: int
    errors: tuple[str, ...] = ()


class Mirror(Protocol):
    """A copy of a study of the ledger, made in a thread of its own. No method raises or waits for a network.

    Attributes:
        ready: Set once the library behind the mirror is loaded (or has failed to load), which can take
            seconds of processor time that would disturb a measurement.
    """

    ready: threading.Event

    def start(self) -> None:
        """Begin to copy."""

    def notify(self) -> None:
        """Say that the ledger has changed; returns at once."""

    def artifacts(self, files: Mapping[str, Path]) -> None:
        """Give the study files, by the name they have in the mirror; returns at once.

        They are copied once the study has ended, as far as they are there: best effort.
        """

    def close(self, timeout: float) -> MirrorReport:
        """Copy what is left for at most ``timeout`` seconds, then end. Idempotent."""
