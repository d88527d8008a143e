"""Hyper-parameters of any differentiable covariance, by their posterior density.

References:
    [Rasmussen2006] C. E. Rasmussen, C. K. I. Williams, "Gaussian Processes for Machine Learning", 2006:
        equations 2.30 and 2.42.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined] # public, and not in its __all__

_REFUSED = 1e10  # the line search steps back from it


def log_marginal(covariance: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log density of the data, up to a constant, and the most probable constant mean.

    The mean has a standard normal prior and is replaced by its most probable value.

    Args:
        covariance: Covariance of the values, noise included, ``n x n``.
        y: Standardized values, shape ``n``.

    Raises:
        torch.linalg.LinAlgError: The covariance is not positive definite.
    """
    factor = torch.linalg.cholesky(covariance)
    half = torch.linalg.solve_triangular(
        factor, torch.stack([y, torch.ones_like(y)], -1), upper=False
    )  # of the values, and of a constant
    mean = (half[:, 0] @ half[:, 1]) / (half[:, 1].square().sum() + 1.0)
    residual = half[:, 0] - mean * half[:, 1]
    log_density = -0.5 * residual.square().sum() - factor.diagonal().log().sum() - 0.5 * mean.square()
    return log_density, mean


def maximize(
    log_posterior: Callable[[Tensor], Tensor], start: Tensor, bounds: Tensor, steps: int
) -> tuple[Tensor, float]:
    """Return where a log density is highest, and its value there.

    Args:
        log_posterior: Log posterior of hyper-parameters of shape ``p``.
        start: Point to begin at, shape ``p``.
        bounds: Lowest and highest value of each, ``p x 2``.
        steps: Largest number of steps of the optimizer.
    """

    def negative(theta: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        with torch.enable_grad():
            point = torch.from_numpy(theta.copy()).requires_grad_()
            try:
                value = -log_posterior(point)
            except LinAlgError:
                return _REFUSED, np.zeros_like(theta)
            (gradient,) = torch.autograd.grad(value, point)
        return float(value.detach()), gradient.numpy()

    found = minimize(
        negative, start.numpy(), jac=True, method="L-BFGS-B",
        bounds=[(low, high) for low, high in bounds.tolist()],
        options={"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-6},
    )  # fmt: skip
    return torch.from_numpy(np.asarray(found.x)), -float(found.fun)
