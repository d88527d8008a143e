"""What is scored: every allowed configuration, or in a space too large for that a well-chosen part of it.

The part is even over the space (half of it over the branches that conditions make, however small they are)
and dense around the best configurations: their neighbours, random ones two changes away, and mutations of a
few parameters, as in [Hutter2011] and [Regis2013]. Local search goes on
from the best of it.

References:
    [Hutter2011] F. Hutter, H. H. Hoos, K. Leyton-Brown, "Sequential model-based optimization for general
        algorithm configuration", LION 2011.
    [Regis2013] R. G. Regis, C. A. Shoemaker, "Combining radial basis function surrogates and dynamic
        coordinate search in high-dimensional expensive black-box optimization", Engineering Optimization 45
        (2013): each coordinate of the best point is perturbed with probability min(1, 20 / d).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autotune.core.space import Space
from autotune.core.table import Indices, Table
from autotune.core.trial import Config
from autotune.engine.gp.config import DEFAULT, GPConfig
from autotune.engine.gp.model.shapes import check_shapes
from autotune.engine.gp.optimize.local_search import SeenRows, tried_rows
from autotune.engine.gp.optimize.moves import Moves, joined
from autotune.engine.gp.optimize.trust_region import Region
from autotune.engine.untried import untried_rows

EVEN = 5_000
"""Rows spread over the space or, where there is one, over the trust region."""

NEAR = 2_000
"""Mutations of the leaders."""

STEPS = 200
"""Rows one change away from each leader (all where there are no more), and as many two changes away."""

_TIED = 16  # moves of parameters that constraints tie together, for each leader and set of them

LEADERS = 5


def candidates(
    space: Space,
    tried: set[str],
    leaders: Sequence[Config],
    rng: np.random.Generator,
    region: Region | None = None,
    config: GPConfig = DEFAULT,
) -> Table:
    """Return the untried configurations to score.

    Args:
        space: All of it when it can be enumerated and there is no region.
        tried: Keys of what was tried or is pending.
        leaders: Best configurations so far; candidates of a large space are dense around them.
        rng: Random generator of the random part of a large space.
        region: Region that candidates are restricted to, while any of it is left.
        config: Design choices of the engine.
    """
    table = scored_whole(space, config)
    if table is not None:
        free = table.indices[untried_rows(table, tried)]
        inside = free[region(free)] if region is not None else free
        return space.as_table(inside if len(inside) else free)
    rows = _spread(space, leaders, rng, region, config)
    seen = SeenRows(len(space))
    seen.fresh(tried_rows(space, tried))
    check_shapes("candidates", ("rows", rows, "n d"), d=len(space))
    rows = rows[seen.fresh(rows)]
    if region is not None:
        inside = rows[region(rows)]
        rows = inside if len(inside) else rows
    return space.as_table(rows)


def scored_whole(space: Space, config: GPConfig) -> Table | None:
    """Return every allowed configuration where all are to be scored: a list of them always is."""
    return space.table() if config.exact or space.configurations is not None else None


def _spread(
    space: Space,
    leaders: Sequence[Config],
    rng: np.random.Generator,
    region: Region | None,
    config: GPConfig,
) -> Indices:
    """Return rows of a large space, with repetitions."""
    moves = Moves(space, rng)
    rows = space.draw(EVEN if not moves.conditional else EVEN // 2, rng)
    parts = [rows, moves.branches(rows)] if moves.conditional else [rows]
    if region is not None:
        parts = [rows[: EVEN // 10], region.sample(EVEN, moves)]
    encode = space.as_table(rows[:0]).encode
    best = np.array([encode(config) for config in leaders[:LEADERS]], np.int32).reshape(-1, len(space))
    if len(best) and config.near:
        single = moves.every(best) if moves.singles <= STEPS else moves.some(best, STEPS)
        near = joined([single, moves.some(best, STEPS, steps=2), moves.together(best, _TIED)])
        parts.append(moves.settled(near).rows)
        parts.append(moves.mutations(best, NEAR, min(1.0, config.region.perturbed / len(space))))
    return np.concatenate(parts)
