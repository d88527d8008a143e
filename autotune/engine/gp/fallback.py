"""What is proposed where the numbers fail: a simpler model, and at last no model.

The order is fixed: the surrogate that was asked for, the smooth one alone, the space-filling design. A study
never ends because a matrix was ill-conditioned, and it is said once.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from linear_operator.utils.errors import NanError, NotPSDError
from torch.linalg import LinAlgError  # type: ignore[attr-defined] # public, and not in its __all__

from autotune.core.trial import Suggestion
from autotune.engine.design import next_of_design
from autotune.engine.gp.problem import Problem
from autotune.engine.gp.propose import Proposer

NUMERICAL = (ArithmeticError, np.linalg.LinAlgError, LinAlgError, NotPSDError, NanError)
"""What linear algebra raises when it cannot go on; anything else is a mistake of ours."""

SIMPLER = "smooth"

_log = logging.getLogger("autotune.engine.gp")


def propose(problem: Problem, n: int, name: str, said: set[str]) -> list[Suggestion]:
    """Return up to ``n`` suggestions of the first model whose numbers hold.

    Args:
        problem: Problem to propose for, with at least two measured trials.
        n: Number of configurations wanted.
        name: Name of the engine, for the suggestions.
        said: FittedModels whose failure was reported before; added to.
    """
    for surrogate in dict.fromkeys((problem.config.surrogate, SIMPLER)):
        try:
            config = replace(problem.config, surrogate=surrogate)
            return Proposer(replace(problem, config=config), name).propose(n)
        except NUMERICAL as error:
            if surrogate not in said:
                said.add(surrogate)
                _log.warning("the %r surrogate gave up, a simpler way is taken: %s", surrogate, error)
    return next_of_design(problem.space, problem.tried, n, problem.seed, name)
