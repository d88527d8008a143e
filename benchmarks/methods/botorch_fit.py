"""The averaged structures of ``gp`` with hyper-parameters fitted by BoTorch, beside our own fit of the same.

The density is the same, and so are start and bounds: what differs is who maximizes it. Ours has the gradient
in closed form, BoTorch's differentiates a GPyTorch model. Failures and outliers are modelled by our fit in
both.
"""

from __future__ import annotations

import numpy as np
import torch
from botorch import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from gpytorch.constraints import Interval
from gpytorch.kernels import Kernel
from gpytorch.means import ConstantMean
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import NormalPrior
from torch import Tensor

from autotune.engine.gp.choices import Structure
from autotune.engine.gp.config import GPConfig
from autotune.engine.gp.model.fit import LEAST_NOISE, Array, Hyper, HyperPosterior
from autotune.engine.gp.model.surrogates import Fitted, fitted_by


class LearnedMatern(Kernel):
    """The covariance of numbered points, noise that was not measured included.

    Args:
        squares: Squared distances of the points in each parameter, ``d x n x n``.
        density: Density of the hyper-parameters: its priors, start and bounds.
    """

    def __init__(self, squares: Tensor, density: HyperPosterior) -> None:
        super().__init__()
        self.squares, self.part_length = squares, density.structure.part_length
        start, spread = torch.from_numpy(density.start), torch.from_numpy(density.spread)
        low, high = torch.tensor(density.bounds, dtype=torch.float64).T
        self.register_parameter("theta", torch.nn.Parameter(start.clone()))
        self.register_constraint("theta", Interval(low, high, transform=None))
        self.register_prior("theta_prior", NormalPrior(start, spread), _theta_of, _set_theta)

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: object) -> Tensor:
        """Return the covariance of points by number (``n x 1`` and ``m x 1``), or its diagonal."""
        d = len(self.squares)
        row, column = x1[:, 0].long(), x2[:, 0].long()
        squares = self.squares[:, row][:, :, column]
        joint = torch.einsum("d,dnm->nm", (-2.0 * self.theta[:d]).exp(), squares)
        total = self.theta[d].exp() * _matern(joint)
        for log_variance, square in zip(self.theta[d + 2 :], squares, strict=False):
            total = total + log_variance.exp() * _matern(square / self.part_length**2)
        total = total + self.theta[d + 1].exp() * (row[:, None] == column)
        return total.diagonal() if diag else total


def _theta_of(kernel: LearnedMatern) -> Tensor:
    return kernel.theta


def _set_theta(kernel: LearnedMatern, value: Tensor) -> None:
    kernel.initialize(theta=value)


def _matern(squares: Tensor) -> Tensor:
    r = (5.0 * squares).clamp_min(1e-20).sqrt()
    return (1.0 + r + r.square() / 3.0) * torch.exp(-r)


def fit_by_botorch(squares: Array, y: Array, yvar: Array, structure: Structure) -> Hyper:
    """Return the hyper-parameters that :func:`botorch.fit_gpytorch_mll` finds.

    Args:
        squares: Squared distances of the points in each parameter, ``d x n x n``.
        y: Standardized values, shape ``n``.
        yvar: Variances of their measuring errors; nan where unknown, shape ``n``.
        structure: Structure with its priors.
    """
    known = np.where(np.isfinite(yvar), yvar, 0.0)
    density = HyperPosterior(squares, y, known, structure)
    with torch.enable_grad():
        kernel = LearnedMatern(torch.from_numpy(squares), density)
        model = SingleTaskGP(
            torch.arange(len(y), dtype=torch.float64).unsqueeze(-1),
            torch.from_numpy(y).unsqueeze(-1),
            torch.from_numpy(known + LEAST_NOISE).unsqueeze(-1),
            mean_module=ConstantMean(constant_prior=NormalPrior(0.0, 1.0)),
            covar_module=kernel,
            outcome_transform=None,
        )
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    theta = kernel.theta.detach().numpy()
    value, _ = density(theta)
    return density.read(theta, -value)


def averaged(config: GPConfig) -> Fitted:
    """Return what fits processes of each of the priors by BoTorch."""
    return fitted_by(fit_by_botorch, config)
