"""Exact counting, uniform sampling and nearest configurations of a constrained space, without enumerating it.

Conditions and constraints are factors over the few parameters they mention; variables are eliminated one at
a time (bucket elimination, [D1999]_): the factors that mention a variable are joined into one array over
everything they mention, and the variable is summed out (counting) or minimized out (nearest). Running the
buckets backwards draws from the exact uniform distribution over the allowed configurations, however few they
are. The work is bounded by the widest bucket, not by the number of configurations.

A constraint whose bucket would have more than ``MAX_CELLS`` cells is left out (``residual``): its share is
then estimated by drawing from the rest, in a bounded number of draws. A parameter whose condition alone is
that wide is ``late``: it is placed after the others, by its condition; draws are then nearly uniform.

.. [D1999] R. Dechter, Bucket elimination: a unifying framework for reasoning, Artificial Intelligence 113.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from autotune.core.expression import Expression
from autotune.core.parameter import Parameter
from autotune.core.table import INACTIVE, Indices, allowed_mask, condition_mask, expansion_order

MAX_CELLS = 2**21
"""Cells of the widest array: evaluating an expression over two million takes a tenth of a second."""

_EXACT = 2.0**53  # whole numbers up to this are exact in float64

Array = npt.NDArray[Any]
Scope = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Factor:
    """A function of a few variables.

    Args:
        scope: Column of each axis, ascending.
        cells: Its values; a variable that may be inactive has that as its last index.
        constraint: Number of the constraint it states; ``None`` for a condition.
    """

    scope: Scope
    cells: Array
    constraint: int | None = None


@dataclass(frozen=True, eq=False)
class Bucket:
    """Factors that mentioned one variable when it was eliminated.

    Args:
        variable: Its column.
        scope: Columns of the axes of ``cells``, ``variable`` last.
        cells: The joined factors.
    """

    variable: int
    scope: Scope
    cells: Array


class ConstraintGraph:
    """Constraint graph of a space: exact counting and sampling by variable elimination.

    Variables that no constraint and no other's condition mentions keep only whether they are active: their
    levels are free.

    Args:
        parameters: Parameters of the space.
        constraints: Parsed constraints.
    """

    def __init__(self, parameters: Sequence[Parameter], constraints: Sequence[Expression]) -> None:
        self.parameters = tuple(parameters)
        self.constraints = tuple(constraints)
        self.column = {p.name: i for i, p in enumerate(self.parameters)}
        mentioned = set().union(
            *(c.names() for c in constraints), *(p.condition.names() for p in parameters if p.condition)
        )
        self.free = np.array([p.name not in mentioned for p in self.parameters], dtype=bool)
        self.residual: list[int] = []
        self.late: list[int] = []
        factors = self._factors()
        self._domains = [self._weights(i) for i in range(len(self.parameters))]
        while True:
            wide = self._too_wide(factors)
            if wide is None:
                break
            self.residual.append(wide)
            factors = [f for f in factors if f.constraint != wide]
        self.factors = tuple(factors)
        self.order = self._order(factors)[0]

    def _slots(self, i: int) -> int:
        """Return how many indices variable ``i`` has, its inactive one included."""
        levels = 1 if self.free[i] else len(self.parameters[i].levels)
        return levels + (self.parameters[i].condition is not None)

    def _weights(self, i: int) -> Array:
        """Return how many configurations each index of variable ``i`` stands for."""
        weights = np.ones(self._slots(i))
        if self.free[i]:
            weights[0] = len(self.parameters[i].levels)
        return weights

    def _factors(self) -> list[Factor]:
        found = []
        late: set[str] = set()
        for parameter in expansion_order(self.parameters):
            if parameter.condition is None:
                continue
            i = self.column[parameter.name]
            scope = self._scope(parameter.condition.names() | {parameter.name})
            if self._size(scope) > MAX_CELLS or parameter.condition.names() & late:
                late.add(parameter.name)
                self.late.append(i)
            else:
                found.append(Factor(scope, self._cells(scope, self._condition_holds(i))))
        for number, constraint in enumerate(self.constraints):
            scope = self._scope(constraint.names())
            if self._size(scope) > MAX_CELLS or constraint.names() & late:
                self.residual.append(number)
            else:
                rule = self._constraint_holds(constraint)
                found.append(Factor(scope, self._cells(scope, rule), number))
        return found

    def _condition_holds(self, i: int) -> Callable[[Indices], Array]:
        parameter = self.parameters[i]

        def rule(rows: Indices) -> Array:
            return np.asarray(
                condition_mask(parameter, self.parameters, rows) == (rows[:, i] != INACTIVE), dtype=bool
            )

        return rule

    def _constraint_holds(self, constraint: Expression) -> Callable[[Indices], Array]:
        return lambda rows: allowed_mask(constraint, self.parameters, rows)

    def _scope(self, names: frozenset[str]) -> Scope:
        return tuple(sorted(self.column[name] for name in names))

    def _size(self, scope: Sequence[int]) -> int:
        return math.prod(self._slots(i) for i in scope)

    def _cells(self, scope: Scope, rule: Callable[[Indices], Array]) -> Array:
        """Return the rule's truth at every combination of the scope's indices."""
        shape = tuple(self._slots(i) for i in scope)
        grid = np.indices(shape, dtype=np.int32).reshape(len(scope), -1)
        rows = np.zeros((grid.shape[1], len(self.parameters)), dtype=np.int32)
        for axis, i in enumerate(scope):
            column = grid[axis]
            if self.parameters[i].condition is not None:
                column = np.where(column == shape[axis] - 1, INACTIVE, column)
            rows[:, i] = column
        return rule(rows).reshape(shape)

    def _too_wide(self, factors: Sequence[Factor]) -> int | None:
        """Return the constraint to leave out because a bucket would be too wide, or ``None``."""
        _, culprits = self._order(factors)
        return max(culprits, key=lambda c: self._size(self._scope(self.constraints[c].names())), default=None)

    def _order(self, factors: Sequence[Factor]) -> tuple[list[int], set[int]]:
        """Return the variables cheapest bucket first, and the constraints of buckets that are too wide."""
        scopes = [(set(f.scope), {f.constraint} - {None}) for f in factors]
        order: list[int] = []
        left = {i for f in factors for i in f.scope}
        while left:
            chosen = min(
                sorted(left), key=lambda i: self._size(sorted(set().union(*(s for s, _ in scopes if i in s))))
            )
            mine = [pair for pair in scopes if chosen in pair[0]]
            scope = set().union(*(s for s, _ in mine))
            sources = set().union(*(names for _, names in mine))
            if self._size(sorted(scope)) > MAX_CELLS and sources:
                return order, {int(number) for number in sources if number is not None}
            scopes = [pair for pair in scopes if chosen not in pair[0]] + [(scope - {chosen}, sources)]
            order.append(chosen)
            left.remove(chosen)
        return order, set()

    def _eliminate(
        self,
        factors: Sequence[Factor],
        combine: Callable[[Array, Array], Array],
        summarize: Callable[[Array], Array],
    ) -> tuple[list[Bucket], Array]:
        """Return the buckets in the order of elimination and what is left: a value per component."""
        waiting = list(factors)
        buckets, values = [], []
        for variable in self.order:
            mine = [f for f in waiting if variable in f.scope]
            if not mine:
                continue
            waiting = [f for f in waiting if variable not in f.scope]
            others = sorted(set().union(*(f.scope for f in mine)) - {variable})
            scope = (*others, variable)
            cells = reduce(combine, (_spread(f, scope) for f in mine))
            buckets.append(Bucket(variable, scope, cells))
            message = summarize(cells)
            if others:
                waiting.append(Factor(tuple(others), message))
            else:
                values.append(message)
        return buckets, np.array(values)

    @cached_property
    def _counted(self) -> tuple[list[Bucket], Array]:
        unary = [Factor((i,), self._domains[i]) for i in self.order]
        allowed = [Factor(f.scope, f.cells.astype(float), f.constraint) for f in self.factors]
        return self._eliminate([*unary, *allowed], np.multiply, lambda cells: cells.sum(axis=-1))

    @property
    def count(self) -> tuple[int, bool]:
        """How many configurations the factors allow, and whether that is exact.

        Residual constraints are not looked at, and late parameters are taken to be active.
        """
        _, parts = self._counted
        total, exact = 1, not self.late
        for part in parts:
            exact = exact and float(part) <= _EXACT
            total *= round(float(part))
        alone = set(range(len(self.parameters))) - set(self.order)
        return total * math.prod(len(self.parameters[i].levels) for i in alone), exact

    def rows(self, uniforms: npt.NDArray[np.float64]) -> Indices:
        """Return the configurations that points of the unit cube stand for.

        Independent uniform points give independent uniform configurations; an even set of points (a Sobol
        sequence) gives an even set of configurations. Residual constraints are not looked at.

        Args:
            uniforms: Shape ``n x d``, in [0, 1).

        Returns:
            Level indices of shape ``n x d``; no rows when nothing is allowed.
        """
        rows = np.zeros(uniforms.shape, dtype=np.int32)
        if not len(rows) or not self.count[0]:
            return rows[:0]
        rest = uniforms.copy()
        for bucket, ends in zip(reversed(self._counted[0]), reversed(self._cumulated), strict=True):
            i = bucket.variable
            at = tuple(rows[:, other] for other in bucket.scope[:-1])
            wanted = rest[:, i] * ends[(*at, -1)]
            slot = _first_above(ends, at, wanted)
            before = np.where(slot > 0, ends[(*at, np.maximum(slot - 1, 0))], 0.0)
            rest[:, i] = np.clip((wanted - before) / (ends[(*at, slot)] - before), 0, 1 - 1e-12)
            rows[:, i] = slot
        for i, parameter in enumerate(self.parameters):
            count = len(parameter.levels)
            level = np.minimum((rest[:, i] * count).astype(np.int32), count - 1)
            drawn = level if self.free[i] or i not in self.order else rows[:, i]
            rows[:, i] = np.where(self._is_on(i, rows), drawn, INACTIVE)
        for i in self.late:
            on = condition_mask(self.parameters[i], self.parameters, rows)
            rows[:, i] = np.where(on, rows[:, i], INACTIVE)
        return rows

    def _is_on(self, i: int, rows: Indices) -> Array:
        """Return where the slots of variable ``i`` say that it is active; late ones are decided later."""
        if self.parameters[i].condition is None or i in self.late:
            return np.ones(len(rows), dtype=bool)
        return np.asarray(rows[:, i] < self._slots(i) - 1)

    @cached_property
    def _cumulated(self) -> list[Array]:
        return [np.cumsum(bucket.cells, axis=-1) for bucket in self._counted[0]]

    def all_rows(self) -> Indices:
        """Return every configuration that the factors allow, in no particular order.

        Only extensions that lead to a configuration are kept, so the work grows with how many there are.
        """
        rows = np.zeros((1 if self.count[0] else 0, len(self.parameters)), dtype=np.int32)
        for bucket in reversed(self._counted[0]):
            rows = np.concatenate([_extended(part, bucket) for part in _parts(rows, bucket.cells.shape[-1])])
        for i, parameter in enumerate(self.parameters):
            if i in self.late:
                continue
            on, count = self._is_on(i, rows), len(parameter.levels)
            if self.free[i] or i not in self.order:
                rows = _grown(rows, on, i, count)
            else:
                rows[:, i] = np.where(on, rows[:, i], INACTIVE)
        for i in self.late:
            on = condition_mask(self.parameters[i], self.parameters, rows)
            rows = _grown(rows, on, i, len(self.parameters[i].levels))
        return rows

    def linked(self, i: int) -> frozenset[int]:
        """Return the columns that factors tie to column ``i``, directly or through others, with itself."""
        found, fresh = {i}, {i}
        while fresh:
            fresh = {j for f in self.factors if fresh & set(f.scope) for j in f.scope} - found
            found |= fresh
        return frozenset(found)

    def nearest(
        self,
        wished: Indices,
        costs: Mapping[int, Array] | None = None,
        within: frozenset[int] | None = None,
    ) -> Indices | None:
        """Return the allowed row with the least sum of costs; residual constraints are not looked at.

        Args:
            wished: Level indices, shape ``d``.
            costs: Cost of each level by column, shape ``levels``; by default 1 for any but the wished one.
                Being inactive costs nothing, being woken a hundredth beyond the parameter's default.
            within: Columns that may change, as :meth:`linked` gives them; all by default.

        Returns:
            Shape ``d``; ``None`` when nothing is allowed at a finite cost.
        """
        costs = costs or {}
        columns = range(len(self.parameters)) if within is None else sorted(within)
        prices = {i: self._prices(i, int(wished[i]), costs.get(i)) for i in columns}
        unary = [Factor((i,), prices[i][0]) for i in self.order if i in prices]
        walls = [
            Factor(f.scope, np.where(f.cells, 0.0, np.inf)) for f in self.factors if f.scope[0] in prices
        ]
        buckets, values = self._eliminate([*unary, *walls], np.add, lambda cells: cells.min(axis=-1))
        if not np.isfinite(values).all():
            return None
        row = np.array(wished, dtype=np.int32) if within is not None else np.zeros(len(wished), np.int32)
        for bucket in reversed(buckets):
            row[bucket.variable] = np.argmin(bucket.cells[tuple(row[other] for other in bucket.scope[:-1])])
        for i in columns:
            if i not in self.late and not self._is_on(i, row[None])[0]:
                row[i] = INACTIVE
            elif self.free[i] or i not in self.order:
                row[i] = prices[i][1]
        for i in self.late:
            if not condition_mask(self.parameters[i], self.parameters, row[None])[0]:
                row[i] = INACTIVE
        return row

    def _prices(self, i: int, wished: int, costs: Array | None) -> tuple[Array, int]:
        """Return the cost of each slot of a variable, and its cheapest level."""
        count = len(self.parameters[i].levels)
        if costs is None:
            base = self.parameters[i].level_of(self.parameters[i].fallback) if wished == INACTIVE else wished
            costs = np.where(np.arange(count) == base, 0.0, 0.01 if wished == INACTIVE else 1.0)
        best = int(np.argmin(costs))
        levels = costs[best : best + 1] if self.free[i] else costs
        return (np.append(levels, 0.0) if self.parameters[i].condition is not None else levels), best


def _spread(factor: Factor, scope: Scope) -> Array:
    """Return the factor's cells with one axis per variable of ``scope``, in its order."""
    order = [factor.scope.index(i) for i in scope if i in factor.scope]
    shape = [factor.cells.shape[factor.scope.index(i)] if i in factor.scope else 1 for i in scope]
    return factor.cells.transpose(order).reshape(shape)


