"""The small arithmetic language of constraints and ``when`` conditions: parsed, never evaluated by Python.

An expression that mentions an inactive parameter is unknown where the answer depends on it
(Kleene's three-valued logic): an unknown constraint excludes nothing, an unknown condition is false.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from autotune.core.grammar import COMPARE, FUNCTIONS, Node, parse, unparse
from autotune.core.scalar import Comparable, typed_scalar
from autotune.errors import SpecError, did_you_mean

Array = npt.NDArray[Any]
Column = tuple[Array, npt.NDArray[np.bool_]]
"""Values and the mask of where they are known, both of shape ``n``."""


@dataclass(frozen=True)
class Expression:
    """Hold a parsed expression.

    Args:
        text: Canonical text; equal meaning up to spacing gives equal text.
        root: Parsed tree.
    """

    text: str
    root: Node

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Parse ``text``.

        Raises:
            SpecError: It is longer than 200 characters or not in the grammar; the column is named.
        """
        root = parse(text)
        return cls(unparse(root), root)

    def names(self) -> frozenset[str]:
        """Return the parameter names that the expression mentions."""
        return frozenset(_names(self.root))

    def check_types(self, kinds: Mapping[str, str]) -> str:
        """Return the kind of the result: ``number``, ``text``, ``bool`` or ``mixed``.

        Args:
            kinds: Kind of each parameter by name.

        Raises:
            SpecError: A name is unknown or an operator does not fit its operands.
        """
        return _kind(self.root, kinds)

    def evaluate(self, columns: Mapping[str, Column], n: int) -> Column:
        """Evaluate over ``n`` configurations at once.

        Args:
            columns: Values and known-mask by name, each of shape ``n``.
            n: Number of configurations.

        Returns:
            Values and the mask of where they are known, both of shape ``n``.
        """
        with np.errstate(all="ignore"):  # x / 0 is nan or infinite here, and compares as false
            return _evaluate(self.root, columns, n)

    def holds(self, config: Mapping[str, Any]) -> bool | None:
        """Return the truth for one configuration, ``None`` where it depends on an inactive parameter."""
        value = self.value(config)
        return None if value is None else bool(value)

    def value(self, config: Mapping[str, Any]) -> int | float | str | bool | None:
        """Return the value for one configuration, ``None`` where it depends on an inactive parameter."""
        columns = {
            name: (np.array([config[name]], dtype=object if isinstance(config[name], str) else None), _TRUE)
            if name in config
            else (np.zeros(1), ~_TRUE)
            for name in self.names()
        }
        values, known = self.evaluate(columns, 1)
        found = values[0]
        return (found.item() if hasattr(found, "item") else found) if known[0] else None

    def substitute(self, others: Mapping[str, Expression]) -> Expression:
        """Return the expression with names replaced by what they stand for."""
        if not others or not self.names() & others.keys():
            return self
        root = _substitute(self.root, others)
        return Expression(unparse(root), root)

    @property
    def meaning(self) -> str:
        """Text that is equal for expressions that say the same in another order.

        Sums, products, ``and``, ``or``, ``min``, ``max``, ``==`` and ``!=`` do not depend on the order of
        their operands, ``a > b`` is ``b < a``, and ``not not a`` is ``a``.
        """
        return unparse(_normal(self.root))

    def conjuncts(self) -> list[Expression]:
        """Return the parts that a top-level ``and`` joins; together they exclude the same configurations."""
        return [Expression(unparse(node), node) for node in _operands(self.root, "and")]


_TRUE = np.ones(1, dtype=bool)


def _names(node: Node) -> set[str]:
    if node.kind == "name":
        return {str(node.value)}
    return set().union(*(_names(child) for child in node.children))


def _substitute(node: Node, others: Mapping[str, Expression]) -> Node:
    if node.kind == "name" and node.value in others:
        return others[str(node.value)].root
    return Node(node.kind, tuple(_substitute(child, others) for child in node.children), node.value)


def _operands(node: Node, kind: str) -> list[Node]:
    """Return the operands of nested nodes of one kind, flattened."""
    if node.kind != kind:
        return [node]
    return [part for child in node.children for part in _operands(child, kind)]


def _normal(node: Node) -> Node:
    children = [_normal(child) for child in node.children]
    kind = node.kind
    if kind in (">", ">="):
        kind, children = {">": "<", ">=": "<="}[kind], children[::-1]
    if kind == "not" and children[0].kind == "not":
        return children[0].children[0]
    if kind in ("+", "*", "and", "or", "min", "max", "==", "!="):
        if kind not in ("==", "!="):
            children = [part for child in children for part in _operands(child, kind)]
        children.sort(key=unparse)
        if kind not in FUNCTIONS:
            return reduce(lambda left, right: Node(kind, (left, right)), children)
    if kind == "constant" and isinstance(node.value, float) and node.value.is_integer():
        return Node(kind, value=int(node.value))
    return Node(kind, tuple(children), node.value)


