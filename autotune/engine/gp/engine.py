"""The ``gp`` engine: initial design first, then the candidate of the best acquisition value."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from autotune.core.assessment import Assessment, ModelQuality
from autotune.core.decision import Predictions
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Suggestion, Trial
from autotune.engine.base import Posterior, QuestionEngine
from autotune.engine.design import next_of_design
from autotune.engine.gp.config import GPConfig, described
from autotune.engine.gp.problem import Problem
from autotune.engine.question import Question

_log = logging.getLogger("autotune.engine.gp")

_LEAST_MEASURED = 2  # fewer measurements make no surrogate


class GPEngine(QuestionEngine):
    """Bayesian optimization by exact Gaussian processes: one per goal and per limit, one for failures.

    Args:
        budget: Trials planned.
        config: Design choices; the default ones where it is not given.
        options: Fields of :class:`GPConfig` that differ from it.
    """

    name = "gp/4"
    libraries = ("torch", "gpytorch", "botorch", "linear_operator")

    def __init__(self, *, budget: int | None = None, config: GPConfig | None = None, **options: Any) -> None:
        self.config = replace(config or GPConfig(), **options)
        self.budget = budget
        self._said: set[str] = set()  # what was reported; no suggestion depends on it

    @classmethod
    def from_dict(cls, data: Mapping[str, object], *, budget: int | None = None) -> GPEngine:
        """Build from an ``engine`` section.

        Raises:
            SpecError: An option is unknown or wrong.
        """
        return cls(budget=budget, config=GPConfig.from_dict(data))

    def answer(self, question: Question, n: int) -> list[Suggestion]:
        """Return up to ``n`` configurations."""
        if not self._said:
            self._said.add("")
            _log.info("%s: %s", self.name, described(self.config))
        measured = len(question.completed)
        missing = self.config.initial - len(question.history) - len(question.pending)
        if measured < _LEAST_MEASURED:
            missing = max(missing, n)
        result = []
        if missing > 0:
            result = next_of_design(question.space, question.tried, min(n, missing), question.seed, self.name)
        if len(result) < n and measured >= _LEAST_MEASURED:
            from autotune.engine.gp.fallback import propose  # loads torch

            waiting = question.waiting_for(*(suggestion.config for suggestion in result))
            problem = Problem(
                waiting.space, waiting.objective, waiting.history, waiting.pending, waiting.seed, self.config
            )
            result += propose(problem, n - len(result), self.name, self._said)
        return result

    def choices(self) -> dict[str, Any]:
        """Return every design choice; see :meth:`autotune.engine.base.Configured.choices`."""
        return asdict(self.config)

    def assess(
        self, space: Space, objective: Objective, history: Sequence[Trial], seed: int
    ) -> Assessment | None:
        """Return what is left to gain; see :meth:`autotune.engine.base.ModelBased.assess`."""
        from autotune.engine.gp.regret.assess import assess  # loads torch

        return assess(Problem(space, objective, history, seed=seed, config=self.config))

    def quality(
        self, space: Space, objective: Objective, history: Sequence[Trial]
    ) -> Mapping[str, ModelQuality]:
        """Return how good the models are; see :meth:`autotune.engine.base.ModelBased.quality`."""
        from autotune.engine.gp.model.leave_one_out import model_quality  # loads torch

        return model_quality(Problem(space, objective, history, config=self.config))

    def predict(self, space: Space, objective: Objective, history: Sequence[Trial]) -> Predictions | None:
        """Return what the models predict; see :meth:`autotune.engine.base.ModelBased.predict`."""
        from autotune.engine.gp.model.predictions import predictions  # loads torch

        return predictions(Problem(space, objective, history, config=self.config))

    def posterior(self, space: Space, objective: Objective, history: Sequence[Trial]) -> Posterior | None:
        """Return what the models believe; see :meth:`autotune.engine.base.Explaining.posterior`."""
        problem = Problem(space, objective, history, config=self.config)
        names = [goal.metric for goal in objective.goals]
        complete = [trial for trial in problem.completed if all(name in trial.metrics for name in names)]
        if len({trial.key for trial in complete}) < _LEAST_MEASURED or not space.names:
            return None
        from autotune.engine.gp.model.account import GPPosterior  # loads torch

        return GPPosterior(problem)
