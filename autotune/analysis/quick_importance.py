"""Which parameters matter, from the trials alone: cheap enough for every drawing of a table.

How surely the ranks of each goal depend on a parameter: by its groups of equal values (an analysis of
variance of the ranks, as of Kruskal and Wallis), by a monotonous trend, or by a trend with a bend, whichever
test is the surest. A probability takes the freedom of a test into account; shares of the variance do not, and
a parameter of many values would hide the one that matters. It sees main effects only; the importance that a
report shows is computed from the study's model.

Reference: [Paulson1942] E. Paulson, "An approximate normalization of the analysis of variance distribution",
Annals of Mathematical Statistics 13 (1942).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from autotune.analysis.study_view import StudyView
from autotune.core.trial import Trial, TrialState, config_key

_LEAST = 6  # results below which ranks say nothing, and the file's own order is as good
_SAME = 1e-9  # of a size, below which it is none
_PER_GROUP = 3  # trials that a group has on average at least; with fewer only a trend says something


def varying_parameters(view: StudyView) -> list[str]:
    """Return the parameters that differ between trials, those with the most values first.

    A parameter that is inactive in some trials and not in others varies too. Without any difference, all.
    """
    values = {
        name: len({config_key({name: t.config[name]}) if name in t.config else "" for t in view.trials})
        for name in view.space.names
    }
    varying = [name for name in view.space.names if values[name] > 1]
    return varying or list(view.space.names)


def by_importance(view: StudyView) -> list[str]:
    """Return the parameters that vary, the one that matters most first; equal ones in the space's order."""
    names = varying_parameters(view)
    found = quick_importance(view, names)
    return sorted(names, key=lambda name: -round(found[name], 2))


def quick_importance(view: StudyView, names: Sequence[str]) -> dict[str, float]:
    """Return how surely the goals depend on each parameter alone, in standard deviations, at least 0.

    The largest over all goals counts, and over the measured trials alone and those with the failures, which
    rank below every measurement where the configuration was at fault. All are 0 while there are too few.

    Args:
        view: The study.
        names: Names of the parameters.
    """
    found = dict.fromkeys(names, 0.0)
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
                found[name] = max(found[name], _evidence(ranks, trials, name))
    return found


def _evidence(ranks: np.ndarray, trials: Sequence[Trial], name: str) -> float:
    """Return the surest of what groups of equal values, a trend and a trend with a bend say."""
    raw = [t.config.get(name) for t in trials]
    kinds, groups = np.unique([repr(value) for value in raw], return_inverse=True)
    tests = []
    if len(kinds) <= max(2, len(trials) // _PER_GROUP):
        tests.append(np.eye(len(kinds))[groups])
    if all(isinstance(value, int | float) for value in raw if value is not None):
        numbers = _ranks(np.array([-np.inf if value is None else float(value) for value in raw]))
        line = (numbers - numbers.mean()) / (numbers.std() or 1.0)
        tests += [line[:, None], *([np.column_stack([line, line**2])] if len(kinds) > 2 else [])]
    return max((_sureness(ranks - ranks.mean(), columns) for columns in tests), default=0.0)


def _sureness(values: np.ndarray, columns: np.ndarray) -> float:
    """Return the standard deviations by which columns explain values better than chance does [Paulson1942].

    Args:
        values: Values less their mean, shape ``n``.
        columns: Variables that may explain them, shape ``n x k``.
    """
    basis, size, _ = np.linalg.svd(columns - columns.mean(0), full_matrices=False)
    basis = basis[:, size > _SAME * (size[0] or 1.0)]
    free, left, total = basis.shape[1], len(values) - 1 - basis.shape[1], float(values @ values)
    if not free or left < 1 or not total:
        return 0.0
    share = min(float(np.square(basis.T @ values).sum()) / total, 1.0 - _SAME)
    root = float(np.cbrt(share / free / ((1.0 - share) / left)))
    own, other = 2.0 / (9.0 * free), 2.0 / (9.0 * left)
    found = ((1.0 - other) * root - (1.0 - own)) / math.sqrt(own + other * root * root)
    return max(0.0, float(found))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each value, equal ones with their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return middle
