"""Functions sampled from the posterior of each metric: what a model believes over the whole space.

A joint sample at thousands of configurations needs no matrix of that size: a function is drawn from the prior
as a sum of random cosines ([Rahimi2007]) and corrected by what was measured ([Wilson2020], Matheron's rule).
Hyper-parameters are drawn too: few trials say as little of them as of the values.
The spectral density of a Matern-5/2 covariance is Student's t with five degrees of freedom.

References:
    [Rahimi2007] A. Rahimi, B. Recht, "Random features for large-scale kernel machines", NIPS 2007.
    [Wilson2020] J. T. Wilson et al., "Efficiently sampling functions from Gaussian process posteriors", ICML
        2020.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from botorch.models import SingleTaskGP
from torch import Tensor

from autotune.engine.gp.model.averaged_gp import AveragedGP, process
from autotune.engine.gp.model.conditioning import Sampled, shares
from autotune.engine.gp.model.contract import Surrogate
from autotune.engine.gp.model.fit import FIT_MOST, LEAST_NOISE, hyper_samples
from autotune.engine.gp.model.kernels import MaternSum, squared_distances
from autotune.engine.gp.model.posterior import CHUNK, leading, solved
from autotune.engine.gp.model.shapes import check_shapes

Functions: TypeAlias = Callable[[Tensor], Tensor]
"""Values of ``s`` sampled functions at points (``n x d``), ``s x n``."""

_TOGETHER = 4  # functions that share their hyper-parameters
_JOINT = 256  # cosines of the part of all parameters
_ALONE = 32  # cosines of the part of each parameter alone
_DEGREES = 5  # of freedom of the spectral density of a Matern-5/2 covariance


def sampled_functions(surrogate: Surrogate, n: int, seed: int, points: Tensor) -> Functions:
    """Return functions sampled from the posterior of the noise-free value, standardized.

    Args:
        surrogate: The surrogate.
        n: Number of functions; each member of the mixture gives its share.
        seed: Seed of the draws.
        points: Points spread over the space, ``m x d``: a surrogate that is not ours is sampled at these and
            takes its expected values between them.
    """
    check_shapes("sampled_functions", ("points", points, "m d"))
    members = surrogate.members if isinstance(surrogate, AveragedGP) else []
    if not members or not all(isinstance(each.covar_module, MaternSum) for each in members):
        sampled = Sampled(surrogate, points, surrogate.log_weights, n, seed)
        return lambda X: sampled.moments(X)[0]
    generator = torch.Generator().manual_seed(seed)
    member = shares(surrogate.log_weights, n, seed)
    parts = []
    for k, each in enumerate(members):
        mine = torch.nonzero(member == k).squeeze(-1)
        groups = mine.split(_TOGETHER)
        alike = _alike(each, len(groups), seed)
        parts += [
            (group, _Path(model, len(group), generator)) for group, model in zip(groups, alike, strict=True)
        ]

    def values(X: Tensor) -> Tensor:
        found = torch.empty(n, len(X), dtype=X.dtype)
        for mine, path in parts:
            found[mine] = path(X)
        return found

    return values


def _alike(model: SingleTaskGP, n: int, seed: int) -> list[SingleTaskGP]:
    """Return ``n`` processes over the same data with other hyper-parameters that explain them too."""
    kernel, X, Y = model.covar_module, model.train_inputs[0], model.train_targets
    assert isinstance(kernel, MaternSum)  # noqa: S101 - asked before
    noise = (model.likelihood.noise - kernel.hyper.noise - LEAST_NOISE).clamp_min(0.0)
    rows = leading(Y, FIT_MOST)
    squares = squared_distances(X[rows], kernel.groups)
    found = hyper_samples(squares, Y[rows].numpy(), noise[rows].numpy(), kernel.hyper, n, seed)
    return [
        process(X, Y.unsqueeze(-1), noise.unsqueeze(-1), MaternSum(h, kernel.groups), h.noise, h.mean)
        for h in found
    ]


class _Path:
    """Functions sampled from the posterior of one process; see [Wilson2020], equation 12."""

    def __init__(self, model: SingleTaskGP, n: int, generator: torch.Generator) -> None:
        kernel = model.covar_module
        assert isinstance(kernel, MaternSum)  # noqa: S101 - asked before
        self.model, self.features = model, _Features(kernel, generator)
        train = model.train_inputs[0]
        self.weights = torch.randn(self.features.count, n, generator=generator, dtype=train.dtype)
        noise = model.likelihood.noise.sqrt().unsqueeze(-1)
        error = noise * torch.randn(len(train), n, generator=generator, dtype=train.dtype)
        with torch.no_grad():
            factor, _ = solved(model)
            drawn = self.features(train) @ self.weights
            residual = (model.train_targets - model.mean_module.constant).unsqueeze(-1) - drawn - error
            self.update = torch.cholesky_solve(residual, factor)

    def __call__(self, X: Tensor) -> Tensor:
        """Return the values at ``X`` (``q x d``), ``n x q``."""
        train, found = self.model.train_inputs[0], []
        with torch.no_grad():
            for chunk in X.split(CHUNK):
                cross = self.model.covar_module(chunk, train).to_dense()
                found.append(self.features(chunk) @ self.weights + cross @ self.update)
            return (torch.cat(found) + self.model.mean_module.constant).mT


class _Features:
    """Random cosines whose covariance is that of a kernel; see [Rahimi2007], algorithm 1."""

    def __init__(self, kernel: MaternSum, generator: torch.Generator) -> None:
        self.parts = [_cosines(kernel.columns, kernel.column_lengths, kernel.hyper.scale, _JOINT, generator)]
        for variance, group in zip(kernel.parts.tolist(), kernel.groups, strict=False):
            columns = torch.arange(group.start, group.stop)
            lengths = torch.full((len(columns),), kernel.hyper.part_length, dtype=kernel.parts.dtype)
            self.parts.append(_cosines(columns, lengths, variance, _ALONE, generator))
        self.count = sum(len(phases) for _, _, phases, _ in self.parts)

    def __call__(self, X: Tensor) -> Tensor:
        """Return the features of points (``n x d``), ``n x count``."""
        each = [
            size * torch.cos(X[:, columns] @ frequencies + phases)
            for columns, frequencies, phases, size in self.parts
        ]
        return torch.cat(each, 1)


def _cosines(
    columns: Tensor, lengths: Tensor, variance: float, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, float]:
    """Return the columns, frequencies (``k x count``), phases and size of the cosines of one Matern part."""
    normal = torch.randn(len(columns), count, generator=generator, dtype=lengths.dtype)
    chi = torch.randn(_DEGREES, count, generator=generator, dtype=lengths.dtype).square().sum(0)
    frequencies = normal / lengths.unsqueeze(-1) / (chi / _DEGREES).sqrt()
    phases = 2 * math.pi * torch.rand(count, generator=generator, dtype=lengths.dtype)
    return columns, frequencies, phases, math.sqrt(2 * variance / count)