def _first_above(ends: Array, at: tuple[Array, ...], wanted: Array) -> Array:
    """Return the first index of the last axis where ``ends`` exceeds ``wanted``, by bisection."""
    low = np.zeros(len(wanted), dtype=np.int64)
    high = np.full(len(wanted), ends.shape[-1] - 1, dtype=np.int64)
    for _ in range(ends.shape[-1].bit_length()):
        middle = (low + high) // 2
        above = ends[(*at, middle)] > wanted
        high = np.where(above, middle, high)
        low = np.where(above | (low == high), low, middle + 1)
        low = np.minimum(low, high)
    return high


def _parts(rows: Indices, width: int) -> list[Indices]:
    """Return the rows in parts whose product with ``width`` stays below ``MAX_CELLS``."""
    size = max(1, MAX_CELLS // width)
    return [rows[start : start + size] for start in range(0, len(rows), size)] or [rows]


def _extended(rows: Indices, bucket: Bucket) -> Indices:
    weights = bucket.cells[tuple(rows[:, other] for other in bucket.scope[:-1])]
    parent, slot = np.nonzero(np.broadcast_to(weights, (len(rows), weights.shape[-1])))
    grown = rows[parent]
    grown[:, bucket.variable] = slot
    return grown


def _grown(rows: Indices, on: Array, i: int, count: int) -> Indices:
    """Return the rows with every level of column ``i`` where it is ``on``, inactive elsewhere."""
    active, off = np.repeat(rows[on], count, axis=0), rows[~on]
    active[:, i] = np.tile(np.arange(count, dtype=np.int32), int(on.sum()))
    off[:, i] = INACTIVE
    return np.concatenate([active, off])
