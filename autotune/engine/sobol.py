"""A space-filling sequence without a model: what the initial design is made of, for as long as wanted."""

from __future__ import annotations

from autotune.core.trial import Suggestion
from autotune.engine.base import QuestionEngine
from autotune.engine.design import next_of_design
from autotune.engine.question import Question


class SobolEngine(QuestionEngine):
    """A scrambled Sobol sequence after the default configuration, then random configurations."""

    name = "sobol/1"

    def answer(self, question: Question, n: int) -> list[Suggestion]:
        """Return up to ``n`` configurations."""
        return next_of_design(question.space, question.tried, n, question.seed, self.name)
