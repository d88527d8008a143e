"""The uniform distribution over the allowed configurations, and its conditional distributions.

Every allowed configuration weighs the same; what an inactive parameter would be does not count. A number of
many values stands for 33 of them that are even on its own scale, so that a decade weighs as much as the next
one where the scale is logarithmic. Constraints and conditions tie parameters together: those that are tied
form a block, whose allowed combinations are listed, and different blocks are independent. Within a block a
draw given the values of any parameters is a walk down the sorted list, one parameter after another
(Rosenblatt's transformation), so that it is exact in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from autotune.core import allowed
from autotune.core.constraint_graph import ConstraintGraph
from autotune.core.expression import Expression
from autotune.core.parameter import Ordinal, Parameter
from autotune.core.parameter.numeric import FLOAT_LEVELS
from autotune.core.space import Space
from autotune.core.table import INACTIVE, Indices

MOST_ROWS = 50_000
"""Combinations of tied parameters that are listed; of more, every second level of the finest is left out."""

_LEAST_LEVELS = 4  # of a parameter that is thinned


@dataclass(frozen=True, eq=False)
class Block:
    """Tied parameters with all their allowed combinations.

    Args:
        columns: Their columns in the space.
        rows: Level indices, ``n x len(columns)``.
    """

    columns: tuple[int, ...]
    rows: Indices


class AllowedDistribution:
    """The uniform distribution over the allowed configurations of a space.

    Args:
        space: Search space.
    """

    def __init__(self, space: Space) -> None:
        self.space = space

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Blocks of tied parameters, independent of one another."""
        space, every = self.space, tuple(range(len(self.space)))
        if space.configurations is not None:
            table = space.table()
            return () if table is None else (Block(every, table.indices),)
        tied: list[set[int]] = [{i} for i in every]
        for scope in self._scopes():
            joined = set().union(*(block for block in tied if block & scope))
            tied = [block for block in tied if not block & scope] + [joined]
        return tuple(self._block(tuple(sorted(columns))) for columns in tied)

    def _scopes(self) -> list[set[int]]:
        place = {name: i for i, name in enumerate(self.space.names)}
        named = [expression.names() for expression in self.space.constraint_expressions]
        named += [p.condition.names() | {p.name} for p in self.space if p.condition is not None]
        return [{place[name] for name in names} for names in named]

    def _block(self, columns: tuple[int, ...]) -> Block:
        parameters = [self.space.parameters[i] for i in columns]
        names = {p.name for p in parameters}
        constraints = [e for e in self.space.constraint_expressions if e.names() <= names]
        kept = [_representative(p) for p in parameters]
        while True:
            rows = _listed([_thinned(p, at) for p, at in zip(parameters, kept, strict=True)], constraints)
            finest = max(
                range(len(kept)), key=lambda i: len(kept[i]) if _can_thin(parameters[i], kept[i]) else 0
            )
            if rows is not None or not _can_thin(parameters[finest], kept[finest]):
                break
            kept[finest] = _every_second(kept[finest])
        if rows is None:  # nothing can be thinned: a large even part of it
            drawn = self.space.draw(MOST_ROWS, np.random.default_rng(0))[:, columns]
            return Block(columns, np.unique(drawn, axis=0))
        at = [np.append(levels, np.int32(INACTIVE)) for levels in kept]  # -1 takes the last
        return Block(columns, np.stack([at[i][rows[:, i]] for i in range(len(columns))], 1))

    def draw(self, n: int, rng: np.random.Generator) -> Indices:
        """Return ``n`` independent allowed rows, ``n x d``."""
        rows = np.empty((n, len(self.space)), np.int32)
        for block in self.blocks:
            rows[:, block.columns] = block.rows[rng.integers(0, len(block.rows), n)]
        return rows

    def levels(self, i: int) -> Indices:
        """Return the levels that column ``i`` takes in allowed rows, ascending, -1 for inactive last."""
        block = self._block_of[i]
        found = np.unique(block.rows[:, block.columns.index(i)])
        return np.append(found[1:], found[:1]) if found[0] == INACTIVE else found

    @cached_property
    def _block_of(self) -> dict[int, Block]:
        return {i: block for block in self.blocks for i in block.columns}

    def draw_with(self, fixed: Mapping[int, int], n: int, rng: np.random.Generator) -> Indices:
        """Return ``n`` random allowed rows that have some levels, ``n x d``; none where none has them.

        Args:
            fixed: Level by column.
            n: Number of rows.
            rng: Random generator; of equal states the columns that are not tied are equal.
        """
        rows = np.empty((n, len(self.space)), np.int32)
        for block in self.blocks:
            choice = rng.random(n)
            own = block.rows
            for i, level in fixed.items():
                if i in block.columns:
                    own = own[own[:, block.columns.index(i)] == level]
            if not len(own):
                return rows[:0]
            rows[:, block.columns] = own[(choice * len(own)).astype(np.int64)]
        return rows

    def walks(self, order: Sequence[int], n: int, rng: np.random.Generator) -> Indices:
        """Return walks from one random configuration to another that learn one parameter after another.

        Step ``k`` of a walk is a draw given what its last step says of the first ``k`` parameters of the
        order; neighbouring steps share what they can.

        Args:
            order: Order of all columns.
            n: Number of walks.
            rng: Random generator.

        Returns:
            Shape ``n x (d + 1) x d``.
        """
        d = len(self.space)
        steps = np.empty((n, d + 1, d), np.int32)
        for block in self.blocks:
            own = [i for i in order if i in block.columns]
            known = np.cumsum([0, *(i in block.columns for i in order)])  # of the block's, by step
            ranges = _Sorted(block, own)
            target = (_even(n, rng) * len(block.rows)).astype(np.int64)
            uniforms = np.stack([_even(n, rng) for _ in own], 1)
            found = [ranges.completed(target, k, uniforms) for k in range(len(own) + 1)]
            for step, k in enumerate(known.tolist()):
                steps[:, step, own] = found[k]
        return steps


