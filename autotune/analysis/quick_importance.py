"""Which parameters matter, from the trials alone: cheap enough for every drawing of a table.

The share of the variance between the trials that have the same value of a parameter, in the ranks of each
goal (the epsilon squared of a Kruskal-Wallis test [Tomczak2014]), or the squared rank correlation. It sees
main effects only; the importance that a report shows is computed from the study's model.

Reference: [Tomczak2014] M. Tomczak, E. Tomczak, "The need to report effect size estimates revisited", Trends
in Sport Sciences 21 (2014).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autotune.analysis.study_view import StudyView, varying_parameters
from autotune.core.trial import Trial, TrialState

_LEAST = 6  # results below which ranks say nothing, and the file's own order is as good
_PER_GROUP = 3  # trials that a group has on average at least; with fewer only a trend says something


def by_importance(view: StudyView) -> list[str]:
    """Return the parameters that vary, the one that matters most first; equal ones in the space's order."""
    names = varying_parameters(view)
    shares = quick_importance(view, names)
    return sorted(names, key=lambda name: -round(shares[name], 2))


def quick_importance(view: StudyView, names: Sequence[str]) -> dict[str, float]:
    """Return the share of the goals' variance in ranks that each parameter explains alone, in [0, 1].

    The largest over all goals counts, and over the measured trials alone and those with the failures, which
    rank below every measurement where the configuration was at fault. All are 0 while there are too few.

    Args:
        view: The study.
        names: Names of the parameters.
    """
    shares = dict.fromkeys(names, 0.0)
    measured = [t for t in view.trials if t.metrics]
    failed = [t for t in view.trials if t.state is TrialState.INFEASIBLE]
    for goal in view.objective.goals:
        have = [t for t in measured if goal.metric in t.metrics]
        values = [goal.sign * t.metrics[goal.metric].value for t in have]
        for trials in (have, [*have, *failed]) if failed else (have,):
            if len(trials) < _LEAST:
                continue
            ranks = _ranks(np.array([*values, *[-np.inf] * (len(trials) - len(have))]))
            for name in names:
                shares[name] = max(shares[name], _explained(ranks, trials, name))
    return shares


def _explained(ranks: np.ndarray, trials: Sequence[Trial], name: str) -> float:
    """Return the share between the groups of equal values, or that of a monotonous trend if it is larger."""
    raw = [t.config.get(name) for t in trials]
    _, groups = np.unique([repr(value) for value in raw], return_inverse=True)
    share = _between(ranks, groups) if groups.max() < max(2, len(trials) // _PER_GROUP) else 0.0
    if all(isinstance(value, int | float) for value in raw if value is not None):
        numbers = _ranks(np.array([-np.inf if value is None else float(value) for value in raw]))
        share = max(share, _trend(ranks, numbers))
    return share


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each value, equal ones with their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return middle


def _between(ranks: np.ndarray, groups: np.ndarray) -> float:
    """Return the share of the variance of ``ranks`` between groups, less what chance gives so many."""
    n, total = len(ranks), float(((ranks - ranks.mean()) ** 2).sum())
    kinds = np.unique(groups)
    if total == 0.0 or not 1 < len(kinds) < n:
        return 0.0
    within = sum(float(((ranks[groups == k] - ranks[groups == k].mean()) ** 2).sum()) for k in kinds)
    return max(0.0, 1.0 - within / total * (n - 1) / (n - len(kinds)))


def _trend(ranks: np.ndarray, numbers: np.ndarray) -> float:
    """Return the squared rank correlation, less what chance gives."""
    a, b = ranks - ranks.mean(), numbers - numbers.mean()
    size = float((a**2).sum() * (b**2).sum())
    if size == 0.0:
        return 0.0
    n, squared = len(ranks), float((a * b).sum()) ** 2 / size
    return max(0.0, 1.0 - (1.0 - squared) * (n - 1) / (n - 2))
