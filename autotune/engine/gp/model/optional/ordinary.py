"""What an ordinary Gaussian process says of data that another model is to be fitted to.

Three things are learned by its evidence, which few measurements suffice for: whether numbers are better
placed by rank or by logarithm, the noise of a measurement, and length scales to begin with.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from autotune.engine.gp.choices import JOINT, RUGGED
from autotune.engine.gp.config import DEFAULT, GPConfig
from autotune.engine.gp.model.encode import Columns
from autotune.engine.gp.model.fit import FIT_MOST, Hyper, fit_hyper
from autotune.engine.gp.model.kernels import Groups, squared_distances
from autotune.engine.gp.model.posterior import leading

STRUCTURES = (JOINT, RUGGED)
"""Smooth, or rugged where what looks like noise is not."""


@dataclass(frozen=True)
class Ordinary:
    """Ordinary processes of some data.

    Args:
        groups: Columns of each parameter, the better of two ways to place numbers.
        hypers: Hyper-parameters of each of :data:`STRUCTURES`.
    """

    groups: tuple[slice, ...]
    hypers: tuple[Hyper, ...]

    @property
    def log_evidence(self) -> float:
        """That of the better one."""
        return max(hyper.log_evidence for hyper in self.hypers)

    @property
    def noise(self) -> float:
        """Variance between launches that was not measured, of standardized values."""
        return max(self.hypers, key=lambda hyper: hyper.log_evidence).noise

    @property
    def columns(self) -> Tensor:
        """The columns of all parameters in their order, shape ``c``."""
        return torch.cat([torch.arange(group.start, group.stop) for group in self.groups])

    @property
    def widths(self) -> Tensor:
        """How many columns each parameter has, shape ``d``."""
        return torch.tensor([group.stop - group.start for group in self.groups])


def ordinary(
    X: Tensor, Y: Tensor, Yvar: Tensor, groups: Groups | None, config: GPConfig = DEFAULT
) -> Ordinary:
    """Return the ordinary processes of some data.

    Args:
        X: Encoded configurations, ``n x k``.
        Y: Standardized values, ``n x 1``.
        Yvar: Measured variances on that scale, ``n x 1``; nan where none is known.
        groups: Columns of each parameter; by default each column is one.
        config: Design choices of the engine.
    """
    groups = groups or [slice(i, i + 1) for i in range(X.shape[-1])]
    rows = leading(Y.squeeze(-1), FIT_MOST)
    y, known = Y[rows, 0].numpy(), Yvar[rows, 0].numpy()

    def by(columns: Groups) -> Ordinary:
        squares = squared_distances(X[rows], columns)
        hypers = [fit_hyper(squares, y, known, structure) for structure in STRUCTURES]
        return Ordinary(tuple(columns), tuple(hypers))

    declared = by(groups)
    other = groups.other if isinstance(groups, Columns) else None
    if other is None:
        return declared
    logarithms = by(other)
    believed = logarithms.log_evidence > declared.log_evidence + config.logarithm_odds
    return logarithms if believed else declared
