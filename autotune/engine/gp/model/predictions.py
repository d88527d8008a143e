"""What the surrogates predict of each measured configuration from all the others, for the study's decision.

The search picks the luckiest measurements: the best that stay just below every limit. A prediction that
leaves a configuration's own launches out is what draws them back; :mod:`autotune.core.decision` weighs both.

References:
    [Rasmussen2006] C. E. Rasmussen, C. K. I. Williams, "Gaussian Processes for Machine Learning", 2006,
        section 5.4.2, for one row; for several rows of one configuration the same with blocks of the inverse.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from botorch.models import SingleTaskGP
from torch import Tensor

from autotune.core.decision import Predictions
from autotune.core.trial import config_key
from autotune.engine.gp.model.averaged_gp import AveragedGP
from autotune.engine.gp.model.fitted_models import FittedModels, Modelled
from autotune.engine.gp.model.one_thread import one_thread
from autotune.engine.gp.model.posterior import cholesky
from autotune.engine.gp.problem import Problem


def predictions(problem: Problem) -> Predictions | None:
    """Return what is predicted of each measured configuration from all others, by key.

    Returns:
        ``None`` with too few measurements, or from a surrogate without a closed form.
    """
    goals = [goal.metric for goal in problem.objective.goals]
    complete = [t for t in problem.completed if all(name in t.metrics for name in goals)]
    if len({t.key for t in complete}) < problem.config.predicted_from or not problem.space.names:
        return None
    with one_thread(), torch.no_grad():
        models = FittedModels(problem, np.random.default_rng(0))
        keys = [config_key(config) for config in models.data.configs]
        limits = dict(zip(map(str, models.limited), models.limits, strict=True))
        bound = [limit for limit in problem.objective.limits if not limit.relative]
        each = [*models.goals, *(limits.get(str(limit)) for limit in bound)]
        found = [{} if modelled is None else left_out(modelled, keys) for modelled in each]
    nothing = (float("nan"), float("nan"))
    return {key: [known.get(key, nothing) for known in found] for key in dict.fromkeys(keys)}


def left_out(modelled: Modelled, keys: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return mean and variance of the noise-free value by key, in the units of the series."""
    if not isinstance(modelled.surrogate, AveragedGP):
        return {}
    series = modelled.series
    blocks: dict[str, list[int]] = {}
    for place, row in enumerate(series.rows.tolist()):
        blocks.setdefault(keys[row], []).append(place)
    members = [_member(model, list(blocks.values())) for model in modelled.surrogate.members]
    means, variances, densities = (torch.stack(parts) for parts in zip(*members, strict=True))
    logs = modelled.surrogate.log_weights.unsqueeze(-1) - densities
    weights = torch.softmax(logs, 0)
    mean = (weights * means).sum(0)
    variance = (weights * (variances + (means - mean).square())).sum(0)
    mean, variance = mean * series.scale + series.shift, variance * series.scale**2
    return dict(zip(blocks, zip(mean.tolist(), variance.tolist(), strict=True), strict=True))


def _member(model: SingleTaskGP, blocks: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, variance of the noise-free value and log density of what was measured, by block."""
    train = model.train_inputs[0]
    noise = model.likelihood.noise
    factor = cholesky(model.covar_module(train).to_dense() + torch.diag(noise))
    inverse = torch.cholesky_inverse(factor)
    residual = model.train_targets - model.mean_module.constant
    weights = inverse @ residual
    means, variances, densities = [], [], []
    for block in blocks:
        rows = torch.tensor(block)
        covariance = torch.linalg.inv(inverse[rows][:, rows])
        covariance = 0.5 * (covariance + covariance.mT)
        off = covariance @ weights[rows]
        means.append((model.train_targets[rows] - off).mean())
        variances.append((covariance.diagonal() - noise[rows]).mean().clamp_min(0.0))
        density = -0.5 * (off @ weights[rows] + torch.logdet(2 * torch.pi * covariance))
        densities.append(density.nan_to_num(0.0))
    return torch.stack(means), torch.stack(variances), torch.stack(densities)
