"""One exact Gaussian process over the encoded space.

References:
    [Hvarfner2024] C. Hvarfner, E. O. Hellsten, L. Nardi, "Vanilla Bayesian optimization performs great in
        high dimensions", ICML 2024: the log-normal prior of the length scales grows with the dimension.
    [Balandat2020] M. Balandat et al., "BoTorch", NeurIPS 2020.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.exceptions.warnings import BotorchWarning
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import MaternKernel, ScaleKernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood, GaussianLikelihood, Likelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import GammaPrior, LogNormalPrior
from linear_operator.utils.warnings import NumericalWarning
from torch import Tensor

_LEAST_NOISE = 1e-6  # of standardized values
_LEAST_LENGTH = 0.025  # shorter than one step of a finely graded parameter
_FIT_TOLERANCE = 1e-5  # relative gain in log likelihood per point: beyond it no suggestion changes
_CHUNK = 8192  # rows of the table at once: keeps the work in the processor's cache and memory bounded


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: matrices this small are slower on several, and trials need the others."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fit(X: Tensor, Y: Tensor, Yvar: Tensor, *, length_prior: LogNormalPrior | None = None) -> SingleTaskGP:
    """Fit a Matern-5/2 process with one length scale per column.

    The noise is the measured variance plus a learned one for what differs between launches; where nothing
    was measured, it is all learned.

    Args:
        X: Encoded configurations, ``n x d``.
        Y: Standardized values, ``n x 1``.
        Yvar: Measured variances on that scale, ``n x 1``; nan when none is known.
        length_prior: Of the length scales; by default the one of [Hvarfner2024].

    Returns:
        The model in evaluation mode.
    """
    d = X.shape[-1]
    prior = length_prior or LogNormalPrior(math.sqrt(2) + 0.5 * math.log(d), math.sqrt(3))
    kernel = MaternKernel(
        nu=2.5,
        ard_num_dims=d,
        lengthscale_prior=prior,
        lengthscale_constraint=GreaterThan(_LEAST_LENGTH, transform=None, initial_value=prior.mode),
    )
    covariance = ScaleKernel(
        kernel,
        outputscale_prior=GammaPrior(2.0, 1.0),
        outputscale_constraint=GreaterThan(1e-3, transform=None, initial_value=1.0),
    )
    model = SingleTaskGP(
        X, Y, likelihood=_likelihood(Yvar), covar_module=covariance.to(X), outcome_transform=None
    )
    likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BotorchWarning)  # retries of the optimizer are its own affair
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("ignore", NumericalWarning)
        with suppress(ModelFittingError):  # the start of the fit is a sensible model: the modes of the priors
            fit_gpytorch_mll(likelihood, optimizer_kwargs={"options": {"ftol": _FIT_TOLERANCE}})
    return model.eval()


def _likelihood(Yvar: Tensor) -> Likelihood:
    prior = LogNormalPrior(-4.0, 1.0)
    constraint = GreaterThan(_LEAST_NOISE, transform=None, initial_value=prior.mode)
    if torch.isnan(Yvar).any():
        return GaussianLikelihood(noise_prior=prior, noise_constraint=constraint).to(Yvar)
    likelihood = FixedNoiseGaussianLikelihood(
        noise=Yvar.squeeze(-1),
        learn_additional_noise=True,
        noise_prior=prior,
        noise_constraint=constraint,
    )
    return likelihood.to(Yvar)


def predict(model: SingleTaskGP, X: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of the noise-free value at ``X`` (``n x d``), each of shape ``n``.

    Computed with one Cholesky factor of the training covariance and triangular solves, in chunks: exact, and
    linear in the size of the table.
    """
    with torch.no_grad():
        train = model.train_inputs[0]
        factor, weights = _solved(model, train)
        means, variances = [], []
        for chunk in X.split(_CHUNK):
            cross = model.covar_module(chunk, train).to_dense()
            half = torch.linalg.solve_triangular(factor, cross.mT, upper=False)
            means.append(model.mean_module(chunk) + cross @ weights)
            prior = model.covar_module(chunk, diag=True)
            variances.append((prior - half.square().sum(0)).clamp_min(1e-12))
        return torch.cat(means), torch.cat(variances)


def _solved(model: SingleTaskGP, train: Tensor) -> tuple[Tensor, Tensor]:
    covariance = model.covar_module(train).to_dense()
    noisy = covariance + torch.diag(noise_of(model, train))
    factor = cholesky(noisy)
    residual = (model.train_targets - model.mean_module(train)).unsqueeze(-1)
    return factor, torch.cholesky_solve(residual, factor).squeeze(-1)


def noise_of(model: SingleTaskGP, train: Tensor) -> Tensor:
    """Return the noise variance of each training point, shape ``n``."""
    zeros = torch.zeros(train.shape[0], dtype=train.dtype)
    likelihood = model.likelihood
    if isinstance(likelihood, FixedNoiseGaussianLikelihood):
        return likelihood.noise.detach()
    return zeros + likelihood.noise.detach()


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
