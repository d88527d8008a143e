"""Candidates as rows of levels: what depends on one parameter is computed once per level, not per row."""

from __future__ import annotations

from functools import cached_property

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
        levels: Encodings of each such parameter's levels, the last of being inactive: ``(levels + 1) x k``.
    """

    def __init__(self, encoder: Encoder, table: Table) -> None:
        self.table = table
        chosen = [i for i, levels in enumerate(encoder.levels) if levels.shape[1]]
        self.levels = [torch.from_numpy(encoder.levels[i]) for i in chosen]
        rows = table.indices[:, chosen].astype(np.int64)
        starts = np.cumsum([0, *(len(levels) for levels in self.levels[:-1])])[: len(chosen)]
        ends = starts + np.array([len(levels) - 1 for levels in self.levels], dtype=np.int64)
        self.rows = torch.from_numpy(np.where(rows == INACTIVE, ends, rows + starts))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def dtype(self) -> torch.dtype:
        """Precision in which all rows are compared; the best of them are compared again in double."""
        return torch.float64 if len(self) <= FINE_ROWS else torch.float32

    @cached_property
    def _columns(self) -> Tensor:
        """All levels below each other, each with its own columns and zeros elsewhere."""
        return torch.block_diag(*self.levels)

    def encode(self, rows: Tensor) -> Tensor:
        """Return the encoding of some candidates, ``len(rows) x columns``."""
        return torch.nn.functional.embedding_bag(self.rows[rows], self._columns, mode="sum")