def _kind(node: Node, kinds: Mapping[str, str]) -> str:
    if node.kind == "constant":
        return "bool" if isinstance(node.value, bool) else "text" if isinstance(node.value, str) else "number"
    if node.kind == "name":
        name = str(node.value)
        if name not in kinds:
            raise SpecError(
                f"unknown parameter {name!r}; allowed: {', '.join(kinds)}", hint=did_you_mean(name, kinds)
            )
        return kinds[name]
    found = [_kind(child, kinds) for child in node.children]
    if node.kind in ("==", "!="):
        if found[0] != found[1] and "mixed" not in found and not _reads_alike(node.children, found):
            raise SpecError(f"{unparse(node)!r} compares a {found[0]} with a {found[1]}")
        return "bool"
    wanted = "bool" if node.kind in ("and", "or", "not") else "number"
    for child, kind in zip(node.children, found, strict=True):
        if kind != wanted:
            raise SpecError(f"{node.kind!r} needs a {wanted}, found the {kind} {unparse(child)!r}")
    return "bool" if node.kind in (*COMPARE, "and", "or", "not") else "number"


def _reads_alike(nodes: tuple[Node, ...], kinds: list[str]) -> bool:
    """Return whether one side is text that writes a value of the other's kind: `bits == '16'`."""
    for node, kind in zip(nodes, reversed(kinds), strict=True):
        if node.kind == "constant" and isinstance(node.value, str):
            meant = typed_scalar(node.value)
            if kind == ("bool" if isinstance(meant, bool) else "number") and not isinstance(
                meant, str | None
            ):
                return True
    return False


def _evaluate(node: Node, columns: Mapping[str, Column], n: int) -> Column:
    if node.kind == "constant":
        dtype = object if isinstance(node.value, str) else None
        return np.full(n, node.value, dtype=dtype), np.ones(n, dtype=bool)
    if node.kind == "name":
        return columns[str(node.value)]
    parts = [_evaluate(child, columns, n) for child in node.children]
    first, known = parts[0]
    if node.kind in ("and", "or"):
        second, known_2 = parts[1]
        a, b = first.astype(bool), second.astype(bool)
        if node.kind == "and":
            return a & b, (known & known_2) | (known & ~a) | (known_2 & ~b)
        return a | b, (known & known_2) | (known & a) | (known_2 & b)
    if node.kind == "not":
        return ~first.astype(bool), known
    if node.kind == "neg":
        return -_number(first), known
    if node.kind == "log2":
        return np.log2(_number(first)), known
    for values, known_2 in parts[1:]:
        first, known = _BINARY[node.kind](first, values), known & known_2
    return first, known


def _number(values: Array) -> Array:
    if values.dtype == object:  # a text column where it is inactive: the mask says so
        return np.zeros(len(values))
    return values.astype(float) if values.dtype == bool else values


def _equal(a: Array, b: Array) -> npt.NDArray[np.bool_]:
    """Return where values are equal; a number may be written as text, and is never a truth value."""
    if (a.dtype == object) != (b.dtype == object) or (a.dtype == bool) != (b.dtype == bool):
        a, b = (side if side.dtype == object else _comparable(side) for side in (a, b))
    return np.asarray(a == b, dtype=bool)


def _comparable(values: Array) -> Array:
    found, where = np.unique(values, return_inverse=True)
    return np.array([Comparable(value) for value in found.tolist()], dtype=object)[where]


def _floor_divide(a: Array, b: Array) -> Array:
    return np.floor_divide(a.astype(float), b.astype(float)) if (b == 0).any() else np.floor_divide(a, b)


def _modulo(a: Array, b: Array) -> Array:
    return np.mod(a.astype(float), b.astype(float)) if (b == 0).any() else np.mod(a, b)


_BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "+": lambda a, b: _number(a) + _number(b),
    "-": lambda a, b: _number(a) - _number(b),
    "*": lambda a, b: _number(a) * _number(b),
    "/": lambda a, b: _number(a) / _number(b),
    "//": lambda a, b: _floor_divide(_number(a), _number(b)),
    "%": lambda a, b: _modulo(_number(a), _number(b)),
    "==": _equal,
    "!=": lambda a, b: ~_equal(a, b),
    "<": lambda a, b: _number(a) < _number(b),
    "<=": lambda a, b: _number(a) <= _number(b),
    ">": lambda a, b: _number(a) > _number(b),
    ">=": lambda a, b: _number(a) >= _number(b),
    "min": lambda a, b: np.minimum(_number(a), _number(b)),
    "max": lambda a, b: np.maximum(_number(a), _number(b)),
}
