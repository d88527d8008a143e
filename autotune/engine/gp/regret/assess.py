"""How far the best found is from the best possible, and whether to search on.

Converged: the bound on the simple regret and the expected improvement of one more trial are below their
thresholds, with the last trial and without it.
"""

from __future__ import annotations

import torch

from autotune.core import ranking
from autotune.core.assessment import Assessment
from autotune.core.binding import binding_limit
from autotune.engine.gp.model.one_thread import one_thread
from autotune.engine.gp.problem import Problem
from autotune.engine.gp.regret.front import gap_of_front
from autotune.engine.gp.regret.gap import Gap
from autotune.engine.gp.regret.goal import gap_of_goal


def assess(problem: Problem) -> Assessment:
    """Return how far the best found is from the best possible, and whether searching on is worth it."""
    missing = _missing(problem)
    if missing:
        return Assessment(reason=missing)
    try:
        with one_thread(), torch.no_grad():
            now = _gap(problem)
            small = now.small and not _missing(problem.before(1))
            if small:  # once may be chance
                small = _gap(problem.before(1)).small
    except ArithmeticError as error:
        return Assessment(reason=f"the model cannot tell: {error}")
    return now.assessment(converged=small)


def _missing(problem: Problem) -> str:
    """Return what keeps anything from being said; empty if nothing does."""
    least = problem.config.stopping.measured
    if len(problem.completed) < least:
        return f"fewer than {least} trials were measured"
    if ranking.best(problem.history, problem.objective) is None:
        return binding_limit(problem.history, problem.objective)
    return ""


def _gap(problem: Problem) -> Gap:
    return (gap_of_goal if len(problem.objective.goals) == 1 else gap_of_front)(problem)