def _even(n: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return ``n`` numbers in random order, one in each ``n``-th of [0, 1): a column of a Latin hypercube."""
    return np.minimum((rng.permutation(n) + rng.random(n)) / n, 1.0 - 1e-12)


class _Sorted:
    """The rows of a block in the order of some of its columns, with the range that each prefix has.

    Attributes:
        rows: Sorted rows, columns in that order.
        starts: First row of the range that shares the first ``k`` values of a row, ``(m + 1) x n``.
        ends: The row after the last one of it.
    """

    def __init__(self, block: Block, order: Sequence[int]) -> None:
        places = [block.columns.index(i) for i in order]
        rows = block.rows[:, places]
        self.rows = rows[np.lexsort(rows.T[::-1])]
        count, width = self.rows.shape
        new = np.zeros(count, dtype=bool)
        new[0] = True
        self.starts = np.zeros((width + 1, count), np.int64)
        self.ends = np.full((width + 1, count), count)
        for k in range(width):
            new[1:] |= self.rows[1:, k] != self.rows[:-1, k]
            firsts = np.flatnonzero(new)
            group = np.cumsum(new) - 1
            self.starts[k + 1] = firsts[group]
            self.ends[k + 1] = np.append(firsts[1:], count)[group]

    def completed(self, target: npt.NDArray[np.int64], k: int, uniforms: npt.NDArray[np.float64]) -> Indices:
        """Return rows that share their first ``k`` values with rows number ``target``, the others drawn."""
        at = target
        for j in range(k, self.rows.shape[1]):
            low, high = self.starts[j][at], self.ends[j][at]
            at = low + (uniforms[:, j] * (high - low)).astype(np.int64)
        return self.rows[at]


def _listed(parameters: Sequence[Parameter], constraints: Sequence[Expression]) -> Indices | None:
    return allowed.enumerate_rows(ConstraintGraph(parameters, constraints), MOST_ROWS)


def _representative(parameter: Parameter) -> Indices:
    """Return at most 33 levels of a number, nearest to places that are even on its scale; else all levels."""
    count = len(parameter.levels)
    every = np.arange(count, dtype=np.int32)
    if count <= FLOAT_LEVELS or not parameter.ordered or parameter.kind != "number":
        return every
    places = np.array([parameter.position(value) for value in parameter.levels])
    even = np.linspace(places[0], places[-1], FLOAT_LEVELS)
    after = np.searchsorted(places, even).clip(1, count - 1)
    nearer = np.where(even - places[after - 1] < places[after] - even, after - 1, after)
    return np.unique(nearer).astype(np.int32)


def _can_thin(parameter: Parameter, kept: Indices) -> bool:
    return parameter.ordered and parameter.kind == "number" and len(kept) > _LEAST_LEVELS


def _every_second(kept: Indices) -> Indices:
    """Return about half of the levels, both ends included."""
    every_second: Indices = kept[
        np.unique(np.linspace(0, len(kept) - 1, (len(kept) + 1) // 2).round().astype(int))
    ]
    return every_second


def _thinned(parameter: Parameter, kept: Indices) -> Parameter:
    if len(kept) == len(parameter.levels):
        return parameter
    thinned = Ordinal(parameter.name, tuple(parameter.levels[i] for i in kept), when=parameter.when)
    vars(thinned)["condition"] = parameter.condition  # with its derived values written out
    return thinned
