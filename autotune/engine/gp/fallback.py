"""What is proposed where the numbers fail: a simpler model, and at last no model.

The order is fixed: the surrogate that was asked for, the smooth one alone, the space-filling design. A study
never ends because a matrix was ill-conditioned, and it is said once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from linear_operator.utils.errors import NanError, NotPSDError

from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Config, Suggestion, Trial
from autotune.engine.design import next_of_design
from autotune.engine.gp.options import Options
from autotune.engine.gp.propose import Proposer
from autotune.engine.untried import tried_keys

NUMERICAL = (ArithmeticError, np.linalg.LinAlgError, torch.linalg.LinAlgError, NotPSDError, NanError)
"""What linear algebra raises when it cannot go on; anything else is a mistake of ours."""

SIMPLER = "smooth"

_log = logging.getLogger("autotune.engine.gp")


def propose(
    space: Space,
    objective: Objective,
    history: Sequence[Trial],
    pending: Sequence[Config],
    n: int,
    seed: int,
    name: str,
    options: Options,
    said: set[str],
) -> list[Suggestion]:
    """Return up to ``n`` suggestions of the first model whose numbers hold.

    Args:
        space: What may vary.
        objective: What is wanted.
        history: Finished trials, at least two of them completed.
        pending: Configurations asked for and not finished.
        n: How many are wanted.
        seed: Of the study.
        name: Of the engine, for the suggestions.
        options: Of the engine.
        said: Models whose failure was reported before; added to.
    """
    for surrogate in dict.fromkeys((options.surrogate, SIMPLER)):
        chosen = replace(options, surrogate=surrogate)
        try:
            return Proposer(space, objective, history, pending, seed, name, chosen).propose(n)
        except NUMERICAL as error:
            if surrogate not in said:
                said.add(surrogate)
                _log.warning("the %r surrogate gave up, a simpler way is taken: %s", surrogate, error)
    return next_of_design(space, tried_keys(history, pending), n, seed, name)
