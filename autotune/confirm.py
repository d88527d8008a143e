"""Confirmation: measure the winner and the default again on fresh starts, in random order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from autotune.core import ranking
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial, config_key


def next_confirmation(
    trials: Sequence[Trial],
    objective: Objective,
    space: Space,
    repeats: int,
    seed: int,
    winner: Trial | None = None,
) -> Suggestion | None:
    """Return the next repeat to measure, or ``None`` when the confirmation is complete.

    The winner is chosen from the search's own trials, so that an interrupted confirmation goes on; when more
    trials were searched since and another configuration wins, that one is confirmed too. Which side is next
    is drawn at random, because machines drift.

    Args:
        trials: All trials of the study.
        objective: What is wanted.
        space: Gives the default configuration.
        repeats: Fresh measurements of each of the two configurations; 0 switches it off.
        seed: Of the study.
        winner: Of the search; by its measurements alone where it is not given.
    """
    searched = [t for t in trials if t.suggestion.reason is not Reason.CONFIRM]
    winner = winner or ranking.best_trial(searched, objective)
    if winner is None or len(objective.goals) > 1 or not all(t.state.finished for t in searched):
        return None
    sides = [winner.config, space.default_config]
    if config_key(sides[0]) == config_key(sides[1]):
        return None
    fresh = Counter(t.key for t in trials if t.suggestion.reason is Reason.CONFIRM)
    missing = [config for config in sides for _ in range(repeats - fresh[config_key(config)])]
    if not missing:
        return None
    drawn = int(np.random.default_rng([seed, len(trials)]).integers(len(missing)))
    return Suggestion(missing[drawn], Reason.CONFIRM, engine="confirmation")
