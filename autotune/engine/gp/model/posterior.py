"""Moments of a fitted process: exact, by one Cholesky factor, in chunks that stay in the cache."""

from __future__ import annotations

from functools import lru_cache

import torch
from botorch.models import SingleTaskGP
from torch import Tensor

from autotune.engine.gp.model.candidate_table import CandidateTable
from autotune.engine.gp.model.fit import LEAST_NOISE

CHUNK = 4096
"""Rows at once: keeps the work in the processor's cache and memory bounded."""

ROUGH = 256
"""Trials that a table is ranked by; the best of it are compared by all."""

SIFTED = 32
"""Trials that a large table is sifted by before it is ranked."""

_LEAST_VARIANCE = 1e-12
_MODELS = 64  # of one ask; what is kept of them is forgotten at its end
_ROUNDING = 1e-5  # of single precision in the variance, for standardized values

Moments = tuple[Tensor, Tensor]


def predict(model: SingleTaskGP, X: Tensor) -> Moments:
    """Return mean and variance of the noise-free value at ``X`` (``n x k``), each of shape ``n``."""
    train = model.train_inputs[0]
    if not X.requires_grad and X.shape == train.shape and torch.equal(X, train):
        return _at_training(model)
    with torch.set_grad_enabled(X.requires_grad):
        factor, weights = solved(model)
        means, variances = [], []
        for chunk in X.split(CHUNK):
            cross = model.covar_module(chunk, train).to_dense()
            half = torch.linalg.solve_triangular(factor, cross.mT, upper=False)
            means.append(model.mean_module.constant + cross @ weights)
            prior = model.covar_module(chunk, diag=True)
            variances.append((prior - half.square().sum(0)).clamp_min(_LEAST_VARIANCE))
        return torch.cat(means), torch.cat(variances)


@lru_cache(maxsize=_MODELS)  # asked for by everything that needs the incumbent
def _at_training(model: SingleTaskGP) -> Moments:
    """Return mean and variance of the noise-free values at the training points, each of shape ``n``."""
    with torch.no_grad():
        factor, weights = solved(model)
        prior = prior_covariance(model)
        half = torch.linalg.solve_triangular(factor, prior, upper=False)
        mean = model.mean_module.constant + prior @ weights
        return mean, (prior.diagonal() - half.square().sum(0)).clamp_min(_LEAST_VARIANCE)


def grid_moments(model: SingleTaskGP, grid: CandidateTable, rows: Tensor, X_pending: Tensor) -> Moments:
    """Return mean and variance of some candidates, each of shape ``len(rows)``, in double precision.

    Computed in the grid's precision, after a long study from the best of what was measured and an even part
    of the rest: that ranks a table. The mean is by what was measured, the variance is what remains when the
    pending points (``m x k``) are known too.
    """
    with torch.no_grad():
        rows_kept = leading(model.train_targets, SIFTED if grid.coarse else ROUGH)
        train, noise = model.train_inputs[0][rows_kept], model.likelihood.noise[rows_kept]
        n = len(train)
        weights = _weights(model, rows_kept)
        points = torch.cat([train, X_pending])
        noise = torch.cat([noise, torch.full((len(X_pending),), LEAST_NOISE).to(train)])
        factor = cholesky(covariance_of(model, rows_kept, X_pending) + torch.diag(noise))
        identity = torch.eye(len(points), dtype=train.dtype)
        inverse = torch.linalg.solve_triangular(factor, identity, upper=False).mT.contiguous().to(grid.dtype)
        covariance = model.covar_module.of_grid(grid, points)
        narrow, weights = grid.dtype == torch.float32, weights.to(grid.dtype)
        means, variances = [], []
        for chunk in rows.split(CHUNK):
            cross = covariance(chunk)
            means.append(cross[:, :n] @ weights)
            explained = torch.linalg.vector_norm(cross @ inverse, dim=1).square_()
            variances.append(explained.neg_().add_(covariance.prior(chunk)))
        mean = torch.cat(means).double() + float(model.mean_module.constant)
        return mean, torch.cat(variances).double().clamp_min_(_ROUNDING if narrow else _LEAST_VARIANCE)


