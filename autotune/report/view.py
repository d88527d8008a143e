"""The protocol of what shows a study while it runs."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from autotune.analysis.study_view import StudyView


class Kind(StrEnum):
    """The subject of a message."""

    NEWS = "news"
    """What happens; the end tells what came of it."""
    LOSS = "loss"
    """What somebody waits for and does not get: it is told however little is shown."""


class View(Protocol):
    """A study shown while it runs. No method raises when nobody is there to see it any more."""

    @property
    def closed(self) -> bool:
        """Whether nobody is there to see it any more."""

    def start(self, view: StudyView) -> None:
        """Begin; called once, before the first trial of this run."""

    def update(self, view: StudyView) -> None:
        """Show what has changed; called often, from one thread."""

    def message(self, text: str, kind: Kind = Kind.NEWS) -> None:
        """Show one line of its own; may be called before :meth:`start`."""

    def finish(self, view: StudyView, closing_text: str) -> None:
        """End with the last state and a text for people."""

    def close(self) -> None:
        """Leave the terminal as it was, whatever happened before. Idempotent."""
