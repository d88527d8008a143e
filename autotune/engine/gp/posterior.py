"""Moments of a fitted process: exact, by one Cholesky factor, in chunks that stay in the cache."""

from __future__ import annotations

import torch
from botorch.models import SingleTaskGP
from torch import Tensor

from autotune.engine.gp.grid import Grid
from autotune.engine.gp.hyper import LEAST_NOISE

CHUNK = 4096
"""Rows at once: keeps the work in the processor's cache and memory bounded."""

_LEAST_VARIANCE = 1e-12
_ROUNDING = 1e-5  # of single precision in the variance, for standardized values

Moments = tuple[Tensor, Tensor]


def predict(model: SingleTaskGP, X: Tensor) -> Moments:
    """Return mean and variance of the noise-free value at ``X`` (``n x k``), each of shape ``n``."""
    with torch.no_grad():
        train = model.train_inputs[0]
        factor, weights = solved(model, train)
        means, variances = [], []
        for chunk in X.split(CHUNK):
            cross = model.covar_module(chunk, train).to_dense()
            half = torch.linalg.solve_triangular(factor, cross.mT, upper=False)
            means.append(model.mean_module(chunk) + cross @ weights)
            prior = model.covar_module(chunk, diag=True)
            variances.append((prior - half.square().sum(0)).clamp_min(_LEAST_VARIANCE))
        return torch.cat(means), torch.cat(variances)


def grid_moments(model: SingleTaskGP, grid: Grid, rows: Tensor, X_pending: Tensor) -> Moments:
    """Return mean and variance of some candidates, each of shape ``len(rows)``, in double precision.

    Computed in the grid's precision. The mean is by what was measured, the variance is what remains when the
    pending points (``m x k``) are known too.
    """
    with torch.no_grad():
        train = model.train_inputs[0]
        n = len(train)
        _, weights = solved(model, train)
        points = torch.cat([train, X_pending])
        noise = torch.cat([model.likelihood.noise, torch.full((len(X_pending),), LEAST_NOISE).to(train)])
        factor = cholesky(model.covar_module(points).to_dense() + torch.diag(noise))
        identity = torch.eye(len(points), dtype=train.dtype)
        inverse = torch.linalg.solve_triangular(factor, identity, upper=False).mT.contiguous().to(grid.dtype)
        covariance = model.covar_module.of_grid(grid, points)
        narrow, weights = grid.dtype == torch.float32, weights.to(grid.dtype)
        means, variances = [], []
        for chunk in rows.split(CHUNK):
            cross = covariance(chunk)
            means.append(cross[:, :n] @ weights)
            explained = torch.linalg.vector_norm(cross @ inverse, dim=1).square_()
            variances.append(explained.neg_().add_(model.covar_module.variance))
        mean = torch.cat(means).double() + float(model.mean_module.constant)
        return mean, torch.cat(variances).double().clamp_min_(_ROUNDING if narrow else _LEAST_VARIANCE)


def covariance(model: SingleTaskGP, X: Tensor, A: Tensor) -> Tensor:
    """Return the posterior covariance of the noise-free values at ``X`` (``n x k``) and ``A``, ``n x m``."""
    with torch.no_grad():
        train = model.train_inputs[0]
        factor, _ = solved(model, train)
        left = torch.linalg.solve_triangular(factor, model.covar_module(train, X).to_dense(), upper=False)
        right = torch.linalg.solve_triangular(factor, model.covar_module(train, A).to_dense(), upper=False)
        return model.covar_module(X, A).to_dense() - left.mT @ right


def solved(model: SingleTaskGP, train: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Cholesky factor of the noisy training covariance and what it makes of the residuals."""
    covariance = model.covar_module(train).to_dense()
    factor = cholesky(covariance + torch.diag(model.likelihood.noise))
    residual = (model.train_targets - model.mean_module(train)).unsqueeze(-1)
    return factor, torch.cholesky_solve(residual, factor).squeeze(-1)


def cholesky(matrix: Tensor) -> Tensor:
    """Return the lower Cholesky factor, with as little jitter as it takes."""
    scale = float(matrix.diagonal().mean())
    for power in range(-9, -2):
        factor, info = torch.linalg.cholesky_ex(
            matrix + torch.eye(len(matrix), dtype=matrix.dtype) * scale * 10.0**power
        )
        if not int(info):
            return factor
    raise ArithmeticError("the covariance of the trials is not positive definite")
