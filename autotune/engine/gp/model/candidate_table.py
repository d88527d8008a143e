"""Candidates as rows of levels: kernel terms are tabulated per parameter level."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np
import torch
from torch import Tensor

from autotune.core.table import INACTIVE, Table
from autotune.engine.gp.model.encode import Encoder
from autotune.engine.gp.model.shapes import check_shapes

FINE_ROWS = 20_000
"""Candidates up to which everything is computed in double precision."""

_CHUNK = 8192  # rows at once: they stay in the cache
_MERGED = 512  # combinations of levels looked up together: their tables stay in the cache


class CandidateTable:
    """The candidates of one ask, as rows of levels: kernel terms are tabulated per parameter level.

    Args:
        encoder: Encoder of the space.
        table: The candidates.

    Attributes:
        sizes: Number of levels of each such parameter, being inactive counted.
        columns: Encodings of all levels below each other, zero in the columns of other parameters.
        merged: Row of each candidate in the tables of :meth:`merge`, one per run of parameters: ``n x r``.
        coarse: Whether candidates are only sifted: by the leading process of a surrogate and by few trials.
    """

    coarse = False

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
        self.indices = table.indices if len(chosen) == table.indices.shape[1] else table.indices[:, chosen]
        self.starts, self.ends = ends - self.sizes, ends
        self.runs = _runs(self.sizes)
        self.merged = self._merged()

    def __len__(self) -> int:
        return len(self.table)

    @property
    def large(self) -> bool:
        """Whether there are too many candidates to compare all of them by everything that is known."""
        return len(self) > FINE_ROWS

    def sifted(self) -> CandidateTable:
        """Return the same candidates to be compared coarsely."""
        grid = copy(self)
        grid.coarse = True
        return grid

    @property
    def dtype(self) -> torch.dtype:
        """Precision in which all rows are compared; the best of them are compared again in double."""
        return torch.float32 if self.large else torch.float64

    def rows(self, rows: Tensor) -> Tensor:
        """Return the levels of some candidates, counted through all parameters that have columns."""
        levels = self.indices[rows.numpy()]
        return torch.from_numpy(np.where(levels == INACTIVE, self.ends - 1, levels + self.starts))

    def _merged(self) -> Tensor:
        factors, before = np.zeros((len(self.sizes), len(self.runs)), np.float32), 0
        starts = np.zeros(len(self.runs), np.float32)
        for r, run in enumerate(self.runs):
            count = 1
            for i in reversed(run):
                factors[i, r] = count
                count *= self.sizes[i]
            starts[r] = before
            before += count
        inactive = factors * np.array(self.sizes, np.float32)[:, None]
        merged = np.empty((len(self.indices), len(self.runs)), np.int32)
        for start in range(0, len(merged), _CHUNK):
            chunk = self.indices[start : start + _CHUNK]
            # by way of floats, whose products are fast and, being small whole numbers, exact
            found = chunk.astype(np.float32) @ factors
            if chunk.size and chunk.min() == INACTIVE:
                found += (chunk == INACTIVE).astype(np.float32) @ inactive
            merged[start : start + _CHUNK] = found + starts
        return torch.from_numpy(merged)

    def merge(self, tables: Sequence[Tensor]) -> Tensor:
        """Return one table for ``merged`` whose rows are sums of rows of each parameter's table.

        Args:
            tables: One per parameter that has columns, ``levels x m``.
        """
        found = []
        for run in self.runs:
            total = tables[run[0]]
            for i in run[1:]:
                total = (total.unsqueeze(1) + tables[i].unsqueeze(0)).flatten(0, 1)
            found.append(total)
        return torch.cat(found)

    def encode(self, rows: Tensor) -> Tensor:
        """Return the encoding of some candidates, ``len(rows) x columns``."""
        check_shapes("CandidateTable.encode", ("rows", rows, "n"))
        return torch.nn.functional.embedding_bag(self.rows(rows), self.columns, mode="sum")


def _runs(sizes: Sequence[int]) -> list[list[int]]:
    """Return neighbouring parameters in runs of at most :data:`_MERGED` combinations of levels."""
    runs: list[list[int]] = []
    room = 0
    for i, size in enumerate(sizes):
        if not runs or size > room:
            runs.append([])
            room = _MERGED
        runs[-1].append(i)
        room //= size
    return runs
