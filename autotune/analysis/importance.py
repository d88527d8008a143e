"""What mattered: the share that each parameter has in how a metric varies, by the model, with its doubt.

The importance of a parameter is its Shapley effect ([Owen2014], [Song2016]): the part of the variance over
the allowed configurations that learning its value explains, averaged over all orders in which the parameters
may be learned. Shares add up to 1, an irrelevant parameter has 0, an interaction is shared evenly, and unlike
other decompositions it means the same where constraints and conditions tie parameters together ([Owen2017]).
``alone`` is what the parameter explains by itself, the main effect of a functional ANOVA ([Sobol1993],
[Hutter2014]); without ties the rest of its importance are interactions. Configurations weigh as
:mod:`autotune.analysis.distribution` says. Variance is that of the logarithm where a metric is positive.

All of it is computed of functions sampled from the posterior of the study's own model: how much the shares
differ between these functions is how little the trials say. No function is exactly as the model supposes, and
the more trials there are the more of what is left is that: where nothing was measured it erred by 1.4 to 1.7
times what it stated. So trials count as if there were never more than 60 of them ([Miller2019]): the
interval of ``n`` trials is ``sqrt(1 + n / 60)`` times as wide, beyond 60 trials as at 60. How often intervals
then hold what is true is in ``benchmarks/README.md``.

References:
    [Goda2021] T. Goda, "A simple algorithm for global sensitivity analysis with Shapley effects", Reliability
        Engineering & System Safety 213 (2021): one walk estimates every parameter's share.
    [Hutter2014] F. Hutter, H. Hoos, K. Leyton-Brown, "An efficient approach for assessing hyperparameter
        importance", ICML 2014.
    [Miller2019] J. W. Miller, D. B. Dunson, "Robust Bayesian inference via coarsening", Journal of the
        American Statistical Association 114 (2019): the power posterior, of exponent ``1 / (1 + n / 60)``.
    [Owen2014] A. B. Owen, "Sobol' indices and Shapley value", SIAM/ASA Journal on Uncertainty Quantification
        2 (2014).
    [Owen2017] A. B. Owen, C. Prieur, "On Shapley value for measuring importance of dependent inputs",
        SIAM/ASA Journal on Uncertainty Quantification 5 (2017).
    [Sobol1993] I. M. Sobol, "Sensitivity estimates for nonlinear mathematical models", Mathematical Modelling
        and Computational Experiments 1 (1993).
    [Song2016] E. Song, B. L. Nelson, J. Staum, "Shapley effects for global sensitivity analysis", SIAM/ASA
        Journal on Uncertainty Quantification 4 (2016).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from autotune.analysis.study_view import StudyView
from autotune.core.arguments import check_arguments
from autotune.core.json_object import JsonObject
from autotune.core.table import INACTIVE, Indices
from autotune.engine.base import Array, Posterior

_ROWS = 8_000  # configurations that a metric is computed at
_ORDERS = 32  # in which parameters are learned, each beside its reverse
_CELLS = 12  # groups of the levels of one parameter of a pair
_TAIL = 2.5  # per cent on either side of an interval
_TRUSTED = 60.0  # trials as which very many would count
_CALIBRATED = 60  # trials up to which the intervals were compared with what is true
Places: TypeAlias = npt.NDArray[np.integer[Any]]
_LEAST = 1e-12  # variance of what does not vary


@dataclass(frozen=True)
class Share:
    """A share of the variance with its 95 % interval, in [0, 1].

    Args:
        value: Mean over the model's doubt.
        low: Lower bound.
        high: Upper bound.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ParameterImportance:
    """Importance of one parameter.

    Args:
        name: Name of the parameter.
        share: Its Shapley effect; those of all parameters add up to 1.
        alone: Share that it explains by itself.
    """

    name: str
    share: Share
    alone: Share


