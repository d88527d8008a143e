"""Gaussian processes averaged by their evidence: a surrogate of ours and a model of BoTorch's in one.

References:
    [Balandat2020] M. Balandat et al., "BoTorch", NeurIPS 2020.
    [Hoeting1999] J. A. Hoeting et al., "Bayesian model averaging: a tutorial", Statistical Science 14 (1999).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from botorch.acquisition.objective import PosteriorTransform
from botorch.models import SingleTaskGP
from botorch.models.model import FantasizeMixin, Model
from botorch.posteriors.gpytorch import GPyTorchPosterior
from botorch.posteriors.posterior import Posterior
from gpytorch.distributions import MultivariateNormal
from gpytorch.kernels import Kernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from torch import Tensor

from autotune.engine.gp.model.candidate_table import CandidateTable
from autotune.engine.gp.model.contract import JointSamples, Moments, Surrogate
from autotune.engine.gp.model.fit import LEAST_NOISE
from autotune.engine.gp.model.joint_samples import SamplesOfProcess
from autotune.engine.gp.model.posterior import covariance, grid_moments, predict
from autotune.engine.gp.model.shapes import check_shapes

_LEAST_WEIGHT = 0.03  # a member that explains the data this much worse changes no choice


class AveragedGP(Surrogate, Model, FantasizeMixin):
    """A mixture of Gaussian processes over the same data.

    As a model of BoTorch its posterior is the normal distribution with the mixture's mean and covariance, so
    that any acquisition function, sampler and optimizer of BoTorch takes it. Our own acquisition functions
    take the members one by one, which is exact.

    Args:
        models: The members in evaluation mode, with known noise.
        log_evidence: Their log evidence up to a common constant, shape ``len(models)``.

    Attributes:
        models: Those members that count; :attr:`members` is the same as a list.
        log_weights: Logarithms of their probabilities, shape ``len(models)``.
    """

    log_weights: Tensor

    def __init__(self, models: Sequence[SingleTaskGP], log_evidence: Sequence[float]) -> None:
        super().__init__()
        weights = torch.softmax(torch.tensor(log_evidence, dtype=torch.float64), 0)
        kept = weights >= _LEAST_WEIGHT
        self.models = torch.nn.ModuleList(m for m, keep in zip(models, kept.tolist(), strict=True) if keep)
        self.register_buffer("log_weights", (weights[kept] / weights[kept].sum()).log())
        self.eval()

    # -- as a surrogate --------------------------------------------------------------------------------

    def each(self, X: Tensor) -> Moments:
        """Return the moments at ``X`` (``n x d``) by process, each of shape ``k x n``."""
        check_shapes("AveragedGP.each", ("X", X, "n d"), d=self.dimension)
        return _stack([predict(model, X) for model in self.members])

    def covariance(self, X: Tensor, A: Tensor) -> Tensor:
        """Return the posterior covariance of ``X`` (``n x d``) with ``A`` (``m x d``), ``k x n x m``."""
        check_shapes("AveragedGP.covariance", ("X", X, "n d"), ("A", A, "m d"), d=self.dimension)
        return torch.stack([covariance(model, X, A) for model in self.members])

    def noise(self) -> Tensor:
        """Return the variance of one more measurement beside the noise-free value, shape ``k``."""
        return torch.stack([model.likelihood.noise.median() for model in self.members])

    def on_grid(self, grid: CandidateTable, rows: Tensor, X_pending: Tensor) -> Moments:
        """Return the moments of some candidates by process, as the contract of a surrogate says."""
        check_shapes(
            "AveragedGP.on_grid", ("rows", rows, "n"), ("X_pending", X_pending, "m d"), d=self.dimension
        )
        if grid.coarse:
            mean, variance = grid_moments(self.leading, grid, rows, X_pending)
            return mean.expand(len(self.models), -1), variance.expand(len(self.models), -1)
        return _stack([grid_moments(model, grid, rows, X_pending) for model in self.members])

    def joint_samples(self, X_pending: Tensor, seed: int) -> list[JointSamples]:
        """Return joint samples at the training points and at ``X_pending`` (``m x d``), by process."""
        check_shapes("AveragedGP.joint_samples", ("X_pending", X_pending, "m d"), d=self.dimension)
        return [SamplesOfProcess(model, X_pending, seed) for model in self.members]

    # -- as a model of BoTorch's -----------------------------------------------------------------------

    @property
    def num_outputs(self) -> int:
        """One: the quantity."""
        return 1

    @property
    def batch_shape(self) -> torch.Size:
        """Batch shape of the members; that of the fantasies after ``fantasize``."""
        shape: torch.Size = self.members[0].batch_shape
        return shape

    @property
    def likelihood(self) -> FixedNoiseGaussianLikelihood:
        """Noise of the leading member."""
        found: FixedNoiseGaussianLikelihood = self.leading.likelihood
        return found

    @property
    def members(self) -> list[SingleTaskGP]:
        """The processes."""
        return [model for model in self.models if isinstance(model, SingleTaskGP)]

    @property
    def leading(self) -> SingleTaskGP:
        """The member of the highest probability."""
        return self.members[int(self.log_weights.argmax())]

    @property
    def train_inputs(self) -> tuple[Tensor, ...]:
        """Encoded configurations, ``n x d``."""
        found: tuple[Tensor, ...] = self.members[0].train_inputs
        return found

    @property
    def dimension(self) -> int:
        """Number of columns of an encoded configuration."""
        return self.train_inputs[0].shape[-1]

    @property
    def train_targets(self) -> Tensor:
        """Standardized values, shape ``n``."""
        found: Tensor = self.members[0].train_targets
        return found

    def posterior(  # type: ignore[override] # BoTorch's two base classes differ as well
        self,
        X: Tensor,
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: PosteriorTransform | None = None,
    ) -> Posterior:
        """Return the normal distribution with the mixture's moments at ``X`` (``... x q x d``).

        Args:
            X: Encoded configurations.
            output_indices: Indices that are not used: there is one output.
            observation_noise: Whether a measurement's noise is in it, or the noise.
            posterior_transform: Transform applied to it.
        """
        check_shapes("AveragedGP.posterior", ("X", X, "... q d"), d=self.dimension)
        found = [model.posterior(X, observation_noise=observation_noise) for model in self.members]
        each = [cast("GPyTorchPosterior", posterior).distribution for posterior in found]
        if len(each) == 1:
            mixed = each[0]
        else:
            w = self.log_weights.exp().view(-1, *[1] * each[0].mean.ndim)
            means = torch.stack([e.mean for e in each])
            mean = (w * means).sum(0)
            apart = means - mean
            spread = torch.stack([e.covariance_matrix for e in each])
            spread = spread + apart.unsqueeze(-1) * apart.unsqueeze(-2)
            mixed = MultivariateNormal(mean, (w.unsqueeze(-1) * spread).sum(0))
        result = GPyTorchPosterior(mixed)
        return result if posterior_transform is None else posterior_transform(result)

    def condition_on_observations(
        self, X: Tensor, Y: Tensor, noise: Tensor | None = None, **kwargs: object
    ) -> AveragedGP:
        """Return the mixture after more measurements; the members keep their probabilities.

        Args:
            X: Encoded configurations, ``... x q x d``.
            Y: Standardized values, ``... x q x 1``.
            noise: Variances of their noise, shape of ``Y``; that of an average training point by default.
            kwargs: Options passed on to each member.
        """
        check_shapes(
            "AveragedGP.condition_on_observations", ("X", X, "... q d"), ("Y", Y, "... q 1"), d=self.dimension
        )
        if noise is None:
            noise = self.likelihood.noise.mean().expand(Y.shape)
        found = AveragedGP.__new__(AveragedGP)
        torch.nn.Module.__init__(found)
        found.models = torch.nn.ModuleList()
        for model in self.members:
            model.posterior(X)  # fills the caches that conditioning extends
            found.models.append(model.condition_on_observations(X=X, Y=Y, noise=noise, **kwargs))
        found.register_buffer("log_weights", self.log_weights)
        return found.eval()


def process(X: Tensor, Y: Tensor, Yvar: Tensor, kernel: Kernel, noise: float, mean: float) -> SingleTaskGP:
    """Return a process with fitted hyper-parameters, in evaluation mode.

    Args:
        X: Encoded configurations, ``n x d``.
        Y: Standardized values, ``n x 1``.
        Yvar: Measured variances on that scale, ``n x 1``; nan where none is known.
        kernel: Prior covariance.
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


def _stack(found: Sequence[Moments]) -> Moments:
    """Return the moments of several processes as one pair, members first."""
    return torch.stack([mean for mean, _ in found]), torch.stack([variance for _, variance in found])
