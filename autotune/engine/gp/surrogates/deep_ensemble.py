"""An ensemble of small neural networks, each of them one function that may be the true one.

A network is trained from its own start to measurements with their own errors drawn, and is held to where it
started as the prior holds the weights. So networks agree where there are measurements and go apart
elsewhere as functions of the prior do. The prior, and the noise of a measurement, are those of the network
of infinite width that explains the measurements best: networks this small are too many parameters to learn
them from.

References:
    [Lakshminarayanan2017] B. Lakshminarayanan, A. Pritzel, C. Blundell, "Simple and scalable predictive
        uncertainty estimation using deep ensembles", NIPS 2017.
    [Osband2018] I. Osband, J. Aslanides, A. Cassirer, "Randomized prior functions for deep reinforcement
        learning", NeurIPS 2018.
    [Pearce2020] T. Pearce, F. Leibfried, A. Brintrup, "Uncertainty in neural networks: approximately Bayesian
        ensembling", AISTATS 2020: anchored starts, in which a wide linear network's draws are exact.
    [Kingma2015] D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from autotune.engine.gp.kernels import Groups
from autotune.engine.gp.surrogates.functions import Functions
from autotune.engine.gp.surrogates.infinite_network import Inputs, Prior, fit_prior
from autotune.engine.gp.surrogates.ordinary import ordinary
from autotune.engine.gp.surrogates.processes import total_noise

NETWORKS = 32
"""Members: their covariance has as many dimensions, less one."""

WIDTH, DEPTH = 24, 2
"""Units of a hidden layer, and hidden layers."""

STEPS = 200
"""Of the optimizer."""

BATCH = 128
"""Measurements of a step: training takes no longer with more trials."""

_CHUNK = 512  # points at once: what all networks make of them stays in the cache
_RATE = 0.03  # of the first step, in deviations of a weight's prior; falls to zero along a cosine
_FASTEST = (0.9, 0.99)  # of the averages of Adam: shorter than usual, for few steps


class DeepEnsemble(Functions):
    """Hold one quantity as an ensemble of networks.

    Args:
        X: Encoded configurations, ``n x k``.
        Y: Standardized values, ``n x 1``.
        Yvar: Measured variances on that scale, ``n x 1``; nan where none is known.
        groups: Columns of each parameter; by default each column is one.
    """

    def __init__(self, X: Tensor, Y: Tensor, Yvar: Tensor, groups: Groups | None = None) -> None:
        found = ordinary(X, Y, Yvar, groups)
        self.inputs, self.prior = Inputs(found), fit_prior(X, Y, Yvar, found, DEPTH)
        variances = total_noise(Yvar) + self.prior.noise
        generator = torch.Generator().manual_seed(0)
        anchors = [
            torch.randn(*shape, generator=generator, dtype=X.dtype) for shape in _shapes(len(found.columns))
        ]
        errors = torch.randn(NETWORKS, len(X), generator=generator, dtype=X.dtype) * variances.sqrt()
        targets = Y.squeeze(-1) + errors
        self.weights = train(self._inputs(X), targets, variances, self.prior, anchors, generator)
        super().__init__(X, float(variances.median()))

    def values(self, X: Tensor) -> Tensor:
        """Return what each network says at ``X`` (``n x k``), ``NETWORKS x n``."""
        weights = [layer.to(X) for layer in self.weights]
        found = [outputs(weights, inputs, self.prior) for inputs in self._inputs(X).split(_CHUNK)]
        return torch.cat(found, 1).double()

    def _inputs(self, X: Tensor) -> Tensor:
        return self.inputs(X) * self.prior.weights.to(X)


def _shapes(k: int) -> list[tuple[int, int, int]]:
    """Return the shapes of the layers' weights, a row for the biases among them."""
    return [
        (NETWORKS, k + 1, WIDTH),
        *[(NETWORKS, WIDTH + 1, WIDTH)] * (DEPTH - 1),
        (NETWORKS, WIDTH + 1, 1),
    ]


def outputs(weights: list[Tensor], inputs: Tensor, prior: Prior) -> Tensor:
    """Return what networks say, ``NETWORKS x n``.

    Weights are standard normal beforehand; their deviations are factors here, so that an infinitely wide
    network has the covariance of :func:`autotune.engine.gp.surrogates.infinite_network.network_covariance`.

    Args:
        weights: Of each layer, ``NETWORKS x (inputs + 1) x outputs``, biases last.
        inputs: Scaled inputs, ``n x k``.
        prior: Of the networks.
    """
    hidden = torch.baddbmm(weights[0][:, -1:], inputs.expand(len(weights[0]), -1, -1), weights[0][:, :-1])
    for layer in weights[1:]:
        factor = math.sqrt(2.0 / (layer.shape[1] - 1))
        hidden = torch.baddbmm(layer[:, -1:], hidden.relu(), layer[:, :-1], alpha=factor)
    return hidden.squeeze(-1) * math.sqrt(prior.scale / (1 + prior.depth)) + prior.mean


def train(
    inputs: Tensor,
    targets: Tensor,
    variances: Tensor,
    prior: Prior,
    anchors: list[Tensor],
    generator: torch.Generator,
) -> list[Tensor]:
    """Return the weights of networks trained to their own targets.

    Args:
        inputs: Scaled inputs, ``n x k``.
        targets: ``NETWORKS x n``.
        variances: Of the targets' errors, shape ``n``.
        prior: Of the networks.
        anchors: Where the weights start, and are held to.
        generator: Draws a part of the measurements for each step where they are many.
    """
    weights = [anchor.clone().requires_grad_() for anchor in anchors]
    optimizer = torch.optim.Adam(weights, lr=_RATE, betas=_FASTEST)
    n = len(inputs)
    rows = torch.arange(n)
    with torch.enable_grad():
        for step in range(STEPS):
            optimizer.param_groups[0]["lr"] = _RATE * 0.5 * (1.0 + math.cos(math.pi * step / STEPS))
            optimizer.zero_grad()
            if n > BATCH:
                rows = torch.randperm(n, generator=generator)[:BATCH]
            missed = (outputs(weights, inputs[rows], prior) - targets[:, rows]).square() / variances[rows]
            moved = sum((w - a).square().sum() for w, a in zip(weights, anchors, strict=True))
            (0.5 * n / len(rows) * missed.sum() + 0.5 * moved).backward()
            optimizer.step()
    return [w.detach() for w in weights]
