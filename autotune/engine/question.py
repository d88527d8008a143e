"""The question that one ask, or one assessment, answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Config, Trial, TrialState, config_key
from autotune.engine.untried import tried_keys


@dataclass(frozen=True)
class Question:
    """The knowledge of a study at one moment.

    Args:
        space: The search space.
        objective: Goals and limits.
        history: Finished trials in number order.
        pending: Configurations asked for and not finished.
        seed: Seed of the study.
    """

    space: Space
    objective: Objective
    history: Sequence[Trial]
    pending: tuple[Config, ...] = ()
    seed: int = 0

    @cached_property
    def tried(self) -> set[str]:
        """Keys of the configurations that were tried or are pending."""
        return tried_keys(self.history, self.pending)

    @cached_property
    def completed(self) -> list[Trial]:
        """Trials that gave a measurement."""
        return [trial for trial in self.history if trial.state is TrialState.COMPLETED]

    def before(self, trials: int) -> Self:
        """Return the same question before the last so many trials."""
        return replace(self, history=self.history[: len(self.history) - trials])

    def waiting_for(self, *configs: Config) -> Self:
        """Return the same question with more configurations pending."""
        return replace(self, pending=(*self.pending, *configs))

    def is_new(self, config: Config) -> bool:
        """Return whether a configuration was neither tried nor is pending."""
        return config_key(config) not in self.tried
