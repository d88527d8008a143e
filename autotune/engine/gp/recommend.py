"""Which measured configuration to trust: the best of those that keep the limits by the models too.

The search picks the luckiest measurements: the best that stay just below every limit. What the surface of a
limit says at a measured configuration weighs its measurement against all others around it. The goal is taken
as measured: its surface takes for noise what is particular to one configuration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from autotune.core import ranking
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Trial
from autotune.engine.gp.belief import Belief, tensor
from autotune.engine.gp.surrogate import one_thread

_LEAST = 4  # measurements below which a surface knows no better than they


def recommend(space: Space, objective: Objective, history: Sequence[Trial], surrogate: str) -> Trial | None:
    """Return the first trial of the configuration with the best expected goal, 0 where a limit is broken.

    Only configurations that keep every limit by measurement are considered. Confirmed ones are judged by
    their fresh launches, which no model improves upon.

    Returns:
        ``None`` where the measurements have to speak for themselves: several goals, few trials, a
        confirmation, nothing feasible.
    """
    found = ranking.contenders(history, objective)
    kept = [contender for contender in found if contender.feasible]
    if len(objective.goals) > 1 or len(found) < _LEAST or not kept or any(c.confirmed for c in found):
        return None
    with one_thread(), torch.no_grad():
        belief = Belief(space, objective, history, np.random.default_rng(0), surrogate)
        X = tensor(belief.encoder.configs([contender.config for contender in kept]))
        chance = belief.log_limits(X)
        goal = torch.tensor([contender.outcome.values[0] for contender in kept], dtype=torch.float64)
        values = goal.abs()
        if belief.goal.series.logarithm:  # the expected value, that of a broken limit being nothing
            score = objective.goals[0].sign * values.log() + chance
        else:
            likely = chance >= min(math.log(0.5), float(chance.max()))
            score = goal.masked_fill(~likely, -math.inf)
        return kept[int(score.argmax())].trial
