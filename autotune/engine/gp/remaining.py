"""How far the best found is from the best possible, and whether to search on.

Converged means that what is left is small and so is what one more trial gains, with the last trial and
without it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from autotune.core import ranking
from autotune.core.assessment import Assessment
from autotune.core.binding import binding_limit
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Trial, TrialState
from autotune.engine.gp.gap import Gap
from autotune.engine.gp.gap_of_front import gap_of_front
from autotune.engine.gp.gap_of_goal import gap_of_goal
from autotune.engine.gp.surrogate import one_thread

LEAST_MEASURED = 4
"""Trials below which nothing is said."""


def assess(
    space: Space, objective: Objective, history: Sequence[Trial], seed: int, surrogate: str
) -> Assessment:
    """Return how far the best found is from the best possible.

    Args:
        space: What may vary.
        objective: What is wanted.
        history: Finished trials.
        seed: Of the study.
        surrogate: Name of the surface that goal and limits are modelled by.
    """
    missing = _missing(objective, history)
    if missing:
        return Assessment(reason=missing)
    try:
        with one_thread(), torch.no_grad():
            now = _gap(space, objective, history, seed, surrogate)
            small = now.small and not _missing(objective, history[:-1])
            if small:  # once may be chance
                small = _gap(space, objective, history[:-1], seed, surrogate).small
    except ArithmeticError as error:
        return Assessment(reason=f"the model cannot tell: {error}")
    return now.assessment(converged=small)


def _missing(objective: Objective, history: Sequence[Trial]) -> str:
    """Return what keeps anything from being said; empty if nothing does."""
    if sum(t.state is TrialState.COMPLETED for t in history) < LEAST_MEASURED:
        return f"fewer than {LEAST_MEASURED} trials were measured"
    if ranking.best(history, objective) is None:
        return binding_limit(history, objective)
    return ""


def _gap(space: Space, objective: Objective, history: Sequence[Trial], seed: int, surrogate: str) -> Gap:
    measure = gap_of_goal if len(objective.goals) == 1 else gap_of_front
    return measure(space, objective, history, seed, surrogate)
