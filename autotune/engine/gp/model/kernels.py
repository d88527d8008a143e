"""The covariance of the surrogate: a Matern-5/2 of all parameters together plus one of each alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from gpytorch.kernels import Kernel
from torch import Tensor

from autotune.engine.gp.model.candidate_table import CandidateTable
from autotune.engine.gp.model.fit import Hyper

_BLOCK = (
    1 << 18
)  # pairs computed at once: what lies between inputs and result takes several times their memory
_WORTH = 10_000  # pairs from which looking for equal values is cheaper than computing them all

Groups = Sequence[slice]
"""The columns of each parameter."""


def squared_distances(X: Tensor, groups: Groups) -> npt.NDArray[np.float64]:
    """Return the squared distances of points (``n x k``) in each of ``d`` parameters, ``d x n x n``."""
    if not groups:
        return np.empty((0, len(X), len(X)))
    found: npt.NDArray[np.float64] = torch.stack([_squares(X[:, g], X[:, g]) for g in groups]).numpy()
    return found


class MaternSum(Kernel):
    """The covariance of fitted hyper-parameters as a kernel that any BoTorch model takes.

    Args:
        hyper: Hyper-parameters of ``d`` parameters.
        groups: Columns of each of them.
    """

    def __init__(self, hyper: Hyper, groups: Groups) -> None:
        super().__init__()
        self.hyper, self.groups = hyper, tuple(groups)
        widths = torch.tensor([group.stop - group.start for group in groups])
        self.register_buffer("lengths", torch.from_numpy(hyper.lengths))
        self.register_buffer("parts", torch.from_numpy(hyper.parts))
        self.columns = torch.cat([torch.arange(group.start, group.stop) for group in groups])
        self.register_buffer("column_lengths", self.lengths.repeat_interleave(widths))

    @property
    def variance(self) -> float:
        """Prior variance, the same everywhere."""
        return self.hyper.scale + float(self.hyper.parts.sum())

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: object) -> Tensor:
        """Return the covariance of ``x1`` (``... x n x k``) and ``x2``, or its diagonal."""
        if diag:
            return torch.full(x1.shape[:-1], self.variance, dtype=x1.dtype)
        if (
            x1.ndim == 2
            and x2.ndim == 2
            and x1.shape[0] * x2.shape[0] > _BLOCK
            and not torch.is_grad_enabled()
        ):
            found = x1.new_empty(x1.shape[0], x2.shape[0])
            step = max(1, _BLOCK // x2.shape[0])
            for start in range(0, len(x1), step):
                found[start : start + step] = self._covariance(x1[start : start + step], x2)
            return found
        return self._covariance(x1, x2)

    def _covariance(self, x1: Tensor, x2: Tensor) -> Tensor:
        left, right = (x[..., self.columns] / self.column_lengths for x in (x1, x2))
        total = self.hyper.scale * _matern(_squares(left, right))
        length = self.hyper.part_length
        sides = [
            (float(variance), x1[..., columns] / length, x2[..., columns] / length)
            for variance, columns in zip(self.parts, self.groups, strict=False)
        ]
        return total + _sum_of_parts(sides) if sides else total

    def of_grid(self, grid: CandidateTable, X: Tensor) -> GridCovariance:
        """Return the covariance of a grid's candidates with the points ``X`` (``n x k``)."""
        return GridCovariance(self, grid, X)


class GridCovariance:
    """Rows of the covariance of a grid with some points.

    Squared distances and additive parts are sums over parameters, so that a row is a sum of rows of tables
    that have one row per level.

    Args:
        kernel: The covariance.
        grid: The candidates.
        X: The points, ``n x k``.
    """

    def __init__(self, kernel: MaternSum, grid: CandidateTable, X: Tensor) -> None:
        self.grid, self.scale, self.variance = grid, kernel.hyper.scale, kernel.variance
        levels = grid.columns.split(grid.sizes)
        tables = [_squares(of[:, g], X[:, g]) for of, g in zip(levels, kernel.groups, strict=True)]
        joint = [5.0 * table / length.square() for table, length in zip(tables, kernel.lengths, strict=True)]
        self.joint = grid.merge(joint).to(grid.dtype)
        self.alone: Tensor | None = None
        if len(kernel.parts):
            reach = kernel.hyper.part_length**2
            parts = [v * _matern(table / reach) for v, table in zip(kernel.parts, tables, strict=True)]
            self.alone = grid.merge(parts).to(grid.dtype)

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the covariance of some candidates with the points, ``len(rows) x n``."""
        index = self.grid.merged[rows]
        total = self._matern_of(index, self.joint, self.scale)
        if self.alone is not None:
            total += torch.nn.functional.embedding_bag(index, self.alone, mode="sum")
        return total

    def prior(self, _: Tensor) -> float:
        """Return the prior variance of some candidates, here the same for all."""
        return self.variance

    @staticmethod
    def _matern_of(index: Tensor, table: Tensor, variance: float) -> Tensor:
        """Return the covariance whose squared distances (times 5) are sums of rows of a table."""
        r = torch.nn.functional.embedding_bag(index, table, mode="sum").sqrt_()
        return r.add(3.0).mul_(r).add_(3.0).mul_(r.neg_().exp_()).mul_(variance / 3.0)


def _squares(left: Tensor, right: Tensor) -> Tensor:
    """Return squared distances, ``... x n x m``."""
    if left.shape[-1] == 1:
        return (left - right.mT).square()
    lengths = left.square().sum(-1).unsqueeze(-1) + right.square().sum(-1).unsqueeze(-2)
    return (lengths - 2.0 * left @ right.mT).clamp_min(0.0)


def _sum_of_parts(parts: Sequence[tuple[float, Tensor, Tensor]]) -> Tensor:
    """Return the sum of Matern-5/2 covariances, computed once per value where a side repeats few.

    Args:
        parts: Variance and the two sides of each, in length scales.
    """
    total, tables, places, size = torch.zeros((), dtype=parts[0][1].dtype), [], [], 0
    for variance, left, right in parts:
        many = left.ndim == 2 and right.ndim == 2 and len(left) * len(right) > _WORTH
        rows, at = _distinct(left) if many and not left.requires_grad else (left, None)
        if at is None or 4 * len(rows) > len(left):
            total = total + variance * _matern(_squares(left, right))
        else:
            tables.append(variance * _matern(_squares(rows, right)))
            places.append(at + size)
            size += len(rows)
    if tables:
        total = total + torch.nn.functional.embedding_bag(
            torch.stack(places, 1), torch.cat(tables), mode="sum"
        )
    return total


def _distinct(points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct rows and which of them each row is."""
    first, *others = points.T
    values, at = first.unique(return_inverse=True)
    if not others:
        return values.unsqueeze(1), at
    for column in others:  # ten times faster than `unique(dim=0)`
        values, place = column.unique(return_inverse=True)
        _, at = (at * len(values) + place).unique(return_inverse=True)
    rows = points.new_empty(int(at.max()) + 1, points.shape[1])
    rows[at] = points
    return rows, at


def _matern(squares: Tensor) -> Tensor:
    """Return the Matern-5/2 correlation at squared distances in length scales."""
    r = (5.0 * squares).clamp_min(1e-30).sqrt()
    return (1.0 + r + r.square() / 3.0) * torch.exp(-r)
