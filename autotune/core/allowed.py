"""Enumerate, draw from and move about in the allowed configurations, as rows of level indices.

What :class:`~autotune.core.constraint_graph.ConstraintGraph` knows is exact; the constraints that it had to
leave out are checked here, by drawing again a bounded number of times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autotune.core.constraint_graph import ConstraintGraph
from autotune.core.parameter import Parameter
from autotune.core.table import (
    INACTIVE,
    TABLE_LIMIT,
    Indices,
    allowed_mask,
    condition_mask,
    expansion_order,
)

_DRAWS = 2**16  # rows drawn at once
_MOST_DRAWS = 2**22  # rows in all: a share of one in 10,000 still gives 400
_HITS = 2_500  # allowed rows that an estimated count looks for: a relative error of 2 %
_MOST_WOKEN = 2**16  # rows that one change makes by waking several parameters
_MOVES = 16  # values of a parameter tried together with what hangs on it


@dataclass(frozen=True)
class Count:
    """Number of allowed configurations.

    Args:
        value: The count, or its estimate.
        exact: Whether it was counted rather than estimated from random draws.
        error: Relative standard error of an estimate; 1 where not a single draw was allowed.
    """

    value: int
    exact: bool
    error: float = 0.0

    def __str__(self) -> str:
        if self.exact:
            return f"{self.value:,}" if self.value < 10**12 else f"{self.value:.4g}"
        return f"about {self.value:.2g}"


def count(graph: ConstraintGraph) -> Count:
    """Return how many configurations are allowed: exact unless a constraint or condition was too wide."""
    base, exact = graph.count
    if not graph.residual and not graph.late:
        return Count(base, exact)
    if not base:
        return Count(0, exact=True)
    rng = np.random.default_rng(0)
    total = squares = 0.0
    drawn = hits = 0
    while hits < _HITS and drawn < _MOST_DRAWS:
        rows = graph.rows(rng.random((_DRAWS, len(graph.parameters))))
        shares = keeps_residual(graph, rows).astype(float)
        for i in graph.late:  # drawn as if always active, which stood for all its levels
            shares[rows[:, i] == INACTIVE] /= len(graph.parameters[i].levels)
        drawn, hits = drawn + len(rows), hits + int((shares > 0).sum())
        total, squares = total + float(shares.sum()), squares + float((shares**2).sum())
    mean = total / drawn
    error = math.sqrt(max(squares / drawn - mean**2, 0.0) / drawn) / mean if mean else 1.0
    return Count(round(base * mean), exact=False, error=error)


def keeps_residual(graph: ConstraintGraph, rows: Indices) -> npt.NDArray[np.bool_]:
    """Return where the constraints that the graph left out hold, shape ``n``."""
    kept = np.ones(len(rows), dtype=bool)
    for number in graph.residual:
        kept &= allowed_mask(graph.constraints[number], graph.parameters, rows)
    return kept


def enumerate_rows(graph: ConstraintGraph, limit: int = TABLE_LIMIT) -> Indices | None:
    """Return every allowed row in the order of the levels, or ``None`` when there are more than ``limit``.

    Where constraints were left out, at most ``4 * limit`` rows are held on the way.
    """
    most = limit if not graph.residual and not graph.late else 4 * limit
    if graph.count[0] > most:
        return None
    rows = graph.all_rows()
    rows = rows[keeps_residual(graph, rows)]
    return rows[np.lexsort(rows.T[::-1])] if len(rows) <= limit else None


def draw_rows(graph: ConstraintGraph, n: int, rng: np.random.Generator) -> Indices:
    """Return ``n`` uniform random allowed rows, with repetitions.

    Fewer come back, none at worst, where so little is allowed by the constraints that were left out that
    four million draws do not find them.
    """
    d = len(graph.parameters)
    if not graph.residual:
        return graph.rows(rng.random((n, d)))
    kept: list[Indices] = []
    found = drawn = 0
    while found < n and drawn < _MOST_DRAWS:
        rows = graph.rows(rng.random((_DRAWS if drawn else min(_DRAWS, 2 * n + 64), d)))
        if not len(rows):
            break
        drawn += len(rows)
        rows = rows[keeps_residual(graph, rows)]
        found += len(rows)
        kept.append(rows)
    return np.concatenate(kept)[:n] if kept else np.empty((0, d), dtype=np.int32)


def neighbour_rows(graph: ConstraintGraph, start: Indices) -> Indices:
    """Return the allowed rows next to ``start``, shape ``m x d``, ``start`` not among them.

    They differ in one parameter (where the change wakes others, those take every value in turn, or a few
    spread ones of each where together they are very many). A parameter
    that cannot change alone changes together with the fewest others that its constraints ask for.
    """
    rows = _single_changes(graph, start)
    parts = [rows]
    for i, parameter in enumerate(graph.parameters):
        if start[i] == INACTIVE or len(parameter.levels) < 2 or (rows[:, i] != start[i]).any():
            continue
        levels = sorted(set(range(len(parameter.levels))) - {int(start[i])}, key=lambda v: abs(v - start[i]))
        within = graph.linked(i)
        for level in levels[:_MOVES]:
            wall = np.full(len(parameter.levels), np.inf)
            wall[level] = 0.0
            row = graph.nearest(start, {i: wall}, within)
            if row is not None:
                parts.append(row[None])
        if graph.residual:
            parts.append(_double_changes(graph, start, i))
    found = np.concatenate(parts)
    found = found[keeps_residual(graph, found) & (found != start).any(axis=1)]
    return np.unique(found, axis=0)


def _double_changes(graph: ConstraintGraph, start: Indices, i: int) -> Indices:
    """Return allowed rows that change column ``i`` and one other of a constraint that was left out."""
    parameters = graph.parameters
    names = frozenset().union(*(graph.constraints[number].names() for number in graph.residual))
    parts = [np.empty((0, len(start)), np.int32)]
    for j, other in enumerate(parameters):
        if j == i or not {parameters[i].name, other.name} <= names or start[j] == INACTIVE:
            continue
        steps = [_near(len(parameters[k].levels), int(start[k])) for k in (i, j)]
        rows = np.repeat(start[None], len(steps[0]) * len(steps[1]), axis=0)
        rows[:, i], rows[:, j] = np.repeat(steps[0], len(steps[1])), np.tile(steps[1], len(steps[0]))
        parts.append(rows)
    found = np.concatenate(parts)
    for parameter in parameters:
        column = found[:, graph.column[parameter.name]]
        found = found[condition_mask(parameter, parameters, found) == (column != INACTIVE)]
    for constraint in graph.constraints:
        found = found[allowed_mask(constraint, parameters, found)]
    return np.asarray(found)


def _near(levels: int, start: int) -> list[int]:
    """Return the levels around ``start``, without it, at most ``_MOVES`` squared of them."""
    low = max(0, min(start - _MOVES**2 // 2, levels - _MOVES**2))
    return [v for v in range(low, min(levels, low + _MOVES**2)) if v != start]


def _single_changes(graph: ConstraintGraph, start: Indices) -> Indices:
    parameters = graph.parameters
    rows = [start]
    for i, parameter in enumerate(parameters):
        if start[i] == INACTIVE:
            continue
        changed = np.repeat(start[None], len(parameter.levels), axis=0)
        changed[:, i] = np.arange(len(parameter.levels))
        rows.extend(np.delete(changed, start[i], axis=0))
    indices = np.array(rows, dtype=np.int32)
    column = graph.column
    for parameter in expansion_order(parameters):
        i = column[parameter.name]
        active = condition_mask(parameter, parameters, indices)
        indices[:, i] = np.where(active, indices[:, i], INACTIVE)
        woken = active & (indices[:, i] == INACTIVE)
        if woken.any():
            few = max(1, _MOST_WOKEN // int(woken.sum()))
            levels = _spread(parameter, few)
            grown = np.repeat(indices[woken], len(levels), axis=0)
            grown[:, i] = np.tile(levels, int(woken.sum()))
            indices = np.concatenate([indices[~woken], grown])
    for constraint in graph.constraints:
        indices = indices[allowed_mask(constraint, parameters, indices)]
    return np.asarray(indices)


def _spread(parameter: Parameter, most: int) -> Indices:
    """Return all levels of a parameter, or its default and some evenly spread ones, ``most`` in all."""
    count = len(parameter.levels)
    if count <= most:
        return np.arange(count, dtype=np.int32)
    spread = np.linspace(0, count - 1, most)[: most - 1].astype(np.int32)
    return np.unique(np.append(spread, np.int32(parameter.level_of(parameter.fallback))))


def why_empty(graph: ConstraintGraph, constraints: Sequence[str]) -> str:
    """Return why nothing is allowed, with the constraint that is to blame where there is a single one.

    Args:
        graph: Constraint graph of the space.
        constraints: Constraints as they were written, in the order of the graph's.
    """
    if graph.residual and graph.count[0]:
        return f"no allowed configuration was found in {_MOST_DRAWS:,} random ones"
    for i, text in enumerate(constraints):
        others = [e for j, e in enumerate(graph.constraints) if j != i]
        if ConstraintGraph(graph.parameters, others).count[0]:
            return f"no configuration is allowed by the constraints; without {text!r} some would be"
    return "no configuration is allowed by the constraints"
