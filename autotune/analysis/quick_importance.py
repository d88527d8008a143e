"""Which parameters matter, from the trials alone: cheap enough for every drawing of a table.

A model adds up a line and a bend of each parameter, or a step for each of its kinds, and is fitted to all
trials at once: a search that climbs changes a few parameters at a time around a best that moves, so that no
parameter alone goes with the goal. What counts is how much an effect varies over the whole range of the
parameter, not over the values that were tried: near the winner the most important one varies least. How large
effects are is learned parameter by parameter from the trials (automatic relevance determination), which keeps
the few that matter and shrinks the others. It sees main effects only; the importance that a report shows is
computed from the study's model.

Reference: [MacKay1992] D. J. C. MacKay, "Bayesian interpolation", Neural Computation 4 (1992).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from autotune.analysis.study_view import StudyView
from autotune.core.parameter.base import Parameter
from autotune.core.trial import Trial, TrialState, config_key

Array = npt.NDArray[np.float64]

_LEAST = 6  # results below which a model says nothing, and the file's own order is as good
_BEND = 0.3  # variance expected of a bend, in parts of that of a line
_ROUNDS = 5  # in which the sizes of effects are learned
_NOISES = np.exp(np.linspace(-7.0, 4.0, 23))  # variances that are tried, in parts of that of an effect
_FAR = 4.0  # standard deviations, by the middle half, beyond which a value is taken for that far
_TINY = 1e-12


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
    """Return the share that each parameter alone has in how the goals vary over its range, in [0, 1].

    The largest over all goals counts, and over the measured trials alone and those with the failures, which
    rank below every measurement where the configuration was at fault. All are 0 while there are too few.

    Args:
        view: The study.
        names: Names of the parameters.
    """
    found = dict.fromkeys(names, 0.0)
    failed = [t for t in view.trials if t.state is TrialState.INFEASIBLE]
    for goal in view.objective.goals:
        have = [t for t in view.trials if goal.metric in t.metrics]
        values = _scaled(np.array([goal.sign * t.metrics[goal.metric].value for t in have]), goal.sign)
        for trials in (have, [*have, *failed]) if failed else (have,):
            if len(trials) < _LEAST:
                continue
            lowest = float(values.min()) - 1.0 if len(values) else 0.0
            columns = [_columns(view.space[name], name, trials) for name in names]
            shares = _shares(np.array([*values, *[lowest] * (len(trials) - len(have))]), columns)
            for name, share in zip(names, shares, strict=True):
                found[name] = max(found[name], float(share))
    return found


def _scaled(values: Array, sign: float) -> Array:
    """Return values with mean 0 and deviation 1: logarithms of positive ones, ranks of others.

    What lies far from the others is drawn near: a hopeless configuration is a thousand times as slow.
    """
    if not len(values):
        return values
    size = sign * values
    found = sign * np.log(size) if size.min() > 0 else _ranks(values)
    low, middle, high = np.quantile(found, (0.25, 0.5, 0.75))
    reach = _FAR * (high - low) / 1.35
    if reach > _TINY:
        found = np.clip(found, middle - reach, middle + reach)
    return np.asarray((found - found.mean()) / max(float(found.std()), _TINY))


def _columns(parameter: Parameter, name: str, trials: Sequence[Trial]) -> Array:
    """Return the variables of a parameter, ``n x k``, each of variance 1 over the parameter's range."""
    values = [t.config.get(name) for t in trials]
    known = [v for v in values if v is not None]
    absent = np.array([v is None for v in values])
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in known):
        kinds, at = np.unique([repr(v) for v in values], return_inverse=True)
        return np.asarray(np.eye(len(kinds))[at] / np.sqrt(1.0 / len(kinds)))
    within = getattr(parameter, "low", None) is not None
    if within and all(parameter.low <= v <= parameter.high for v in known):  # type: ignore[attr-defined]
        place = np.array([0.5 if v is None else parameter.position(v) for v in values])
    else:
        rank = _ranks(np.array([-np.inf if v is None else float(v) for v in values]))
        place = rank / max(float(rank.max()), 1.0)
    x = 2.0 * place - 1.0
    line, bend = np.sqrt(3.0) * x, np.sqrt(5.0) / 2.0 * (3.0 * x * x - 1.0)  # Legendre's polynomials
    found = np.column_stack([np.where(absent, 0.0, line), np.where(absent, 0.0, np.sqrt(_BEND) * bend)])
    return np.column_stack([found, absent]) if absent.any() else found


def _shares(y: Array, columns: Sequence[Array]) -> Array:
    """Return the share of each parameter's effect in the effects of all and the noise.

    Args:
        y: Values, shape ``n``.
        columns: Variables of each parameter, ``n x k`` each.
    """
    owner = np.repeat(np.arange(len(columns)), [c.shape[1] for c in columns])
    x = np.column_stack(columns)
    count, x, y = len(y), x - x.mean(0), (y - y.mean()) / max(float(y.std()), _TINY)
    products, toward = x.T @ x, x.T @ y  # as small as there are variables, however many trials
    scale = np.ones(len(columns))  # variance of each parameter's effects
    for _ in range(_ROUNDS + 1):
        root = np.sqrt(scale)[owner]
        sizes, turn = np.linalg.eigh(products * root[:, None] * root)
        sizes, turn = sizes[sizes > _TINY * count], turn[:, sizes > _TINY * count]
        along = turn.T @ (root * toward) / np.sqrt(sizes)
        noise, unit = _noise(sizes, along, max(float(y @ y - along @ along), 0.0), count)
        weights = root * (turn @ (np.sqrt(sizes) * along / (sizes + noise)))
        doubt = unit * root**2 * (1.0 - np.square(turn) @ (sizes / (sizes + noise)))
        expected = np.bincount(owner, weights**2 + np.maximum(doubt, 0.0)) / np.bincount(owner)
        scale = expected / max(float(expected.mean()), _TINY)
    share = np.bincount(owner, weights**2)
    return np.asarray(share / max(float(share.sum()) + unit * noise, _TINY))


def _noise(sizes: Array, along: Array, rest: float, count: int) -> tuple[float, float]:
    """Return the likeliest variance of the noise in parts of that of an effect, and the latter [MacKay1992].

    Args:
        sizes: Eigenvalues of the products of the variables, shape ``r``, above 0.
        along: Values along their vectors, shape ``r``.
        rest: Square of what lies along none.
        count: Number of values.
    """
    total = sizes + _NOISES[:, None]
    unit = np.maximum(((along**2 / total).sum(1) + rest / _NOISES) / count, _TINY)
    left = count - len(sizes)
    likelihood = -0.5 * (count * np.log(unit) + np.log(total).sum(1) + left * np.log(_NOISES))
    best = int(np.argmax(likelihood))
    return float(_NOISES[best]), float(unit[best])


def _ranks(values: Array) -> Array:
    """Return the rank of each value, equal ones with their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle: Array = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return middle
