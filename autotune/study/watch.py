"""Watching the machine: the default configuration is measured again now and then while a study searches."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial, TrialState, config_key


def next_watch(trials: Sequence[Trial], space: Space, every: int, budget: int) -> Suggestion | None:
    """Return the default configuration if it is time to measure it again, else ``None``.

    It is time after every so many trials of the search, the last ones left out: the confirmation measures the
    default anyway. The answer depends on the trials alone, so a resumed study watches where the uninterrupted
    one would have. Nothing is watched while the default has not given a measurement.

    Args:
        trials: All trials of the study.
        space: Space with the default configuration.
        every: Trials of the search between two looks; 0 switches it off.
        budget: Trials of the search planned.
    """
    if every < 1:
        return None
    looks = sum(t.suggestion.reason is Reason.WATCH for t in trials)
    searched = sum(t.suggestion.reason.of_search for t in trials)
    if looks >= min(searched, budget - 1) // every:
        return None
    default = space.default_config
    key = config_key(default)
    if not any(t.state is TrialState.COMPLETED and t.key == key for t in trials):
        return None
    return Suggestion(default, Reason.WATCH, engine="watch")
