"""Bayesian neural networks of infinite width: a Gaussian process in closed form.

The covariance of a fully connected network with ReLU units follows from layer to layer by the arc-cosine
kernel. It is not stationary and does not rest on distances alone: effects grow towards the ends of the
parameters' ranges, and many weak parameters add up. Each parameter has its own variance of first-layer
weights; networks of different depth are averaged by their evidence.

References:
    [Cho2009] Y. Cho, L. K. Saul, "Kernel methods for deep learning", NIPS 2009: equations 6 and 14.
    [Lee2018] J. Lee et al., "Deep neural networks as Gaussian processes", ICLR 2018.
    [He2015] K. He et al., "Delving deep into rectifiers", ICCV 2015: weight variances of ``2 / width`` keep
        the size of activations from layer to layer.
    [Li2024] Y. L. Li, T. G. J. Rudner, A. G. Wilson, "A study of Bayesian neural network surrogates for
        Bayesian optimization", ICLR 2024.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from autotune.engine.gp.config import GPConfig
from autotune.engine.gp.model.averaged_gp import AveragedGP, process, total_noise
from autotune.engine.gp.model.fit import FIT_MOST
from autotune.engine.gp.model.kernels import Groups
from autotune.engine.gp.model.optional.encoded_kernel import EncodedKernel
from autotune.engine.gp.model.optional.evidence import log_marginal, maximize
from autotune.engine.gp.model.optional.ordinary import Ordinary, ordinary
from autotune.engine.gp.model.posterior import leading
from autotune.engine.gp.model.surrogates import Fitted

DEPTHS = (1, 3)
"""Hidden layers: one for nearly additive functions, three for rugged ones."""

_WEIGHT = (0.0, 0.6)  # log of a first-layer weight's deviation times sqrt(d): mean and deviation of its prior
_SCALE = (
    3.0,
    1.0,
)  # log of the output's variance: the values' own is a fraction of it, as most is a constant
_NOISE = (-6.0, 2.0)  # log of the variance that was not measured, as of the other processes
_BOUNDS = ((-6.0, 4.0), (-6.0, 5.0), (math.log(1e-6), 2.0))
_STEPS = 60


class _Angle(torch.autograd.Function):
    """The function ``(sin t + (pi - t) cos t) / pi`` of ``cos t``; its derivative is finite at ``t = 0``."""

    @staticmethod
    def forward(ctx: Any, cosine: Tensor) -> Tensor:
        """Return the arc-cosine function of order 1 ([Cho2009])."""
        angle = torch.acos(cosine)
        ctx.save_for_backward(angle)
        return ((1.0 - cosine.square()).clamp_min(0.0).sqrt() + (math.pi - angle) * cosine) / math.pi

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        """Return the gradient: the derivative is ``(pi - t) / pi``."""
        (angle,) = ctx.saved_tensors
        return upstream[0] * (math.pi - angle) / math.pi


def network_covariance(x1: Tensor, x2: Tensor, depth: int) -> Tensor:
    """Return the covariance of infinitely wide networks with unit biases, ``n x m``.

    Args:
        x1: Inputs times the deviations of their weights, ``n x k``.
        x2: The same, ``m x k``.
        depth: Hidden layers.
    """
    first, second = 1.0 + x1.square().sum(-1), 1.0 + x2.square().sum(-1)
    cross = 1.0 + x1 @ x2.mT
    for _ in range(depth):
        size = (first.unsqueeze(-1) * second.unsqueeze(-2)).sqrt()
        cross = 1.0 + size * _Angle.apply((cross / size).clamp(-1.0, 1.0))
        first, second = 1.0 + first, 1.0 + second
    return cross


@dataclass(frozen=True)
class Prior:
    """A prior over networks, fitted to the data.

    Args:
        weights: Deviation of the first-layer weights of each column, shape ``k``.
        scale: Variance of the output where all inputs are in the middle.
        noise: Variance that was not measured.
        mean: Mean of the output.
        depth: Hidden layers.
        log_posterior: Log posterior of all of these.
    """

    weights: Tensor
    scale: float
    noise: float
    mean: float
    depth: int
    log_posterior: float


def fit_prior(X: Tensor, Y: Tensor, Yvar: Tensor, found: Ordinary, depth: int) -> Prior:
    """Return the most probable prior.

    Args:
        X: Encoded configurations, ``n x k``.
        Y: Standardized values, ``n x 1``.
        Yvar: Measured variances on that scale, ``n x 1``; nan where none is known.
        found: Ordinary processes, with the columns of each parameter.
        depth: Hidden layers.
    """
    rows = leading(Y.squeeze(-1), FIT_MOST)
    U, y, known = Inputs(found)(X[rows]), Y[rows, 0], total_noise(Yvar[rows])
    d, widths = len(found.groups), found.widths
    middle = torch.tensor([_WEIGHT[0] - 0.5 * math.log(d)] * d + [_SCALE[0], _NOISE[0]], dtype=X.dtype)
    spread = torch.tensor([_WEIGHT[1]] * d + [_SCALE[1], _NOISE[1]], dtype=X.dtype)
    bounds = torch.tensor([_BOUNDS[0]] * d + [*_BOUNDS[1:]], dtype=X.dtype)

    def parts(theta: Tensor) -> tuple[Tensor, Tensor]:
        scaled = U * theta[:d].exp().repeat_interleave(widths)
        covariance = theta[d].exp() / (1 + depth) * network_covariance(scaled, scaled, depth)
        return log_marginal(covariance + torch.diag(known + theta[d + 1].exp()), y)

    def log_posterior(theta: Tensor) -> Tensor:
        return parts(theta)[0] - 0.5 * ((theta - middle) / spread).square().sum()

    theta, value = maximize(log_posterior, middle, bounds, _STEPS)
    _, mean = parts(theta)
    weights = theta[:d].exp().repeat_interleave(widths)
    return Prior(weights, float(theta[d].exp()), float(theta[d + 1].exp()), float(mean), depth, value)


class Inputs:
    """Inputs around 0 from encoded configurations: ordered parameters lie in [-1, 1].

    Args:
        found: Ordinary processes, with the columns of each parameter.
    """

    def __init__(self, found: Ordinary) -> None:
        self.columns = found.columns
        widths = found.widths.repeat_interleave(found.widths).double()
        # where an inactive parameter lies
        self.middles = torch.where(widths == 1, 0.5, 1.0 / (widths * math.sqrt(2.0)))

    def __call__(self, X: Tensor) -> Tensor:
        """Return the inputs of ``X`` (``... x n x k``), ``... x n x c``."""
        return 2.0 * (X[..., self.columns] - self.middles.to(X))


class NetworkKernel(EncodedKernel):
    """The covariance of a fitted prior as a kernel that any BoTorch model takes.

    Args:
        prior: The hyper-parameters.
        inputs: Number of inputs of encoded configurations.
    """

    def __init__(self, prior: Prior, inputs: Inputs) -> None:
        super().__init__()
        self.depth, self.factor = prior.depth, prior.scale / (1 + prior.depth)
        self.register_buffer("weights", prior.weights)
        self.inputs = inputs

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: object) -> Tensor:
        """Return the covariance of ``x1`` (``... x n x k``) and ``x2``, or its diagonal."""
        a, b = (self.inputs(x) * self.weights.to(x) for x in (x1, x2))
        if diag:
            return self.factor * (1.0 + self.depth + a.square().sum(-1))
        return self.factor * network_covariance(a, b, self.depth)


def infinite_network(config: GPConfig) -> Fitted:
    """Return what fits networks of infinite width and several depths, averaged by their evidence."""
    return partial(_fitted, config)


def _fitted(config: GPConfig, X: Tensor, Y: Tensor, Yvar: Tensor, groups: Groups | None = None) -> AveragedGP:
    found = ordinary(X, Y, Yvar, groups, config)
    priors = [fit_prior(X, Y, Yvar, found, depth) for depth in DEPTHS]
    inputs = Inputs(found)
    models = [process(X, Y, Yvar, NetworkKernel(p, inputs), p.noise, p.mean) for p in priors]
    return AveragedGP(models, [p.log_posterior for p in priors])
