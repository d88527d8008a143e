"""Kernels that are no sum over parameters: on a grid their candidates are encoded in chunks."""

from __future__ import annotations

from gpytorch.kernels import Kernel
from torch import Tensor

from autotune.engine.gp.model.candidate_table import CandidateTable


class EncodedKernel(Kernel):
    """A kernel of encoded configurations."""

    def of_grid(self, grid: CandidateTable, X: Tensor) -> EncodedCovariance:
        """Return the covariance of a grid's candidates with the points ``X`` (``n x k``)."""
        return EncodedCovariance(self, grid, X)


class EncodedCovariance:
    """Rows of the covariance of a grid with some points, in the grid's precision.

    Args:
        kernel: The covariance.
        grid: The candidates.
        X: The points, ``n x k``.
    """

    def __init__(self, kernel: Kernel, grid: CandidateTable, X: Tensor) -> None:
        self.kernel, self.grid, self.X = kernel, grid, X.to(grid.dtype)

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the covariance of some candidates with the points, ``len(rows) x n``."""
        return self.kernel.forward(self._encoded(rows), self.X)

    def prior(self, rows: Tensor) -> Tensor:
        """Return the prior variance of some candidates, shape ``len(rows)``."""
        X = self._encoded(rows)
        return self.kernel.forward(X, X, diag=True)

    def _encoded(self, rows: Tensor) -> Tensor:
        return self.grid.encode(rows).to(self.grid.dtype)
