"""The ``gp`` engine: initial design first, then the candidate of the best acquisition value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Config, Suggestion, Trial, TrialState
from autotune.engine.design import next_of_design
from autotune.engine.untried import tried_keys
from autotune.errors import SpecError, did_you_mean

INITIAL = 3
"""Trials of the initial design, the default configuration included: on replayed tables the surrogate spends
the following trials better than a longer design does."""

_LEAST_MEASURED = 2  # fewer measurements make no surface


class GPEngine:
    """Propose by exact Gaussian processes: one per goal and per limit, one for failures.

    Args:
        initial: Trials of the initial design.
        budget: Trials planned.
    """

    name = "gp/2"

    def __init__(self, *, initial: int = INITIAL, budget: int | None = None) -> None:
        self.initial = initial
        self.budget = budget

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, budget: int | None = None) -> GPEngine:
        """Build from an ``engine`` section.

        Raises:
            SpecError: An option is unknown or wrong.
        """
        for key in data:
            if key != "initial":
                hint = did_you_mean(str(key), ("seed", "initial"))
                raise SpecError(
                    f"engine 'gp' has no option {key!r}; allowed: seed, initial",
                    path=(key,),
                    at_key=True,
                    hint=hint,
                )
        initial = data.get("initial", INITIAL)
        text = str(initial)
        if not text.isdecimal() or int(text) < 1:
            raise SpecError(
                f"initial must be a whole number of at least 1, found {initial!r}", path=("initial",)
            )
        return cls(initial=int(text), budget=budget)

    def ask(
        self,
        space: Space,
        objective: Objective,
        history: Sequence[Trial],
        pending: Sequence[Config],
        n: int,
        seed: int,
    ) -> list[Suggestion]:
        """Return up to ``n`` configurations; see :meth:`autotune.engine.base.Engine.ask`."""
        tried = tried_keys(history, pending)
        measured = sum(t.state is TrialState.COMPLETED for t in history)
        missing = self.initial - len(history) - len(pending)
        if measured < _LEAST_MEASURED:
            missing = max(missing, n)
        result = next_of_design(space, tried, min(n, missing), seed, self.name) if missing > 0 else []
        if len(result) < n and measured >= _LEAST_MEASURED:
            from autotune.engine.gp.propose import Proposer  # loads torch

            waiting = [*pending, *(s.config for s in result)]
            proposer = Proposer(space, objective, history, waiting, seed, self.name)
            result += proposer.propose(n - len(result))
        return result