def leading(targets: Tensor, most: int) -> Tensor:
    """Return at most that many rows, ascending: the half with the best values, the others spread evenly."""
    n = len(targets)
    if n <= most:
        return torch.arange(n)
    order = targets.argsort(descending=True)
    best, rest = order[: most // 2], order[most // 2 :].sort().values
    spread = rest[torch.linspace(0, len(rest) - 1, most - len(best)).round().long()]
    return torch.cat([best, spread]).sort().values


def _weights(model: SingleTaskGP, rows: Tensor) -> Tensor:
    """Return what the factor of some training points makes of their residuals, shape ``len(rows)``."""
    covariance = prior_covariance(model)[rows][:, rows] + torch.diag(model.likelihood.noise[rows])
    residual = model.train_targets[rows] - model.mean_module.constant
    return torch.cholesky_solve(residual.unsqueeze(-1), cholesky(covariance)).squeeze(-1)


def covariance(model: SingleTaskGP, X: Tensor, A: Tensor) -> Tensor:
    """Return the posterior covariance of the noise-free values at ``X`` (``n x k``) and ``A``, ``n x m``."""
    with torch.set_grad_enabled(X.requires_grad or A.requires_grad):
        train = model.train_inputs[0]
        factor, _ = solved(model)
        left = torch.linalg.solve_triangular(factor, model.covar_module(train, X).to_dense(), upper=False)
        right = torch.linalg.solve_triangular(factor, model.covar_module(train, A).to_dense(), upper=False)
        return model.covar_module(X, A).to_dense() - left.mT @ right


@lru_cache(maxsize=_MODELS)  # models do not change once they are fitted
def prior_covariance(model: SingleTaskGP) -> Tensor:
    """Return the covariance of the noise-free values at the training points, ``n x n``."""
    with torch.no_grad():
        found: Tensor = model.covar_module(model.train_inputs[0]).to_dense()
        return found


def forget_models() -> None:
    """Drop the matrices kept of models (``n x n`` each): the next ask fits its own."""
    for kept in (_at_training, prior_covariance, solved):
        kept.cache_clear()


def covariance_of(model: SingleTaskGP, rows: Tensor, X_pending: Tensor) -> Tensor:
    """Return the prior covariance of some training points and pending ones (``m x k``), in this order."""
    own = prior_covariance(model)[rows][:, rows]
    if not len(X_pending):
        return own
    cross = model.covar_module(model.train_inputs[0][rows], X_pending).to_dense()
    among = model.covar_module(X_pending).to_dense()
    return torch.cat([torch.cat([own, cross], 1), torch.cat([cross.mT, among], 1)])


@lru_cache(maxsize=_MODELS)
def solved(model: SingleTaskGP) -> tuple[Tensor, Tensor]:
    """Return the Cholesky factor of the noisy training covariance and what it makes of the residuals."""
    factor = cholesky(prior_covariance(model) + torch.diag(model.likelihood.noise))
    residual = (model.train_targets - model.mean_module.constant).unsqueeze(-1)
    return factor, torch.cholesky_solve(residual, factor).squeeze(-1)


def cholesky(matrix: Tensor) -> Tensor:
    """Return the lower Cholesky factor, with as little jitter as it takes."""
    diagonal = matrix.diagonal()
    scale, jittered = float(diagonal.mean()), matrix.clone()
    for power in range(-9, -2):
        jittered.diagonal().copy_(diagonal + scale * 10.0**power)
        factor, info = torch.linalg.cholesky_ex(jittered)
        if not int(info):
            return factor
    raise ArithmeticError("the covariance of the trials is not positive definite")
