"""The contract of an engine: where to look next, as a function of what is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Config, Suggestion, Trial


class Engine(Protocol):
    """Propose configurations.

    An engine keeps nothing between calls: equal arguments give equal suggestions, so that a resumed study
    proposes what the uninterrupted one would have.

    Attributes:
        name: With the version of its method: results of another version are not mixed up.
    """

    name: str

    def ask(
        self,
        space: Space,
        objective: Objective,
        history: Sequence[Trial],
        pending: Sequence[Config],
        n: int,
        seed: int,
    ) -> list[Suggestion]:
        """Return up to ``n`` configurations to measure next.

        A configuration that was tried or is pending is not proposed again while others remain; when none
        remain, fewer than ``n`` come back.

        Args:
            space: What may vary.
            objective: What is wanted.
            history: Finished trials in number order: completed, infeasible, failed and abandoned ones.
            pending: Configurations asked for and not finished.
            n: How many are wanted, at least 1.
            seed: Of the study.
        """
