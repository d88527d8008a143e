"""Any model of BoTorch as a surrogate: ``surrogate: botorch:SingleTaskGP``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from botorch.exceptions.warnings import InputDataWarning
from botorch.fit import fit_fully_bayesian_model_nuts, fit_gpytorch_mll
from botorch.models.fully_bayesian import AbstractFullyBayesianSingleTaskGP
from botorch.models.gp_regression import SingleTaskGP
from botorch.models.gp_regression_mixed import MixedSingleTaskGP
from botorch.models.model import Model
from botorch.posteriors.gpytorch import GPyTorchPosterior
from botorch.utils.sampling import manual_seed
from gpytorch.mlls import ExactMarginalLogLikelihood
from linear_operator.utils.warnings import NumericalWarning
from torch import Tensor

from autotune.engine.gp.botorch_names import accepted, model_class
from autotune.engine.gp.model.candidate_table import CandidateTable
from autotune.engine.gp.model.conditioning import Believed
from autotune.engine.gp.model.contract import JointSamples, Moments, Surrogate
from autotune.engine.gp.model.fit import LEAST_NOISE
from autotune.engine.gp.model.joint_samples import SamplesOfMoments
from autotune.engine.gp.model.kernels import Groups
from autotune.engine.gp.model.shapes import check_shapes
from autotune.errors import SpecError

_CHUNK = 512  # points whose joint posterior is taken at once
_LEAST_VARIANCE = 1e-12
_WARMUP, _SAMPLES, _THINNING = 128, 64, 4  # of the No-U-Turn sampler: 16 members


class BotorchSurrogate(Surrogate):
    """A model of BoTorch fitted to one quantity; the models of an ensemble are its members.

    Args:
        name: Name of the model's class.
        X: Encoded configurations, ``n x d``.
        Y: Standardized values, ``n x 1``.
        Yvar: Measured variances on that scale, ``n x 1``; nan where none is known, and the model then learns
            its noise.
        groups: Columns of each parameter; those of a parameter with several are categories.

    Raises:
        LookupError: BoTorch has no such model.
        SpecError: It is for categories, and there are none.
    """

    def __init__(self, name: str, X: Tensor, Y: Tensor, Yvar: Tensor, groups: Groups | None = None) -> None:
        check_shapes("BotorchSurrogate", ("X", X, "n d"), ("Y", Y, "n 1"), ("Yvar", Yvar, "n 1"))
        self.X = X
        kind = model_class(name)
        categories = [i for g in groups or () if g.stop - g.start > 1 for i in range(g.start, g.stop)]
        if kind is MixedSingleTaskGP and not categories:
            raise SpecError("botorch:MixedSingleTaskGP needs a categorical parameter of three or more values")
        values = {"train_X": X, "train_Y": Y, "cat_dims": categories, "outcome_transform": None}
        if bool(torch.isfinite(Yvar).all()):
            values["train_Yvar"] = Yvar.clamp_min(LEAST_NOISE)
        with torch.enable_grad(), manual_seed(0), without_advice():
            self.model: Model = kind(**accepted(kind, values))
            _fit(self.model)
        self.model.requires_grad_(False).eval()
        members = len(self.each(X[:1])[0])
        self.log_weights = torch.full((members,), 1.0 / members, dtype=torch.float64).log()

    def each(self, X: Tensor) -> Moments:
        """Return the moments at ``X`` (``n x d``) by member, each of shape ``k x n``."""
        check_shapes("BotorchSurrogate.each", ("X", X, "n d"), d=self.X.shape[1])
        with torch.set_grad_enabled(X.requires_grad), without_advice():
            found = [self._moments(chunk) for chunk in X.split(_CHUNK)]
        return torch.cat([mean for mean, _ in found], 1), torch.cat([variance for _, variance in found], 1)

    def _moments(self, X: Tensor) -> Moments:
        if not len(X):
            nothing = torch.empty(len(self.log_weights), 0, dtype=torch.float64)
            return nothing, nothing
        posterior = cast("GPyTorchPosterior", self.model.posterior(X))
        mean, variance = (v.squeeze(-1).reshape(-1, len(X)) for v in (posterior.mean, posterior.variance))
        return mean.double(), variance.double().clamp_min(_LEAST_VARIANCE)

    def covariance(self, X: Tensor, A: Tensor) -> Tensor:
        """Return the posterior covariance of ``X`` (``n x d``) with ``A`` (``m x d``), ``k x n x m``."""
        check_shapes("BotorchSurrogate.covariance", ("X", X, "n d"), ("A", A, "m d"), d=self.X.shape[1])
        if not (len(X) and len(A)):
            return torch.zeros(len(self.log_weights), len(X), len(A), dtype=torch.float64)
        parts = []
        with torch.set_grad_enabled(X.requires_grad or A.requires_grad), without_advice():
            for chunk in X.split(_CHUNK):
                points = torch.cat([chunk, A])
                posterior = cast("GPyTorchPosterior", self.model.posterior(points))
                joint = posterior.distribution.covariance_matrix
                parts.append(joint.reshape(-1, len(points), len(points))[:, : len(chunk), len(chunk) :])
        return torch.cat(parts, 1).double()

    def noise(self) -> Tensor:
        """Return the variance of one more measurement beside the noise-free value, shape ``k``."""
        noise = cast("SingleTaskGP", self.model).likelihood.noise.detach().double()
        each = noise.reshape(len(self.log_weights), -1) if noise.numel() > 1 else noise.reshape(1, 1)
        return each.median(1).values.expand(len(self.log_weights))

    def on_grid(self, grid: CandidateTable, rows: Tensor, X_pending: Tensor) -> Moments:
        """Return the moments of some candidates by member, as the contract of a surrogate says."""
        check_shapes(
            "BotorchSurrogate.on_grid",
            ("rows", rows, "n"),
            ("X_pending", X_pending, "m d"),
            d=self.X.shape[1],
        )
        with torch.no_grad():
            posterior = Believed(self, X_pending)
            found = [posterior.each(grid.encode(chunk)) for chunk in rows.split(_CHUNK)]
        return torch.cat([mean for mean, _ in found], 1), torch.cat([variance for _, variance in found], 1)

    def joint_samples(self, X_pending: Tensor, seed: int) -> list[JointSamples]:
        """Return joint samples at the training points and at ``X_pending`` (``m x d``), by member."""
        check_shapes("BotorchSurrogate.joint_samples", ("X_pending", X_pending, "m d"), d=self.X.shape[1])
        points = torch.cat([self.X, X_pending])
        means, _ = self.each(points)
        covariances = self.covariance(points, points)
        return [
            SamplesOfMoments(mean, covariance, self._of_member(k, points), seed)
            for k, (mean, covariance) in enumerate(zip(means, covariances, strict=True))
        ]

    def _of_member(self, k: int, points: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
        def at(X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            means, variances = self.each(X)
            return means[k], variances[k], self.covariance(X, points)[k]

        return at


@contextmanager
def without_advice() -> Iterator[None]:
    """Keep back what the libraries advise of every fit and factor: jitter, roughly standardized values."""
    with warnings.catch_warnings():
        for category in (InputDataWarning, NumericalWarning):
            warnings.simplefilter("ignore", category)
        yield


def _fit(model: Model) -> None:
    """Fit a model's hyper-parameters by what BoTorch has for its kind."""
    if isinstance(model, AbstractFullyBayesianSingleTaskGP):
        fit_fully_bayesian_model_nuts(
            model, warmup_steps=_WARMUP, num_samples=_SAMPLES, thinning=_THINNING, disable_progbar=True
        )
    else:
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