@dataclass(frozen=True)
class PairImportance:
    """The share that two parameters explain together beyond what each explains alone.

    Args:
        names: Names of the two.
        share: Share of the variance.
    """

    names: tuple[str, str]
    share: Share


@dataclass(frozen=True)
class Importance:
    """The importance of all parameters for one metric.

    Args:
        metric: Name of the metric.
        logarithm: Whether the variance is that of the logarithm.
        trials: Trials with a measurement of it.
        parameters: Every parameter of more than one value, the most important first.
        pairs: Pairs of parameters, the strongest interaction first.
    """

    metric: str
    logarithm: bool
    trials: int
    parameters: tuple[ParameterImportance, ...]
    pairs: tuple[PairImportance, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters, the most important first."""
        return tuple(each.name for each in self.parameters)

    @classmethod
    def from_dict(cls, data: JsonObject) -> Importance:
        """Build from the plain data of :func:`dataclasses.asdict`."""
        parameters = (
            ParameterImportance(p["name"], Share(**p["share"]), Share(**p["alone"]))
            for p in data["parameters"]
        )
        pairs = (PairImportance((p["names"][0], p["names"][1]), Share(**p["share"])) for p in data["pairs"])
        return cls(data["metric"], data["logarithm"], data["trials"], tuple(parameters), tuple(pairs))


@check_arguments()
def importance(view: StudyView, metric: str | None = None) -> Importance | None:
    """Return what mattered for a metric.

    Args:
        view: The study.
        metric: A goal's or a limit's; by default that of the first goal.

    Returns:
        ``None`` where there is no model of it: too few trials have a measurement, or it never varied.

    Raises:
        SpecError: The study's objective has no such metric.
    """
    name = view.metric_named(metric)
    found = view.facts.recall(f"importance {name}", lambda: _computed(view, name))
    return None if found is None else Importance.from_dict(found)


def _computed(view: StudyView, metric: str) -> dict[str, object] | None:
    measured, model = view.measured(metric), view.model
    if model is None or metric not in model.logarithm or len({value for _, value, _ in measured}) < 2:
        return None
    found = _importance(view, model, metric, len(measured))
    return None if found is None else asdict(found)


def _importance(view: StudyView, model: Posterior, metric: str, trials: int) -> Importance | None:
    space, rng = view.space, np.random.default_rng(0)
    columns = [i for i, parameter in enumerate(space) if len(parameter.levels) > 1 or parameter.condition]
    if not columns:
        return None
    distribution, d = view.allowed, len(space)
    each = max(8, _ROWS // (d + 1) // _ORDERS)
    orders = [rng.permutation(d) for _ in range(_ORDERS // 2)]
    orders = [order for pair in zip(orders, (o[::-1] for o in orders), strict=True) for order in pair]
    walks = np.concatenate([distribution.walks(order.tolist(), each, rng) for order in orders])
    rows, place = np.unique(walks.reshape(-1, d), axis=0, return_inverse=True)
    values = model.values(metric, rows)
    steps = place.reshape(len(walks), d + 1)
    shares = _shapley(values, steps, np.repeat(orders, each, axis=0), rng)
    total = shares.sum(1, keepdims=True)
    if not (total > _LEAST).all():
        return None
    shares = np.maximum(shares / total, 0.0)
    shares /= shares.sum(1, keepdims=True)
    ends = steps[:, [0, -1]].ravel()
    at, found = rows[ends], values[:, ends]
    spread = found.var(axis=1, keepdims=True)
    centred = (found - found.mean(1, keepdims=True)) / np.sqrt(spread)
    mains = {i: _explained(centred, at[:, i]) for i in columns}
    wider = math.sqrt(1.0 + min(trials, _CALIBRATED) / _TRUSTED)
    parameters = [
        ParameterImportance(space.names[i], _share(shares[:, i], wider), _share(mains[i], wider))
        for i in columns
    ]
    pairs = []
    for i, j in combinations(columns, 2):
        cells = _grouped(at[:, i]) * (_CELLS + 2) + _grouped(at[:, j])
        own = _explained(centred, _grouped(at[:, i])) + _explained(centred, _grouped(at[:, j]))
        together = _explained(centred, cells) - own
        pairs.append(PairImportance((space.names[i], space.names[j]), _share(together, wider)))
    return Importance(
        metric,
        model.logarithm[metric],
        trials,
        tuple(sorted(parameters, key=lambda p: -p.share.value)),
        tuple(sorted(pairs, key=lambda p: -p.share.value)),
    )


def _shapley(values: Array, steps: Places, orders: Places, rng: np.random.Generator) -> Array:
    """Return each parameter's Shapley effect by sampled function, ``s x d``; see [Goda2021], equation 13.

    The last step of a walk is the configuration that is learned. With what is known at a step both are equal
    in distribution and independent given it, ties or not, so that half their squared difference is the
    variance left. Each function weighs the walks at random (a Bayesian bootstrap): what is due to their
    number is part of how much the functions differ.

    Args:
        values: Values of the functions, ``s x n``.
        steps: Places of the steps of each walk among them, ``w x (d + 1)``.
        orders: Parameter that each step learns, ``w x d``.
        rng: Random generator of the weights.
    """
    weights = rng.standard_exponential((len(values), len(steps)))
    weights /= weights.sum(1, keepdims=True)
    target = values[:, steps[:, -1]]
    effects = np.zeros((len(values), orders.shape[1]))
    before = values[:, steps[:, 0]]
    for k in range(orders.shape[1]):
        after = values[:, steps[:, k + 1]]
        gained = weights * (after - before) * (target - 0.5 * (after + before))
        for i in np.unique(orders[:, k]):
            effects[:, i] += gained[:, orders[:, k] == i].sum(1)
        before = after
    return effects


def _explained(centred: Array, groups: Places) -> Array:
    """Return the share of the variance between groups by function, shape ``s``, without its bias.

    What groups of few seem to explain by chance is taken off, as in a one-way analysis of variance.

    Args:
        centred: Standardized values, ``s x n``.
        groups: Group of each, shape ``n``.
    """
    _, at, counts = np.unique(groups, return_inverse=True, return_counts=True)
    if len(counts) < 2:
        return np.zeros(len(centred))
    order = np.argsort(at, kind="stable")
    sums = np.add.reduceat(centred[:, order], np.append(0, np.cumsum(counts)[:-1]), axis=1)
    between = np.asarray((sums**2 / counts).sum(1))
    n, k = centred.shape[1], len(counts)
    within = (n - between) / max(1, n - k)
    found: Array = np.clip((between - (k - 1) * within) / n, 0.0, 1.0)
    return found


def _grouped(levels: Indices) -> Places:
    """Return few groups of neighbouring levels; an inactive parameter is one of its own."""
    kinds = np.unique(levels[levels != INACTIVE])
    if len(kinds) <= _CELLS:
        return np.asarray(np.searchsorted(kinds, levels) + (levels != INACTIVE))
    cuts = kinds[np.linspace(0, len(kinds), _CELLS + 1).astype(int)[1:-1]]
    return np.where(levels == INACTIVE, 0, 1 + np.searchsorted(cuts, levels, side="right"))


def _share(values: Array, wider: float) -> Share:
    """Return the mean of sampled shares with its interval.

    Args:
        values: Share by sampled function, shape ``s``.
        wider: Factor on either side of the interval.
    """
    # of so few samples the usual interpolation has 92 % between its 2.5 and 97.5 %
    low, high = np.percentile(values, [_TAIL, 100 - _TAIL], method="weibull")
    mean = float(values.mean())
    ends = (mean - wider * (mean - float(low)), mean + wider * (float(high) - mean))
    return Share(mean, max(0.0, ends[0]), min(1.0, ends[1]))
