"""What is scored: every allowed configuration, or in a space too large for that a well-chosen part of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autotune.core.allowed import neighbour_rows
from autotune.core.space import Space
from autotune.core.table import Table
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
        return space.as_table(table.indices[untried_rows(table, tried)])
    encode = space.as_table(np.empty((0, len(space)), np.int32)).encode
    near = [neighbour_rows(space.elimination, encode(config)) for config in leaders[:_LEADERS]]
    rows = np.unique(np.concatenate([space.draw(_RANDOM_ROWS, rng), *near]), axis=0)
    found = space.as_table(rows)
    free = [i for i in range(len(found)) if config_key(found.config(i)) not in tried]
    return space.as_table(rows[free])
