"""Uniform random search: the baseline that every engine must beat."""

from __future__ import annotations

import numpy as np

from autotune.core.trial import Reason, Suggestion
from autotune.engine.base import QuestionEngine
from autotune.engine.question import Question
from autotune.engine.untried import random_untried


class RandomEngine(QuestionEngine):
    """Random search: the default configuration, then untried ones uniformly at random."""

    name = "random/2"

    def answer(self, question: Question, n: int) -> list[Suggestion]:
        """Return up to ``n`` configurations."""
        rng = np.random.default_rng([question.seed, len(question.history) + len(question.pending)])
        result: list[Suggestion] = []
        default = question.space.default_config
        if n > 0 and question.is_new(default):
            result.append(Suggestion(default, Reason.DEFAULT, self.name))
            question = question.waiting_for(default)
        drawn = random_untried(question.space, question.tried, n - len(result), rng)
        return result + [Suggestion(config, Reason.RANDOM, self.name) for config in drawn]
