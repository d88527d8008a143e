"""Repeating doubtful measurements: once each, on a fresh launch, on top of the budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from autotune.core.objective import Objective
from autotune.core.trial import Reason, Suggestion, Trial


def next_remeasure(trials: Sequence[Trial], objective: Objective) -> Suggestion | None:
    """Return the configuration of the first doubtful measurement that was not repeated yet, or ``None``.

    A measurement is doubtful where its facts say why (:data:`autotune.core.measurement.DOUBT`). It is
    repeated once; where the repeat is doubtful again, a third would say the same of the machine or of the
    configuration. Confirmations are repeats already, and have a rule of their own
    (:mod:`autotune.study.confirm`). What surely breaks a limit, such as one of the memory of weights, is not
    repeated. The answer depends on the trials alone, so that a resumed study repeats what the uninterrupted
    one would.

    Args:
        trials: All trials of the study.
        objective: Objective with limits relative to the default bound.
    """
    own = (Reason.REMEASURE, Reason.CONFIRM)
    doubted = [trial for trial in trials if trial.doubt and trial.suggestion.reason not in own]
    if not doubted:  # as a rule, and this is asked at every turn of a long study
        return None
    again = Counter(t.key for t in trials if t.suggestion.reason is Reason.REMEASURE)
    for trial in doubted:
        if objective.surely_broken(trial.metrics):
            continue
        if not again[trial.key]:
            return Suggestion(trial.config, Reason.REMEASURE, engine="remeasure")
        again[trial.key] -= 1
    return None
