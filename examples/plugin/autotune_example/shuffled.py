"""An engine: where to look next, as a function of what is known."""

from __future__ import annotations

import numpy as np

from autotune.core.trial import Reason, Suggestion
from autotune.engine.base import QuestionEngine
from autotune.engine.question import Question
from autotune.engine.untried import random_untried


class Shuffled(QuestionEngine):
    """The default configuration, then those that were not tried, in random order."""

    name = "shuffled/1"  # with the version of the method: a study keeps to one

    def answer(self, question: Question, n: int) -> list[Suggestion]:
        """Return up to ``n`` configurations that were not tried; the same to the same question."""
        default = question.space.default_config
        if n and question.is_new(default):
            return [Suggestion(default, Reason.DEFAULT, self.name)]
        rng = np.random.default_rng([question.seed, len(question.history) + len(question.pending)])
        untried = random_untried(question.space, question.tried, n, rng)
        return [Suggestion(config, Reason.RANDOM, self.name) for config in untried]
