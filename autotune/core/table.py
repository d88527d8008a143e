"""Every allowed configuration of a space as one array of level indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from autotune.core.expression import Column, Expression
from autotune.core.parameter import Parameter
from autotune.core.trial import Config, config_key

if TYPE_CHECKING:
    from autotune.core.space import Space

INACTIVE = -1
TABLE_LIMIT = 200_000
"""Configurations up to which a space is enumerated by default: scoring them all takes half a second."""

Indices = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Table:
    """Hold configurations as level indices.

    Args:
        parameters: Of the space, in its order.
        indices: Shape ``n x d``: index into each parameter's ``levels``, or -1 where inactive.
    """

    parameters: tuple[Parameter, ...]
    indices: Indices

    def __len__(self) -> int:
        return len(self.indices)

    def config(self, row: int) -> Config:
        """Return one row as a configuration."""
        pairs = zip(self.parameters, self.indices[row], strict=True)
        return {p.name: p.levels[level] for p, level in pairs if level != INACTIVE}

    def configs(self, rows: Sequence[int] | npt.NDArray[np.integer]) -> list[Config]:
        """Return several rows as configurations."""
        return [self.config(int(row)) for row in rows]

    @cached_property
    def _row_by_levels(self) -> dict[bytes, int]:
        return {row.tobytes(): i for i, row in enumerate(self.indices)}

    def row(self, config: Config) -> int | None:
        """Return the row of ``config``, or ``None`` when it is not in the table.

        A value between the levels of a continuous parameter is taken to its nearest level.
        """
        return self._row_by_levels.get(self.encode(config).tobytes())

    def encode(self, config: Config) -> Indices:
        """Return the level indices of one configuration, shape ``d``."""
        levels = [p.level_of(config[p.name]) if p.name in config else INACTIVE for p in self.parameters]
        return np.array(levels, dtype=np.int32)


def enumerate_space(space: Space, limit: int = TABLE_LIMIT) -> Table | None:
    """Return every allowed configuration, or ``None`` when there are more than ``limit``.

    Parameters are added one at a time in an order in which conditions come after what they mention;
    a constraint prunes as soon as all its parameters are there, so that a tight space stays small
    on the way. At most ``4 * limit`` partial rows are held.
    """
    if space.configurations is not None:
        rows = [Table(space.parameters, np.empty((0, 0), np.int32)).encode(c) for c in space.configurations]
        return Table(space.parameters, np.array(rows, dtype=np.int32)) if len(rows) <= limit else None
    index = {p.name: i for i, p in enumerate(space.parameters)}
    rows_so_far = np.full((1, len(index)), INACTIVE, dtype=np.int32)
    waiting = list(space.constraint_expressions)
    placed: set[str] = set()
    for parameter in expansion_order(space.parameters, waiting):
        active = condition_mask(parameter, space.parameters, rows_so_far)
        count = len(parameter.levels)
        if int(active.sum()) * count + int((~active).sum()) > 4 * limit:
            return None
        on = np.repeat(rows_so_far[active], count, axis=0)
        on[:, index[parameter.name]] = np.tile(np.arange(count, dtype=np.int32), int(active.sum()))
        rows_so_far = np.concatenate([on, rows_so_far[~active]])
        placed.add(parameter.name)
        for constraint in [c for c in waiting if c.names() <= placed]:
            rows_so_far = rows_so_far[allowed_mask(constraint, space.parameters, rows_so_far)]
            waiting.remove(constraint)
    if len(rows_so_far) > limit:
        return None
    order = np.lexsort(rows_so_far.T[::-1])  # the order of the file, whatever order was expanded
    return Table(space.parameters, rows_so_far[order])


def expansion_order(
    parameters: Sequence[Parameter], constraints: Sequence[Expression] = ()
) -> list[Parameter]:
    """Return the parameters so that each comes after those its condition mentions.

    Among those that may come next, one that shares a constraint with what is already placed is
    taken first, because its constraint can then prune early.
    """
    placed: list[Parameter] = []
    names: set[str] = set()
    rest = list(parameters)
    linked = [c.names() for c in constraints]
    while rest:
        ready = [p for p in rest if p.condition is None or p.condition.names() <= names]
        chosen = next((p for p in ready if any(p.name in group and group & names for group in linked)), None)
        chosen = chosen or next((p for p in ready if any(p.name in group for group in linked)), ready[0])
        placed.append(chosen)
        names.add(chosen.name)
        rest.remove(chosen)
    return placed


def columns_of(parameters: Sequence[Parameter], indices: Indices, names: frozenset[str]) -> dict[str, Column]:
    """Return the named columns of an index array as values with their known-masks."""
    columns: dict[str, Column] = {}
    for i, parameter in enumerate(parameters):
        if parameter.name in names:
            dtype = object if any(isinstance(v, str) for v in parameter.levels) else None
            values = np.array(parameter.levels, dtype=dtype)
            known = indices[:, i] != INACTIVE
            columns[parameter.name] = values[np.where(known, indices[:, i], 0)], known
    return columns


def condition_mask(
    parameter: Parameter, parameters: Sequence[Parameter], indices: Indices
) -> npt.NDArray[np.bool_]:
    """Return where ``parameter`` is active, shape ``n``."""
    if parameter.condition is None:
        return np.ones(len(indices), dtype=bool)
    columns = columns_of(parameters, indices, parameter.condition.names())
    values, known = parameter.condition.evaluate(columns, len(indices))
    return np.asarray(known & values.astype(bool))


def allowed_mask(
    constraint: Expression, parameters: Sequence[Parameter], indices: Indices
) -> npt.NDArray[np.bool_]:
    """Return where ``constraint`` holds or does not apply, shape ``n``."""
    columns = columns_of(parameters, indices, constraint.names())
    values, known = constraint.evaluate(columns, len(indices))
    return np.asarray(~known | values.astype(bool))


def random_rows(
    space: Space, n: int, rng: np.random.Generator, *, rounds: int = 64
) -> tuple[Indices, float | None]:
    """Return up to ``n`` random allowed rows by rejection, and the share of draws that were allowed.

    Bounded: at most ``rounds`` draws of ``max(1024, 2 * n)`` rows each; fewer rows come back when the
    constraints leave too little.
    """
    kept: list[Indices] = []
    drawn = found = 0
    order = expansion_order(space.parameters)
    column = {p.name: i for i, p in enumerate(space.parameters)}
    for _ in range(rounds):
        size = max(1024, 2 * n)
        rows = np.full((size, len(column)), INACTIVE, dtype=np.int32)
        for parameter in order:
            levels = rng.integers(0, len(parameter.levels), size, dtype=np.int32)
            active = condition_mask(parameter, space.parameters, rows)
            rows[:, column[parameter.name]] = np.where(active, levels, INACTIVE)
        for constraint in space.constraint_expressions:
            rows = rows[allowed_mask(constraint, space.parameters, rows)]
        drawn, found = drawn + size, found + len(rows)
        kept.append(rows)
        if found >= n:
            break
    return np.concatenate(kept)[:n], found / drawn


def distinct(configs: Sequence[Config]) -> list[Config]:
    """Return ``configs`` without repetitions, first occurrences in order."""
    return list({config_key(config): config for config in configs}.values())
