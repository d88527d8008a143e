"""Confirmation: measure the winner and the default again on fresh starts, in random order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autotune.core import ranking
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial, config_key


def next_confirmation(
    trials: Sequence[Trial], objective: Objective, space: Space, repeats: int, seed: int
) -> Suggestion | None:
    """Return the next repeat to measure, or ``None`` when the confirmation is complete.

    The winner is chosen from the search's own trials, so that an interrupted confirmation goes on with
    the same plan. The order is random, because machines drift.

    Args:
        trials: All trials of the study.
        objective: What is wanted.
        space: Gives the default configuration.
        repeats: Fresh measurements of each of the two configurations; 0 switches it off.
        seed: Of the study.
    """
    searched = [t for t in trials if t.suggestion.reason is not Reason.CONFIRM]
    winner = ranking.best_trial(searched, objective)
    if winner is None or len(objective.goals) > 1 or repeats < 1:
        return None
    if not all(t.state.finished for t in searched):
        return None
    default = space.default_config
    if config_key(winner.config) == config_key(default):
        return None
    plan = [winner.config, default] * repeats
    done = sum(t.suggestion.reason is Reason.CONFIRM for t in trials)
    if done >= len(plan):
        return None
    order = np.random.default_rng([seed, len(searched)]).permutation(len(plan))
    return Suggestion(plan[order[done]], Reason.CONFIRM, engine="confirmation")
