"""Candidates as rows of levels: what depends on one parameter is computed once per level, not per row."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from autotune.core.table import INACTIVE, Table
from autotune.engine.gp.encode import Encoder

FINE_ROWS = 20_000
"""Candidates up to which everything is computed in double precision."""


class Grid:
    """Hold the candidates of one moment.

    Args:
        encoder: Of the space.
        table: The candidates.

    Attributes:
        rows: Level of each parameter that has columns, counted through all of them: ``n x p``.
        sizes: How many levels each such parameter has, being inactive counted.
        columns: Encodings of all levels below each other, zero in the columns of other parameters.
    """

    def __init__(self, encoder: Encoder, table: Table) -> None:
        self.table = table
        chosen = [i for i, levels in enumerate(encoder.levels) if levels.shape[1]]
        levels = [torch.from_numpy(encoder.levels[i]) for i in chosen]
        self.sizes = [len(found) for found in levels]
        behind = torch.zeros(sum(self.sizes), len(encoder.logarithms), dtype=torch.float64)
        ends = np.cumsum(self.sizes)
        for column, (i, places) in enumerate(encoder.logarithms.items()):
            at = chosen.index(i)
            behind[ends[at] - self.sizes[at] : ends[at], column] = torch.from_numpy(places)
        self.columns = torch.cat([torch.block_diag(*levels), behind], 1) if levels else behind
        rows = table.indices[:, chosen].astype(np.int64)
        starts = ends - self.sizes
        self.rows = torch.from_numpy(np.where(rows == INACTIVE, ends - 1, rows + starts))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def dtype(self) -> torch.dtype:
        """Precision in which all rows are compared; the best of them are compared again in double."""
        return torch.float64 if len(self) <= FINE_ROWS else torch.float32

    def encode(self, rows: Tensor) -> Tensor:
        """Return the encoding of some candidates, ``len(rows) x columns``."""
        return torch.nn.functional.embedding_bag(self.rows[rows], self.columns, mode="sum")
