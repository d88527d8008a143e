"""What a measured quantity is over the encoded space: exact Gaussian processes, averaged over structures.

No single structure wins: with few points smooth, additive and interacting surfaces look alike. So one process
of each is fitted and they are averaged by how well they explain the data; with more points one of them leads.

References:
    [Balandat2020] M. Balandat et al., "BoTorch", NeurIPS 2020.
    [Hoeting1999] J. A. Hoeting et al., "Bayesian model averaging: a tutorial", Statistical Science 14 (1999).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from botorch.models import SingleTaskGP
from botorch.utils.probability.utils import log_ndtr
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from torch import Tensor

from autotune.engine.gp.acquisition import NoisyImprovement
from autotune.engine.gp.grid import Grid
from autotune.engine.gp.hyper import ADDITIVE, JOINT, LEAST_NOISE, RUGGED, Structure, fit_hyper
from autotune.engine.gp.kernels import Groups, MaternSum
from autotune.engine.gp.posterior import Moments, covariance, grid_moments, predict

STRUCTURES = (JOINT, ADDITIVE, RUGGED)
_LEAST_WEIGHT = 0.03  # a structure that explains the data this much worse changes no choice


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: matrices this small are slower on several, and trials need the others."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fit(
    X: Tensor, Y: Tensor, Yvar: Tensor, groups: Groups | None = None, structure: Structure = JOINT
) -> SingleTaskGP:
    """Fit one process.

    The noise is the measured variance plus a learned one for what differs between launches.

    Args:
        X: Encoded configurations, ``n x k``.
        Y: Standardized values, ``n x 1``.
        Yvar: Measured variances on that scale, ``n x 1``; nan where none is known.
        groups: Columns of each parameter; by default each column is one.
        structure: What is believed beforehand.

    Returns:
        The model in evaluation mode.
    """
    return _fit(X, Y, Yvar, groups or _single(X), structure)[0]


def _single(X: Tensor) -> Groups:
    return [slice(i, i + 1) for i in range(X.shape[-1])]


def _fit(
    X: Tensor, Y: Tensor, Yvar: Tensor, groups: Groups, structure: Structure
) -> tuple[SingleTaskGP, float]:
    squares = torch.stack([torch.cdist(X[:, g], X[:, g]).square() for g in groups])
    hyper = fit_hyper(squares.numpy(), Y.squeeze(-1).numpy(), Yvar.squeeze(-1).numpy(), structure)
    noise = torch.nan_to_num(Yvar.squeeze(-1), nan=0.0) + hyper.noise + LEAST_NOISE
    likelihood = FixedNoiseGaussianLikelihood(noise=noise)
    kernel = MaternSum(hyper, groups)
    model = SingleTaskGP(X, Y, likelihood=likelihood, covar_module=kernel, outcome_transform=None)
    model.mean_module.constant.data.fill_(hyper.mean)
    return model.requires_grad_(False).eval(), hyper.log_evidence


class Surrogate:
    """Hold one quantity as a mixture of processes.

    Args:
        X: Encoded configurations, ``n x k``.
        Y: Standardized values, ``n x 1``.
        Yvar: Measured variances on that scale, ``n x 1``; nan where none is known.
        groups: Columns of each parameter.
        structures: What may be believed beforehand.

    Attributes:
        models: The processes that count, in the order of ``structures``.
        log_weights: Logarithms of their probabilities, shape ``len(models)``.
    """

    def __init__(
        self,
        X: Tensor,
        Y: Tensor,
        Yvar: Tensor,
        groups: Groups | None = None,
        structures: Sequence[Structure] = STRUCTURES,
    ) -> None:
        fitted = [_fit(X, Y, Yvar, groups or _single(X), structure) for structure in structures]
        weights = torch.softmax(torch.tensor([evidence for _, evidence in fitted], dtype=X.dtype), 0)
        kept = weights >= _LEAST_WEIGHT
        self.models = [model for (model, _), keep in zip(fitted, kept, strict=True) if keep]
        self.log_weights = (weights[kept] / weights[kept].sum()).log()

    def predict(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the noise-free value at ``X`` (``n x k``), each of shape ``n``."""
        means, variances = self.each(X)
        w = self.log_weights.exp().unsqueeze(-1)
        mean = (w * means).sum(0)
        return mean, (w * (variances + (means - mean).square())).sum(0)

    def each(self, X: Tensor) -> Moments:
        """Return the moments at ``X`` (``n x k``) by process, each of shape ``len(models) x n``."""
        return _stack([predict(model, X) for model in self.models])

    def on_grid(self, grid: Grid, rows: Tensor, X_pending: Tensor) -> Moments:
        """Return the moments of some candidates by process, each of shape ``len(models) x len(rows)``.

        Args:
            grid: The candidates.
            rows: Which of them.
            X_pending: Points whose values will be known, ``m x k``: they lower the variance around them.
        """
        return _stack([grid_moments(model, grid, rows, X_pending) for model in self.models])

    def covariance(self, X: Tensor, A: Tensor) -> Tensor:
        """Return the posterior covariance of ``X`` (``n x k``) with ``A`` (``m x k``) by process."""
        return torch.stack([covariance(model, X, A) for model in self.models])

    def noise(self) -> Tensor:
        """Return the variance of one more measurement beside the noise-free value, by process."""
        return torch.stack([model.likelihood.noise.median() for model in self.models])

    def mix(self, logs: Tensor) -> Tensor:
        """Return the logarithm of the average of what has one logarithm per process (first dimension)."""
        return torch.logsumexp(logs + self.log_weights.unsqueeze(-1), 0)

    def log_probability_below(self, moments: Moments, bound: float) -> Tensor:
        """Return ``log P(value <= bound)`` from the moments of ``n`` points by process, shape ``n``."""
        means, variances = moments
        return self.mix(log_ndtr((bound - means) / variances.sqrt()))

    def log_improvement(
        self, X: Tensor, X_pending: Tensor, eligible: Tensor, *, seed: int, floor: float
    ) -> Tensor:
        """Return the log noisy expected improvement at ``X`` (``n x k``), shape ``n``.

        The other arguments are those of :class:`NoisyImprovement`.
        """
        each = [NoisyImprovement(m, X_pending, eligible, seed=seed, floor=floor)(X) for m in self.models]
        return self.mix(torch.stack(each))


def _stack(found: Sequence[Moments]) -> Moments:
    return torch.stack([mean for mean, _ in found]), torch.stack([variance for _, variance in found])
