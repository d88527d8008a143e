"""What is scored: every allowed configuration, or in a space too large for that a well-chosen part of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from autotune.core.space import Space
from autotune.core.table import INACTIVE, Table, allowed_mask, condition_mask, expansion_order, random_rows
from autotune.core.trial import Config, config_key
from autotune.engine.untried import untried_rows

_RANDOM_ROWS = 20_000
_LEADERS = 5


def candidates(space: Space, tried: set[str], leaders: Sequence[Config], rng: np.random.Generator) -> Table:
    """Return the untried configurations to score.

    Args:
        space: All of it when it can be enumerated.
        tried: Keys of what was tried or is pending.
        leaders: Best configurations so far; their neighbours are candidates in a large space.
        rng: Draws the random part of a large space.
    """
    table = space.table()
    if table is not None:
        return Table(space.parameters, table.indices[untried_rows(table, tried)])
    drawn, _ = random_rows(space, _RANDOM_ROWS, rng)
    parts = [drawn, *(neighbours(space, config) for config in leaders[:_LEADERS])]
    rows = np.unique(np.concatenate(parts), axis=0)
    found = Table(space.parameters, rows)
    free = [i for i in range(len(found)) if config_key(found.config(i)) not in tried]
    return Table(space.parameters, rows[free])


def neighbours(space: Space, config: Config) -> npt.NDArray[np.int32]:
    """Return the allowed rows that differ from ``config`` in one parameter, shape ``m x d``.

    Where the change switches others on, those take every value they may have in turn.
    """
    start = Table(space.parameters, np.empty((0, len(space)), np.int32)).encode(config)
    rows = [start]
    for i, parameter in enumerate(space.parameters):
        if start[i] == INACTIVE:
            continue
        for level in range(len(parameter.levels)):
            if level != start[i]:
                row = start.copy()
                row[i] = level
                rows.append(row)
    indices = np.array(rows, dtype=np.int32)
    column = {p.name: i for i, p in enumerate(space.parameters)}
    for parameter in expansion_order(space.parameters):
        i = column[parameter.name]
        active = condition_mask(parameter, space.parameters, indices)
        indices[:, i] = np.where(active, indices[:, i], INACTIVE)
        woken = active & (indices[:, i] == INACTIVE)
        if woken.any():
            levels = np.arange(len(parameter.levels), dtype=np.int32)
            grown = np.repeat(indices[woken], len(levels), axis=0)
            grown[:, i] = np.tile(levels, int(woken.sum()))
            indices = np.concatenate([indices[~woken], grown])
    for constraint in space.constraint_expressions:
        indices = indices[allowed_mask(constraint, space.parameters, indices)]
    return np.asarray(indices)
