"""The surrogates by name: processes of several priors, averaged by their evidence.

No single prior wins: with few points smooth, additive and rugged functions look alike. So one process of each
is fitted and they are averaged by their evidence; with more points one of them leads.

References:
    [Hoeting1999] J. A. Hoeting et al., "Bayesian model averaging: a tutorial", Statistical Science 14 (1999).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import TypeAlias

from torch import Tensor

from autotune.engine.gp.choices import ADDITIVE, JOINT, RUGGED, Structure
from autotune.engine.gp.config import BOTORCH, DEFAULT, SURROGATES, GPConfig
from autotune.engine.gp.model.averaged_gp import AveragedGP, process
from autotune.engine.gp.model.contract import Surrogate
from autotune.engine.gp.model.encode import Columns
from autotune.engine.gp.model.fit import FIT_MOST, Fit, fit_hyper
from autotune.engine.gp.model.kernels import Groups, MaternSum, squared_distances
from autotune.engine.gp.model.posterior import leading
from autotune.engine.gp.model.shapes import check_shapes

Fitted: TypeAlias = Callable[[Tensor, Tensor, Tensor, Groups | None], Surrogate]
"""Fits a surrogate to ``X`` (``n x d``), ``Y`` and ``Yvar`` (``n x 1``) and the columns of each parameter."""


def surrogate_named(config: GPConfig) -> Fitted:
    """Return what fits the surrogate that the engine is configured for.

    A name that is none of ours is ``MODULE:FUNCTION``, as of an ablation.
    """
    if config.surrogate.startswith(BOTORCH):
        from autotune.engine.gp.model.botorch import BotorchSurrogate

        return partial(BotorchSurrogate, config.surrogate.removeprefix(BOTORCH))
    module, _, attribute = SURROGATES.get(config.surrogate, config.surrogate).partition(":")
    made: Callable[[GPConfig], Fitted] = getattr(import_module(module), attribute)
    return made(config)


def averaged(config: GPConfig) -> Fitted:
    """Return what fits processes of each of the priors."""
    return fitted_by(fit_hyper, config)


def fitted_by(fit: Fit, config: GPConfig) -> Fitted:
    """Return the same with hyper-parameters fitted by a function of one's own."""

    def fitted(X: Tensor, Y: Tensor, Yvar: Tensor, groups: Groups | None = None) -> Surrogate:
        count = X.shape[-1] if groups is None else len(groups)
        structures = config.structures if count <= config.many else config.structures_of_many
        return fit_averaged(X, Y, Yvar, groups, structures, config=config, fit=fit)

    return fitted


def smooth(config: GPConfig) -> Fitted:
    """Return what fits the smooth process alone."""
    return partial(fit_averaged, structures=(JOINT,), config=config)


def additive(config: GPConfig) -> Fitted:
    """Return what fits the process with one effect for each parameter alone."""
    return partial(fit_averaged, structures=(ADDITIVE,), config=config)


def rugged(config: GPConfig) -> Fitted:
    """Return what fits the rugged process alone."""
    return partial(fit_averaged, structures=(RUGGED,), config=config)


def fit_averaged(
    X: Tensor,
    Y: Tensor,
    Yvar: Tensor,
    groups: Groups | None = None,
    structures: Sequence[Structure] = (JOINT, ADDITIVE, RUGGED),
    *,
    config: GPConfig = DEFAULT,
    fit: Fit | None = None,
) -> AveragedGP:
    """Return processes fitted to some data, averaged by their evidence.

    The noise is the measured variance plus a learned one for what differs between launches.

    Args:
        X: Encoded configurations, ``n x d``.
        Y: Standardized values, ``n x 1``.
        Yvar: Measured variances on that scale, ``n x 1``; nan where none is known.
        groups: Columns of each parameter; by default each column is one.
        structures: Priors.
        config: Design choices of the engine: whether a number may act by its logarithm, and what it takes.
        fit: Fit of the hyper-parameters; :func:`fit_hyper` by default.
    """
    fit = fit or fit_hyper
    check_shapes("fit_averaged", ("X", X, "n d"), ("Y", Y, "n 1"), ("Yvar", Yvar, "n 1"))
    groups = groups or [slice(i, i + 1) for i in range(X.shape[-1])]
    rows = leading(Y.squeeze(-1), FIT_MOST)
    squares = squared_distances(X[rows], groups)
    y, yvar = Y[rows, 0].numpy(), Yvar[rows, 0].numpy()
    found = [(fit(squares, y, yvar, structure), groups) for structure in structures]
    other = groups.other if config.logarithms and isinstance(groups, Columns) else None
    if other is not None:  # the same by logarithms, for the prior that explains the data best
        best = max(range(len(found)), key=lambda i: found[i][0].log_evidence)
        squares = squared_distances(X[rows], other)
        by_logarithms = fit(squares, y, yvar, structures[best])
        doubted = replace(by_logarithms, log_evidence=by_logarithms.log_evidence - config.logarithm_odds)
        found.append((doubted, other))
    if len(X) > FIT_MOST:  # so many trials say which it is
        found = [max(found, key=lambda pair: pair[0].log_evidence)]
    models = [process(X, Y, Yvar, MaternSum(h, columns), h.noise, h.mean) for h, columns in found]
    return AveragedGP(models, [hyper.log_evidence for hyper, _ in found])
