"""The initial design: the default configuration, then a scrambled Sobol sequence over the levels.

Reference: [Owen1998] A. B. Owen, "Scrambling Sobol' and Niederreiter-Xing points", J. Complexity 14 (1998).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from autotune.core.allowed import keeps_residual
from autotune.core.space import Space
from autotune.core.table import Table
from autotune.core.trial import Config, Reason, Suggestion, config_key
from autotune.engine.untried import random_untried

_PROJECTED = 64  # points taken to their nearest configuration; more than any initial design has
_POINTS = 1024  # a power of two, as Sobol sequences want; beyond it random points serve as well


def next_of_design(space: Space, tried: set[str], n: int, seed: int, engine: str) -> list[Suggestion]:
    """Return the next ``n`` points of the design that were not tried.

    Args:
        space: Search space.
        tried: Keys of what was tried or is pending.
        n: Number of configurations wanted.
        seed: Seed of the study; the sequence does not depend on what was tried.
        engine: Name that the suggestions carry.
    """
    seen = set(tried)
    result: list[Suggestion] = []
    default = space.default_config
    if n > 0 and config_key(default) not in seen:
        result.append(Suggestion(default, Reason.DEFAULT, engine))
        seen.add(config_key(default))
    for config in sobol_configs(space, seed) if len(result) < n else ():
        if len(result) >= n:
            return result
        if config_key(config) not in seen:
            result.append(Suggestion(config, Reason.INITIAL, engine))
            seen.add(config_key(config))
    rest = random_untried(space, seen, n - len(result), np.random.default_rng([seed, len(seen)]))
    return result + [Suggestion(config, Reason.RANDOM, engine) for config in rest]


def sobol_configs(space: Space, seed: int) -> Iterator[Config]:
    """Give the configurations that the sequence stands for, in its order, with repetitions.

    An even set of points gives an even set of allowed configurations, however few are allowed. In a list of
    configurations each of the first points is taken to its nearest, none of them twice. What was tried has
    no say in it: else every call would return to the neighbourhood of the first point.
    """
    from scipy.stats import qmc  # a second to load, which reading a study file need not take

    points = qmc.Sobol(len(space), scramble=True, rng=np.random.default_rng(seed)).random(_POINTS)
    if space.configurations is not None:
        counts = [len(p.levels) for p in space.parameters]
        wanted = np.minimum((points * counts).astype(np.int32), np.array(counts, np.int32) - 1)
        table = space.table()
        return iter(()) if table is None else _nearest(space, table, wanted[:_PROJECTED])
    rows = space.constraint_graph.rows(points)
    rows = rows[keeps_residual(space.constraint_graph, rows)]
    return map(space.as_table(rows).config, range(len(rows)))  # few are looked at, and each costs


def _nearest(space: Space, table: Table, wanted: np.ndarray) -> Iterator[Config]:
    """Give for each wanted row the nearest row of the table, none of them twice."""
    sizes = np.array([max(1, len(p.levels) - 1) for p in space.parameters], dtype=float)
    ordered = np.array([p.ordered for p in space.parameters])
    rows = table.indices / sizes
    left = np.ones(len(table), dtype=bool)
    for row in wanted:
        if not left.any():
            return
        gap = np.abs(rows - row / sizes)
        gap[:, ~ordered] = gap[:, ~ordered] > 0
        distance = np.where(left, gap.sum(axis=1), np.inf)
        nearest = int(np.argmin(distance))
        left[nearest] = False
        yield table.config(nearest)
