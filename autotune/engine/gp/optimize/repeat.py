"""Whether to measure a configuration once more instead of a new one.

What a study recommends is the best of what it measured, repeats pooled, and where launches differ by much
that is often the luckiest. Measuring a leader again tells luck from merit; measuring a new configuration may
find a better one, or another lucky one. Both are judged by the same question: how good, in truth, will what
is recommended be after one more measurement? The answer is an average over joint samples of the models and
of that measurement: the value of information for the rule by which the study decides.

Off by default, for want of proof, and an option of study files that may have it: on three replayed tables
with 12 % of noise and a simulator with 3 % (10 seeds, 40 trials, the best recommended as measured) what was
recommended was worth 0.78, 0.88 and 0.94 of the best after 10, 20 and 40 trials, and 0.75, 0.86 and 0.91
without repeats; on the noisy tables 6 runs of 30 ended better and 2 worse (Wilcoxon p = 0.45). 7.2 trials of
a run were repeats, 0.4 on the simulator, and 2.7 fewer were wasted. With the knowledge gradient of the
highest posterior mean instead: 0.74, 0.84 and 0.92.

Reference: P. Frazier, W. Powell, S. Dayanik, "The knowledge-gradient policy for correlated normal beliefs",
INFORMS Journal on Computing 21 (2009), with the study's rule in the place of the highest posterior mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autotune.core import ranking
from autotune.core.decision import excess, goal_value
from autotune.core.objective import Limit
from autotune.core.trial import Config, Trial, config_key
from autotune.engine.gp.model.conditioning import Sampled
from autotune.engine.gp.model.fitted_models import FittedModels, Modelled, tensor
from autotune.engine.gp.problem import Problem

LEAST_NOISE = 0.05
"""Relative standard deviation of a launch below which nothing is repeated: the search is for the last 5 %."""

_SAMPLES = 512
_LEADERS = 6  # by measurement, and as many by the models
_LAUNCHES = 4  # of one configuration at most; a confirmation at the end of a study makes its own
_MARGIN = 2e-3  # of the recommended value: less is within the error of the samples


@dataclass(frozen=True)
class _Quantity:
    """One modelled quantity at the contenders and, last, at the new candidate; standardized.

    Args:
        truth: Samples of what it is, ``s x (m + 1)``.
        measured: Measured values, launches pooled, shape ``m``.
        again: Values that one more launch would give, ``s x (m + 1)``.
    """

    truth: Tensor
    measured: Tensor
    again: Tensor

    def after(self, action: int, launches: Tensor) -> Tensor:
        """Return what is measured after one more launch of ``action``, ``s x (m + 1)``; nan where nothing."""
        new = torch.full_like(self.truth[:, -1:], torch.nan)
        found = torch.cat([self.measured.expand(len(self.truth), -1), new], 1)
        if action == len(self.measured):
            found[:, -1] = self.again[:, -1]
        else:
            n = launches[action]
            found[:, action] = (n * found[:, action] + self.again[:, action]) / (n + 1)
        return found


def to_repeat(models: FittedModels, problem: Problem, x: Tensor, seed: int) -> tuple[Config, Tensor] | None:
    """Return a measured configuration that is better measured again than the best new one, or ``None``.

    Args:
        models: The models of one goal.
        problem: Problem that they were fitted to.
        x: Encoding of the best new candidate, ``1 x d``.
        seed: Seed of the samples.
    """
    if models.seeking_feasible or len(models.goals) > 1 or noise_of(models) < LEAST_NOISE:
        return None
    contenders = _leading(models, problem.history)
    X = tensor(models.encoder.configs([c.config for c in contenders])).reshape(-1, models.X.shape[1])
    points, launches = torch.cat([X, x]), torch.tensor([c.launches for c in contenders])
    goal = _quantity(models.goal, points, [_value(models, c) for c in contenders], seed)
    limits = [
        _quantity(m, points, [_excess(limit, m, c) for c in contenders], seed + 1 + i)
        for i, (limit, m) in enumerate(zip(models.limited, models.limits, strict=True))
    ]
    bounds = [m.series.standardize(0.0) for m in models.limits]
    worth = _worth(models.goal, goal)
    for limit, bound in zip(limits, bounds, strict=True):
        worth = worth * (limit.truth <= bound)

    def value(action: int) -> float:
        shown = goal.after(action, launches)
        for limit, bound in zip(limits, bounds, strict=True):
            shown = shown.masked_fill(limit.after(action, launches) > bound, torch.nan)
        best = shown.nan_to_num(nan=-torch.inf).max(1)
        return float((worth.gather(1, best.indices.unsqueeze(1)).squeeze(1) * best.values.isfinite()).mean())

    away = {config_key(config) for config in problem.pending}
    allowed = [i for i, c in enumerate(contenders) if c.launches < _LAUNCHES and c.trial.key not in away]
    if not allowed:
        return None
    best = max(allowed, key=value)
    if value(best) <= (1.0 + _MARGIN) * value(len(contenders)):
        return None
    return contenders[best].config, X[best : best + 1]


def _leading(models: FittedModels, history: Sequence[Trial]) -> list[ranking.Contender]:
    """Return the configurations that may be recommended or may become so, none of which ever failed."""
    found = [
        c for c in ranking.contenders(history, models.objective) if not c.failures and not c.outcome.missing
    ]
    by_measurement = sorted(found, key=lambda c: (not c.feasible, -_value(models, c)))[:_LEADERS]
    X = tensor(models.encoder.configs([c.config for c in found]))
    mean, _ = models.goal.surrogate.predict(X)
    order = mean.masked_fill(~models.kept(X), -torch.inf).argsort(descending=True, stable=True)
    by_models = [found[i] for i in order[:_LEADERS].tolist()]
    return list({c.trial.key: c for c in [*by_measurement, *by_models]}.values())


def _value(models: FittedModels, contender: ranking.Contender) -> float:
    """Return the pooled goal on the scale of its series before standardizing."""
    goal = models.objective.goals[0]
    value = contender.metrics[goal.metric].value
    return goal_value(goal, value, logarithm=models.goal.series.logarithm)


def _excess(limit: Limit, modelled: Modelled, contender: ranking.Contender) -> float:
    """Return the pooled violation on the scale of its series before standardizing."""
    return excess(limit, contender.metrics[limit.metric].value, logarithm=modelled.series.logarithm)


def _quantity(modelled: Modelled, points: Tensor, measured: Sequence[float], seed: int) -> _Quantity:
    surrogate = modelled.surrogate
    sampled = Sampled(surrogate, points, surrogate.log_weights, _SAMPLES, seed)
    generator = torch.Generator().manual_seed(seed)
    error = torch.randn(sampled.values.shape, generator=generator, dtype=points.dtype)
    deviation = surrogate.noise()[sampled.member].sqrt().unsqueeze(-1)
    shown = torch.tensor([modelled.series.standardize(v) for v in measured], dtype=points.dtype)
    return _Quantity(sampled.values, shown, sampled.values + deviation * error)


def _worth(modelled: Modelled, goal: _Quantity) -> Tensor:
    """Return what a configuration is worth in truth, at least 0: nothing for one that breaks a limit."""
    series = modelled.series
    if series.logarithm:
        return ((goal.truth - goal.measured.max()) * series.scale).clamp_max(30.0).exp()
    return (goal.truth - float(series.Y.min())).clamp_min(0.0)


def noise_of(models: FittedModels) -> float:
    """Return the standard deviation between launches relative to the goal's size there."""
    series = models.goal.series
    deviation = models.goal.surrogate.mean_noise**0.5 * series.scale
    if series.logarithm:
        return deviation
    best = abs(float(series.Y.max()) * series.scale + series.shift)
    return deviation / max(best, series.scale)
