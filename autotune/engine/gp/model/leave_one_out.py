"""How well a surrogate predicts each value from all the others, in closed form.

References:
    [Rasmussen2006] C. E. Rasmussen, C. K. I. Williams, "Gaussian Processes for Machine Learning", 2006:
        equations 5.10 to 5.12.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from botorch.models import SingleTaskGP
from torch import Tensor

from autotune.core.assessment import ModelQuality
from autotune.engine.gp.model.averaged_gp import AveragedGP
from autotune.engine.gp.model.contract import Surrogate
from autotune.engine.gp.model.data import Series, read_history
from autotune.engine.gp.model.encode import Encoder
from autotune.engine.gp.model.fitted_models import tensor
from autotune.engine.gp.model.one_thread import one_thread
from autotune.engine.gp.model.posterior import cholesky
from autotune.engine.gp.model.surrogates import Fitted, surrogate_named
from autotune.engine.gp.problem import Problem

LEAST = 4
"""Values below which nothing is said of a model: each is predicted from the others."""

_FOLDS = 10  # of a surrogate without a closed form
_TAIL = 0.05  # on either side of a 90 % interval


@dataclass(frozen=True)
class LeftOut:
    """Leave-one-out predictions as mixtures of normal distributions.

    Args:
        Y: Standardized values, shape ``n``.
        means: Means by member, ``k x n``.
        variances: Variances of a measurement, its noise included, ``k x n``.
        log_weights: Log weights of the members, from all the others, ``k x n``.
    """

    Y: Tensor
    means: Tensor
    variances: Tensor
    log_weights: Tensor

    @property
    def mean(self) -> Tensor:
        """Predicted means, shape ``n``."""
        return (self.log_weights.exp() * self.means).sum(0)

    @property
    def variance(self) -> Tensor:
        """Predicted variances, shape ``n``."""
        spread = self.variances + (self.means - self.mean).square()
        return (self.log_weights.exp() * spread).sum(0)

    @property
    def ranks(self) -> Tensor:
        """Predicted probability of less than what was measured, shape ``n``: uniform for a right model."""
        below = torch.special.ndtr((self.Y - self.means) / self.variances.sqrt())
        return (self.log_weights.exp() * below).sum(0)

    @property
    def log_density(self) -> Tensor:
        """Logarithm of the predicted density of what was measured, shape ``n``."""
        return torch.logsumexp(self.log_weights + _log_normal(self.Y, self.means, self.variances), 0)

    def quality(self, metric: str) -> ModelQuality:
        """Return the summary."""
        total = float((self.Y - self.Y.mean()).square().sum())
        missed = float((self.Y - self.mean).square().sum())
        inside = (self.ranks >= _TAIL) & (self.ranks <= 1 - _TAIL)
        r2 = 1.0 - missed / total if total > 1e-12 else 0.0
        return ModelQuality(
            metric, r2, float(inside.double().mean()), float(self.log_density.mean()), len(self.Y)
        )


def leave_one_out(surrogate: Surrogate) -> LeftOut | None:
    """Return the predictions of a mixture of Gaussian processes; ``None`` for any other surrogate.

    Hyper-parameters are those fitted to all values. The members' weights are not: a member that predicts a
    value well only because it saw it is held to what it says without it.
    """
    if not isinstance(surrogate, AveragedGP):
        return None
    with torch.no_grad():
        each = [_closed_form(model) for model in surrogate.members]
    means, variances = torch.stack([m for m, _ in each]), torch.stack([v for _, v in each])
    Y = surrogate.train_targets
    logs = surrogate.log_weights.unsqueeze(-1) - _log_normal(Y, means, variances)
    return LeftOut(Y, means, variances, logs - torch.logsumexp(logs, 0))


def _closed_form(model: SingleTaskGP) -> tuple[Tensor, Tensor]:
    train = model.train_inputs[0]
    factor = cholesky(model.covar_module(train).to_dense() + torch.diag(model.likelihood.noise))
    inverse = torch.cholesky_inverse(factor)
    residual = model.train_targets - model.mean_module.constant
    variance = 1.0 / inverse.diagonal()
    return model.train_targets - (inverse @ residual) * variance, variance


def _log_normal(Y: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    return -0.5 * ((Y - means).square() / variances + variances.log() + math.log(2 * math.pi))


def _folds(fitted: Fitted, X: Tensor, series: Series, groups: Sequence[slice]) -> LeftOut:
    """Return the predictions of a surrogate without a closed form, fitted again without each tenth."""
    Y, Yvar, n = tensor(series.Y), tensor(series.Yvar), len(series.Y)
    fold = torch.from_numpy(np.random.default_rng(0).permutation(n) % min(n, _FOLDS))
    means, variances = torch.empty(1, n, dtype=Y.dtype), torch.empty(1, n, dtype=Y.dtype)
    for k in range(min(n, _FOLDS)):
        rest, out = fold != k, fold == k
        surrogate = fitted(X[rest], Y[rest].unsqueeze(-1), Yvar[rest].unsqueeze(-1), groups)
        mean, variance = surrogate.predict(X[out])
        means[0, out], variances[0, out] = mean, variance + surrogate.mean_noise
    return LeftOut(Y, means, variances, torch.zeros_like(means))


def model_quality(problem: Problem) -> dict[str, ModelQuality]:
    """Return by metric how well its model predicts each trial from the others.

    Returns:
        Metrics measured in fewer than :data:`LEAST` trials are left out, and so are those that never vary.
    """
    objective, encoder = problem.objective, Encoder(problem.space)
    data = read_history(problem.history, objective, problem.config.history)
    names = [goal.metric for goal in objective.goals] + [limit.metric for limit in objective.limits]
    fitted = surrogate_named(problem.config)
    result: dict[str, ModelQuality] = {}
    with one_thread(), torch.no_grad():
        X = tensor(encoder.configs(data.configs))
        for metric, series in zip(names, [*data.goals, *data.limits], strict=True):
            if metric in result or len(series.Y) < LEAST or not X.shape[1] or not series.Y.any():
                continue
            inside = X[torch.from_numpy(series.rows)]
            Y, Yvar = tensor(series.Y).unsqueeze(-1), tensor(series.Yvar).unsqueeze(-1)
            surrogate = fitted(inside, Y, Yvar, encoder.groups)
            found = leave_one_out(surrogate) or _folds(fitted, inside, series, encoder.groups)
            result[metric] = found.quality(metric)
    return result
