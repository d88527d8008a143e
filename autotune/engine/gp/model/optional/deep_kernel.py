"""Deep kernel learning: a small network says which configurations are alike.

A network of one hidden layer moves each point before an ordinary Matern kernel, one length scale per
parameter, compares it. Trained to its most probable weights such a network explains few points by anything
([Ober2021]; on held-out configurations it was far worse than no network at all). So it is trained as
[Ober2021] advise: weights and hyper-parameters are drawn from their posterior, by elliptical slice sampling
of the marginal likelihood, which needs neither step sizes nor gradients. A chain starts from the fitted
process of each structure, with the network at zero, and the networks that it ends with are averaged.

References:
    [Wilson2016] A. G. Wilson, Z. Hu, R. Salakhutdinov, E. P. Xing, "Deep kernel learning", AISTATS 2016.
    [Ober2021] S. W. Ober, C. E. Rasmussen, M. van der Wilk, "The promises and pitfalls of deep kernel
        learning", UAI 2021.
    [Murray2010] I. Murray, R. P. Adams, D. J. C. MacKay, "Elliptical slice sampling", AISTATS 2010.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined] # public, and not in its __all__

from autotune.engine.gp.choices import Structure
from autotune.engine.gp.config import GPConfig
from autotune.engine.gp.model.averaged_gp import AveragedGP, process, total_noise
from autotune.engine.gp.model.fit import FIT_MOST, Hyper
from autotune.engine.gp.model.kernels import Groups
from autotune.engine.gp.model.optional.encoded_kernel import EncodedKernel
from autotune.engine.gp.model.optional.evidence import log_marginal
from autotune.engine.gp.model.optional.ordinary import STRUCTURES, Ordinary, ordinary
from autotune.engine.gp.model.posterior import leading
from autotune.engine.gp.model.surrogates import Fitted

STEPS = 100
"""Length of a chain: longer ones predict no better."""

_KEPT = (70, 100)  # steps whose networks are kept
_HIDDEN = 12  # units: more fit no better from some ten points
_SLOPE = 2.0  # deviation of a first-layer weight times sqrt(k): units bend within the range of a parameter
_MOVE = 0.1  # deviation of how far a point is moved, in ranges of a parameter


class Shape:
    """The pieces of a vector of hyper-parameters, all of them normal beforehand.

    Args:
        found: Ordinary processes, with the columns of each parameter.
    """

    def __init__(self, found: Ordinary) -> None:
        self.columns, self.widths = found.columns, found.widths
        self.d, self.k = len(self.widths), len(self.columns)
        self.sizes = (self.d, 1, 1, self.k * _HIDDEN, _HIDDEN, _HIDDEN * self.k)

    def prior(self, structure: Structure) -> tuple[Tensor, Tensor]:
        """Return means and deviations."""
        length, deviation = structure.length
        mean = torch.zeros(sum(self.sizes), dtype=torch.float64)
        mean[: self.d] = length + 0.5 * math.log(self.d)
        mean[self.d + 1] = structure.noise[0]
        spreads = (
            deviation, 1.0, structure.noise[1], _SLOPE / math.sqrt(self.k), 1.0, _MOVE / math.sqrt(_HIDDEN)
        )  # fmt: skip
        sizes = torch.tensor(self.sizes)
        return mean, torch.tensor(spreads, dtype=torch.float64).repeat_interleave(sizes)

    def start(self, hyper: Hyper) -> Tensor:
        """Return a fitted process with the network at zero."""
        theta = torch.zeros(sum(self.sizes), dtype=torch.float64)
        theta[: self.d] = torch.from_numpy(hyper.lengths).log()
        theta[self.d], theta[self.d + 1] = math.log(hyper.scale), math.log(hyper.noise)
        return theta

    def features(self, theta: Tensor, X: Tensor) -> Tensor:
        """Return the features of encoded configurations, one per column of a parameter."""
        X = X[..., self.columns]
        lengths, _, _, first, bias, last = theta.split(self.sizes)
        hidden = torch.tanh(2.0 * (X - 0.5) @ first.view(self.k, _HIDDEN) + bias)
        moved = X + hidden @ last.view(_HIDDEN, self.k)
        return moved / lengths.exp().repeat_interleave(self.widths)

    def covariance(self, theta: Tensor, x1: Tensor, x2: Tensor) -> Tensor:
        """Return the Matern-5/2 covariance of the features of ``x1`` (``n x k``) and ``x2``."""
        left, right = self.features(theta, x1), self.features(theta, x2)
        squares = left.square().sum(-1).unsqueeze(-1) + right.square().sum(-1).unsqueeze(-2)
        r = (5.0 * (squares - 2.0 * left @ right.mT)).clamp_min(1e-30).sqrt()
        return theta[self.d].exp() * (1.0 + r + r.square() / 3.0) * torch.exp(-r)


class DeepMatern(EncodedKernel):
    """The covariance of a trained network as a kernel that any BoTorch model takes.

    Args:
        shape: Shape of the hyper-parameters.
        theta: Their values.
    """

    def __init__(self, shape: Shape, theta: Tensor) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("theta", theta)

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: object) -> Tensor:
        """Return the covariance of ``x1`` (``... x n x k``) and ``x2``, or its diagonal."""
        theta = self.theta.to(x1)
        if diag:
            return theta[self.shape.d].exp().expand(x1.shape[:-1])
        return self.shape.covariance(theta, x1, x2)


def deep_kernel(config: GPConfig) -> Fitted:
    """Return what fits Gaussian processes over learned features, averaged by their evidence."""
    return partial(_fitted, config)


def _fitted(config: GPConfig, X: Tensor, Y: Tensor, Yvar: Tensor, groups: Groups | None = None) -> AveragedGP:
    found = ordinary(X, Y, Yvar, groups, config)
    rows, shape = leading(Y.squeeze(-1), FIT_MOST), Shape(found)
    inside, y, known = X[rows], Y[rows, 0], total_noise(Yvar[rows])

    def explained(theta: Tensor) -> tuple[float, float]:
        covariance = shape.covariance(theta, inside, inside) + torch.diag(known + theta[shape.d + 1].exp())
        log_density, mean = log_marginal(covariance, y)
        return float(log_density), float(mean)

    models, evidence = [], []
    for seed, (structure, hyper) in enumerate(zip(STRUCTURES, found.hypers, strict=True)):
        generator = torch.Generator().manual_seed(seed)
        prior = shape.prior(structure)
        chain = slice_samples(lambda theta: explained(theta)[0], *prior, shape.start(hyper), generator)
        for theta in chain:
            noise, (_, mean) = float(theta[shape.d + 1].exp()), explained(theta)
            models.append(process(X, Y, Yvar, DeepMatern(shape, theta), noise, mean))
            evidence.append(hyper.log_evidence)
    return AveragedGP(models, evidence)


def slice_samples(
    log_likelihood: Callable[[Tensor], float],
    mean: Tensor,
    spread: Tensor,
    start: Tensor,
    generator: torch.Generator,
) -> list[Tensor]:
    """Return draws from a posterior whose prior is normal, by elliptical slice sampling ([Murray2010]).

    Args:
        log_likelihood: Log likelihood of a point, shape ``p``; raises ``torch.linalg.LinAlgError``.
        mean: Mean of the prior, shape ``p``.
        spread: Deviations of the prior, shape ``p``.
        start: Point at which the chain begins, shape ``p``.
        generator: Generator of the draws.
    """

    def uniform() -> float:
        return float(torch.rand(1, generator=generator, dtype=torch.float64))

    def value(z: Tensor) -> float:
        try:
            return log_likelihood(mean + spread * z)
        except LinAlgError:
            return -math.inf

    at = (start - mean) / spread
    here = value(at)
    samples = []
    for step in range(1, STEPS + 1):
        direction = torch.randn(len(at), generator=generator, dtype=torch.float64)
        level = here + math.log(max(uniform(), 1e-300))
        angle = 2.0 * math.pi * uniform()
        low, high = angle - 2.0 * math.pi, angle
        while high - low > 1e-9:  # else it stays: rounding leaves no point of the ellipse above the level
            point = at * math.cos(angle) + direction * math.sin(angle)
            found = value(point)
            if found > level:
                at, here = point, found
                break
            low, high = (angle, high) if angle < 0.0 else (low, angle)
            angle = low + (high - low) * uniform()
        if step in _KEPT:
            samples.append(mean + spread * at)
    return samples
