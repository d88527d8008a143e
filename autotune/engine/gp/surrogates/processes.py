"""Surfaces whose members are exact Gaussian processes with any kernel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from botorch.models import SingleTaskGP
from gpytorch.kernels import Kernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from torch import Tensor

from autotune.engine.gp.acquisition import noisy_improvement
from autotune.engine.gp.grid import Grid
from autotune.engine.gp.hyper import LEAST_NOISE
from autotune.engine.gp.posterior import Moments, covariance, grid_moments, predict
from autotune.engine.gp.surrogates.mixture import Mixture

_LEAST_WEIGHT = 0.03  # a member that explains the data this much worse changes no choice


class Processes(Mixture):
    """Hold Gaussian processes that are averaged by how well they explain the data.

    Args:
        models: In evaluation mode.
        log_evidence: Of each of them, up to a common constant.

    Attributes:
        models: Those that count.
        log_weights: Logarithms of their probabilities, shape ``len(models)``.
    """

    def __init__(self, models: Sequence[SingleTaskGP], log_evidence: Sequence[float]) -> None:
        weights = torch.softmax(torch.tensor(log_evidence, dtype=torch.float64), 0)
        kept = weights >= _LEAST_WEIGHT
        self.models = [model for model, keep in zip(models, kept.tolist(), strict=True) if keep]
        self.log_weights = (weights[kept] / weights[kept].sum()).log()

    def each(self, X: Tensor) -> Moments:
        """Return the moments at ``X`` (``n x d``) by process, each of shape ``k x n``."""
        return stack([predict(model, X) for model in self.models])

    def covariance(self, X: Tensor, A: Tensor) -> Tensor:
        """Return the posterior covariance of ``X`` (``n x d``) with ``A`` (``m x d``), ``k x n x m``."""
        return torch.stack([covariance(model, X, A) for model in self.models])

    def noise(self) -> Tensor:
        """Return the variance of one more measurement beside the noise-free value, shape ``k``."""
        return torch.stack([model.likelihood.noise.median() for model in self.models])

    def on_grid(self, grid: Grid, rows: Tensor, X_pending: Tensor) -> Moments:
        """Return the moments of some candidates by process, as the contract of a surface says."""
        if grid.coarse:
            lead = self.models[int(self.log_weights.argmax())]
            mean, variance = grid_moments(lead, grid, rows, X_pending)
            return mean.expand(len(self.models), -1), variance.expand(len(self.models), -1)
        return stack([grid_moments(model, grid, rows, X_pending) for model in self.models])

    def log_improvement(
        self, X: Tensor, X_pending: Tensor, eligible: Tensor, *, seed: int, floor: float
    ) -> Tensor:
        """Return the log noisy expected improvement at ``X`` (``n x d``), shape ``n``.

        The other arguments are those of :class:`autotune.engine.gp.acquisition.NoisyImprovement`.
        """
        each = [noisy_improvement(m, X_pending, eligible, seed, floor)(X) for m in self.models]
        return self.mix(torch.stack(each))


def process(X: Tensor, Y: Tensor, Yvar: Tensor, kernel: Kernel, noise: float, mean: float) -> SingleTaskGP:
    """Return a process with fitted hyper-parameters, in evaluation mode.

    Args:
        X: Encoded configurations, ``n x d``.
        Y: Standardized values, ``n x 1``.
        Yvar: Measured variances on that scale, ``n x 1``; nan where none is known.
        kernel: The prior covariance.
        noise: Variance that was not measured.
        mean: Constant mean.
    """
    likelihood = FixedNoiseGaussianLikelihood(noise=total_noise(Yvar) + noise)
    model = SingleTaskGP(X, Y, likelihood=likelihood, covar_module=kernel, outcome_transform=None)
    model.mean_module.constant.data.fill_(mean)
    return model.requires_grad_(False).eval()


def total_noise(Yvar: Tensor) -> Tensor:
    """Return the known variance of each value, at least what keeps a covariance invertible, shape ``n``."""
    return torch.nan_to_num(Yvar.squeeze(-1), nan=0.0) + LEAST_NOISE


class EncodedKernel(Kernel):
    """Say what a kernel is on a grid where it is no sum over parameters: candidates are encoded in chunks."""

    def of_grid(self, grid: Grid, X: Tensor) -> EncodedCovariance:
        """Return the covariance of a grid's candidates with the points ``X`` (``n x k``)."""
        return EncodedCovariance(self, grid, X)


class EncodedCovariance:
    """Compute rows of the covariance of a grid with some points, in the grid's precision.

    Args:
        kernel: The covariance.
        grid: The candidates.
        X: The points, ``n x k``.
    """

    def __init__(self, kernel: Kernel, grid: Grid, X: Tensor) -> None:
        self.kernel, self.grid, self.X = kernel, grid, X.to(grid.dtype)

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the covariance of some candidates with the points, ``len(rows) x n``."""
        return self.kernel.forward(self._encoded(rows), self.X)

    def prior(self, rows: Tensor) -> Tensor:
        """Return the prior variance of some candidates, shape ``len(rows)``."""
        X = self._encoded(rows)
        return self.kernel.forward(X, X, diag=True)

    def _encoded(self, rows: Tensor) -> Tensor:
        return self.grid.encode(rows).to(self.grid.dtype)


def stack(found: Sequence[Moments]) -> Moments:
    """Return the moments of several processes as one pair, members first."""
    return torch.stack([mean for mean, _ in found]), torch.stack([variance for _, variance in found])
