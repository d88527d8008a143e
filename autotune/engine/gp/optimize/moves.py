"""Changes of allowed configurations that stay allowed, many at once.

A configuration is a row of level indices. Whatever was changed, conditions are settled again (what they
switch off becomes inactive, what they activate takes a random level or its default) and what breaks a
constraint is left out. Parameters that constraints tie together may have no move of their own: they move in
pairs, or all at once to the levels that the nearest of some random allowed rows has there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autotune.core.space import Space
from autotune.core.table import INACTIVE, Indices, allowed_mask, condition_mask, expansion_order

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]

_ACTIVATED_VALUES = 4  # random values tried for each parameter that a change activates
_FEW = 4  # levels up to which a step to any of them is as likely
_DONORS = 1000  # random rows whose levels tied parameters take
_DEFAULT = 0.25  # of the activated parameters take their default


@dataclass(frozen=True)
class Moved:
    """Changed rows.

    Args:
        rows: Allowed rows, ``n x d``.
        parent: Index of the given row that each came from, shape ``n``.
        column: Column that was changed, -1 for more than one; shape ``n``.
    """

    rows: Indices
    parent: Numbers
    column: Numbers

    def __len__(self) -> int:
        return len(self.rows)


def joined(parts: Sequence[Moved]) -> Moved:
    """Return several sets of changed rows as one; at least one is given."""
    return Moved(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.parent for part in parts]),
        np.concatenate([part.column for part in parts]),
    )


class Moves:
    """Random changes of rows of one space.

    Args:
        space: Space that is not given as a list of configurations.
        rng: Random generator.

    Attributes:
        singles: Number of changes of one parameter that a row has at most.
    """

    def __init__(self, space: Space, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng
        self.parameters = space.parameters
        self.counts = np.array([len(p.levels) for p in self.parameters])
        self.ordered = np.array([p.ordered for p in self.parameters])
        self.defaults = np.array([p.level_of(p.fallback) for p in self.parameters])
        self.constraints = space.constraint_expressions
        column = space.constraint_graph.column
        self.conditional = [(column[p.name], p) for p in expansion_order(self.parameters) if p.condition]
        activates = np.zeros(len(self.parameters), dtype=bool)
        for _, parameter in self.conditional:
            assert parameter.condition is not None  # noqa: S101 - chosen for having one
            activates[[column[name] for name in parameter.condition.names()]] = True
        each = np.where(self.counts > 1, self.counts * np.where(activates, _ACTIVATED_VALUES, 1), 0)
        self._columns = np.repeat(np.arange(len(each)), each)
        self._levels = np.concatenate([np.arange(n, dtype=np.int32) % max(1, c)
                                       for n, c in zip(each, self.counts, strict=True)])  # fmt: skip
        self.singles = len(self._columns)
        sets = _tied(space)
        some = space.draw(_DONORS, rng) if sets else np.empty((0, len(self.parameters)), np.int32)
        self.tied = [(np.array(columns), np.unique(some[:, columns], axis=0)) for columns in sets]

    def settle(self, rows: Indices) -> tuple[Indices, Mask]:
        """Return rows with their conditions settled, and which of them are allowed.

        Args:
            rows: Shape ``n x d``; changed in place.
        """
        for i, parameter in self.conditional:
            active = condition_mask(parameter, self.parameters, rows)
            activated = np.flatnonzero(active & (rows[:, i] == INACTIVE))
            levels = self.rng.integers(0, self.counts[i], len(activated))
            usual = self.rng.random(len(activated)) < _DEFAULT
            rows[activated, i] = np.where(usual, self.defaults[i], levels)
            rows[~active, i] = INACTIVE
        kept = np.ones(len(rows), dtype=bool)
        for constraint in self.constraints:
            kept &= allowed_mask(constraint, self.parameters, rows)
        return rows, kept

    def settled(self, moved: Moved) -> Moved:
        """Return what is allowed of some changes."""
        rows, kept = self.settle(moved.rows)
        return Moved(rows[kept], moved.parent[kept], moved.column[kept])

    def every(self, rows: Indices) -> Moved:
        """Return every change of one parameter of each row, to be settled."""
        parent = np.repeat(np.arange(len(rows)), self.singles)
        column, level = np.tile(self._columns, len(rows)), np.tile(self._levels, len(rows))
        now = rows[parent, column]
        changes = (now != level) & (now != INACTIVE)
        parent, column = parent[changes], column[changes]
        changed = rows[parent]
        changed[np.arange(len(changed)), column] = level[changes]
        return Moved(changed, parent, column)

    def some(self, rows: Indices, each: int, steps: int = 1) -> Moved:
        """Return random changes of each row, to be settled.

        Args:
            rows: Shape ``n x d``.
            each: Number per row.
            steps: Parameters changed.
        """
        parent = np.repeat(np.arange(len(rows)), each)
        changed = rows[parent]
        column = np.full(len(changed), -1)
        for _ in range(steps):
            column = self._step(changed)
        return Moved(changed, parent, column if steps == 1 else np.full(len(changed), -1))

    def _step(self, rows: Indices) -> Numbers:
        """Change one active parameter of each row in place; return which."""
        movable = (rows != INACTIVE) & (self.counts > 1)
        first = np.argsort(~movable, axis=1, kind="stable")  # the movable columns, then the others
        chosen = (self.rng.random(len(rows)) * movable.sum(1)).astype(np.int64)
        at = np.arange(len(rows))
        column = first[at, chosen]
        can = movable[at, column]
        rows[at[can], column[can]] = self._levels_near(rows[at[can], column[can]], column[can])
        return column

    def _levels_near(self, levels: Indices, columns: Numbers) -> Indices:
        """Return other levels: of ordered parameters mostly near ones, the step being log-uniform."""
        count = self.counts[columns]
        any_other = (levels + 1 + (self.rng.random(len(levels)) * (count - 1)).astype(np.int64)) % count
        size = np.maximum(1, np.rint((count - 1.0) ** self.rng.random(len(levels)))).astype(np.int64)
        up = self.rng.random(len(levels)) < 0.5
        near = np.where(up, levels + size, levels - size)
        outside = (near < 0) | (near >= count)
        near = np.where(outside, np.where(up, levels - size, levels + size), near)
        outside = (near < 0) | (near >= count) | ~self.ordered[columns] | (count <= _FEW)
        return np.where(outside, any_other, near).astype(np.int32)

    def mutations(self, rows: Indices, n: int, most: float = 1.0) -> Indices:
        """Return about ``n`` rows that differ from the given ones in a few parameters each.

        Args:
            rows: Rows to be changed, each as often; shape ``m x d``, at least one.
            n: Number of tries.
            most: Largest share of the parameters that change; the share varies from one parameter to this.
        """
        d = len(self.parameters)
        changed = rows[np.arange(n) % len(rows)]
        share = (1.0 / d) ** (1 - self.rng.random(n)) * max(most, 1.0 / d) ** self.rng.random(n)
        hit = (self.rng.random((n, d)) < share[:, None]) & (changed != INACTIVE) & (self.counts > 1)
        at, column = np.nonzero(hit)
        changed[at, column] = self._levels_near(changed[at, column], column)
        self._step(changed[~hit.any(1)])
        changed, kept = self.settle(changed)
        return changed[kept]

    def branches(self, rows: Indices) -> Indices:
        """Return rows with every parameter that conditions mention drawn anew, each level as likely.

        Uniform draws hardly ever show a branch with few parameters of its own.
        """
        deciding = {name for _, p in self.conditional if p.condition for name in p.condition.names()}
        changed = rows.copy()
        for name in sorted(deciding):
            i = self.space.constraint_graph.column[name]
            level = self.rng.integers(0, self.counts[i], len(rows))
            changed[:, i] = np.where(changed[:, i] == INACTIVE, INACTIVE, level)
        changed, kept = self.settle(changed)
        return changed[kept]

    def together(self, rows: Indices, each: int) -> Moved:
        """Return changes of parameters that constraints tie together, to be settled.

        Args:
            rows: Shape ``n x d``.
            each: Changes per row and set, twice: by pairs, and of the whole set to levels that go together.
        """
        parts = [Moved(rows[:0], np.empty(0, np.int64), np.empty(0, np.int64))]
        for columns, donors in self.tied:
            parts.append(self._in_pairs(rows, columns, each))
            apart = (donors[None] != rows[:, None, columns]).astype(float)
            apart += np.abs(donors[None] - rows[:, None, columns]) / self.counts[columns]
            distance = apart.sum(2)
            distance[distance == 0] = np.inf
            nearest = np.argsort(distance, axis=1, kind="stable")[:, :each]
            parent, rank = np.nonzero(np.isfinite(np.take_along_axis(distance, nearest, 1)))
            changed = rows[parent]
            changed[:, columns] = donors[nearest[parent, rank]]
            parts.append(Moved(changed, parent, np.full(len(parent), -1)))
        return joined(parts)

    def _in_pairs(self, rows: Indices, columns: Numbers, each: int) -> Moved:
        """Return changes of two columns by as many levels, which keeps a sum, a difference or a product."""
        parent = np.repeat(np.arange(len(rows)), each)
        changed, at = rows[parent], np.arange(len(parent))
        first = columns[self.rng.integers(0, len(columns), len(at))]
        other = columns[self.rng.integers(0, len(columns), len(at))]
        now, then = changed[at, first], changed[at, other]
        level = self._levels_near(now, first)
        sign = np.where(self.rng.random(len(at)) < 0.5, 1, -1)
        answer = then + sign * (level - now)
        fits = (first != other) & (now != INACTIVE) & (then != INACTIVE) & (self.counts[first] > 1)
        fits &= (answer >= 0) & (answer < self.counts[other])
        at = at[fits]
        changed[at, first[fits]], changed[at, other[fits]] = level[fits], answer[fits]
        return Moved(changed[at], parent[at], np.full(len(at), -1))


def _tied(space: Space) -> list[list[int]]:
    """Return the columns that constraints tie together, directly or through conditions, set by set."""
    column = space.constraint_graph.column
    scopes = [c.names() for c in space.constraint_expressions if len(c.names()) > 1]
    mentioned = set().union(*scopes)
    scopes += [p.condition.names() | {p.name} for p in space.parameters if p.condition]
    groups: list[set[int]] = []
    for scope in ({column[name] for name in names} for names in scopes):
        touching = [group for group in groups if group & scope]
        groups = [group for group in groups if not group & scope] + [scope.union(*touching)]
    return [sorted(g) for g in groups if any(space.parameters[i].name in mentioned for i in g)]
