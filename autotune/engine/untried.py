"""What has not been tried yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from autotune.core.space import Space
from autotune.core.table import Table
from autotune.core.trial import Config, Trial, config_key

_ROUNDS = 64  # draws that find what is wanted, but for one time in 2**64
_BIG_DRAW = 4096  # random rows of a space too large to enumerate; far more than are ever tried


def tried_keys(history: Sequence[Trial], pending: Sequence[Config]) -> set[str]:
    """Return the keys of every configuration that was tried or is pending."""
    return {t.key for t in history} | {config_key(config) for config in pending}


def untried_rows(table: Table, tried: set[str]) -> np.ndarray:
    """Return the rows of ``table`` that are not in ``tried``, ascending, shape ``m``.

    What was tried between the levels of a continuous parameter excludes no row.
    """
    free = np.ones(len(table), dtype=bool)
    free[[row for row in map(table.row_of_key, tried) if row is not None]] = False
    return np.flatnonzero(free)


def random_untried(space: Space, tried: set[str], n: int, rng: np.random.Generator) -> list[Config]:
    """Return up to ``n`` distinct random configurations that were not tried."""
    if n <= 0:
        return []
    table = space.table()
    if table is not None and 2 * (len(tried) + n) > len(table):
        rows = untried_rows(table, tried)
        return table.configs(rng.permutation(rows)[:n])
    found: dict[str, Config] = {}
    for config in _drawn(space, table, n, rng):
        key = config_key(config)
        if key not in tried:
            found.setdefault(key, config)
            if len(found) == n:
                break
    return list(found.values())


def _drawn(space: Space, table: Table | None, n: int, rng: np.random.Generator) -> Iterator[Config]:
    """Give random configurations; of a table that is more than half untried all of them in the end."""
    if table is None:
        drawn = space.as_table(space.draw(max(_BIG_DRAW, 4 * n), rng))
        yield from (drawn.config(row) for row in range(len(drawn)))
        return
    for _ in range(_ROUNDS):
        yield from (table.config(int(row)) for row in rng.integers(len(table), size=2 * n))
    yield from (table.config(int(row)) for row in rng.permutation(len(table)))
