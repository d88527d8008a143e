"""The small arithmetic language of constraints and ``when`` conditions: parsed, never evaluated by Python.

An expression that mentions an inactive parameter is unknown where the answer depends on it
(Kleene's three-valued logic): an unknown constraint excludes nothing, an unknown condition is false.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial, reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from autotune.core.grammar import COMPARE, FUNCTIONS, MAX_SIZE, Node, fold, parse, size_of, unparse
from autotune.core.scalar import Comparable, typed_scalar
from autotune.errors import SpecError, did_you_mean

Array = npt.NDArray[Any]
Column = tuple[Array, npt.NDArray[np.bool_]]
"""Values and the mask of where they are known, both of shape ``n``."""


@dataclass(frozen=True)
class Expression:
    """A parsed expression.

    Args:
        text: Canonical text; equal meaning up to spacing gives equal text.
        root: Parsed tree; subtrees that stand for the same derived value are one object.
    """

    text: str
    root: Node = field(compare=False)

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
        return self._names

    @cached_property
    def _names(self) -> frozenset[str]:
        found: set[str] = set()
        fold(self.root, lambda node, _: found.add(str(node.value)) if node.kind == "name" else None)
        return frozenset(found)

    def check_types(self, kinds: Mapping[str, str]) -> str:
        """Return the kind of the result: ``number``, ``text``, ``bool`` or ``mixed``.

        Args:
            kinds: Kind of each parameter by name.

        Raises:
            SpecError: A name is unknown or an operator does not fit its operands.
        """
        kind: str = fold(self.root, partial(_kind, kinds=kinds))
        return kind

    def evaluate(self, columns: Mapping[str, Column], n: int) -> Column:
        """Evaluate over ``n`` configurations at once.

        Args:
            columns: Values and known-mask by name, each of shape ``n``.
            n: Number of configurations.

        Returns:
            Values and the mask of where they are known, both of shape ``n``.
        """
        with np.errstate(all="ignore"):  # x / 0 is nan or infinite here, and compares as false
            found: Column = fold(self.root, partial(_evaluate, columns=columns, n=n))
        return found

    def holds(self, config: Mapping[str, object]) -> bool | None:
        """Return the truth for one configuration, ``None`` where it depends on an inactive parameter."""
        value = self.value(config)
        return None if value is None else bool(value)

    def value(self, config: Mapping[str, object]) -> int | float | str | bool | None:
        """Return the value for one configuration, ``None`` where it depends on an inactive parameter."""
        return values_of({"": self}, config)[""]

    def substitute(self, others: Mapping[str, Expression]) -> Expression:
        """Return the expression with names replaced by what they stand for.

        Raises:
            SpecError: Written out it would have more than :data:`~autotune.core.grammar.MAX_SIZE` parts.
        """
        if not others or not self.names() & others.keys():
            return self
        root = fold(self.root, partial(_substitute, others=others))
        size = size_of(root)
        if size > MAX_SIZE:
            raise SpecError(
                f"{self.text!r} stands for {_short(size)} names, numbers and operators when its derived "
                f"values are written out; allowed: at most {MAX_SIZE:,}"
            )
        return Expression(unparse(root), root)

    @property
    def meaning(self) -> str:
        """Text that is equal for expressions that say the same in another order.

        Sums, products, ``and``, ``or``, ``min``, ``max``, ``==`` and ``!=`` do not depend on the order of
        their operands, ``a > b`` is ``b < a``, and ``not not a`` is ``a``.
        """
        texts: dict[Node, str] = {}
        return unparse(_sorted(fold(self.root, partial(_normal, texts=texts)), texts), texts)

    def conjuncts(self) -> list[Expression]:
        """Return the parts that a top-level ``and`` joins; together they exclude the same configurations."""
        return [Expression(unparse(node), node) for node in _operands(self.root, "and")]


_TRUE = np.ones(1, dtype=bool)
Scalar = int | float | str | bool


def values_of(
    expressions: Mapping[str, Expression], config: Mapping[str, object]
) -> dict[str, Scalar | None]:
    """Return the values for one configuration, ``None`` where one depends on an inactive parameter.

    What several expressions share is evaluated once.
    """
    columns = {
        name: (np.array([config[name]], dtype=object if isinstance(config[name], str) else None), _TRUE)
        if name in config
        else (np.zeros(1), ~_TRUE)
        for name in frozenset().union(*(e.names() for e in expressions.values()))
    }
    done: dict[Node, Column] = {}
    result: dict[str, Scalar | None] = {}
    with np.errstate(all="ignore"):
        for name, expression in expressions.items():
            values, known = fold(expression.root, partial(_evaluate, columns=columns, n=1), done)
            found = values[0]
            result[name] = (found.item() if hasattr(found, "item") else found) if known[0] else None
    return result


def _short(count: int) -> str:
    return f"{count:,}" if count < 10**12 else "more than a million million"


def _substitute(node: Node, children: list[Node], others: Mapping[str, Expression]) -> Node:
    if node.kind == "name" and node.value in others:
        return others[str(node.value)].root
    return Node(node.kind, tuple(children), node.value)


def _operands(node: Node, kind: str) -> list[Node]:
    """Return the operands of nested nodes of one kind, flattened."""
    found: list[Node] = []
    stack = [node]
    while stack:
        part = stack.pop()
        if part.kind == kind:
            stack += reversed(part.children)
        else:
            found.append(part)
    return found


@dataclass(frozen=True, eq=False)
class _Joined:
    """Operands of one kind of operator, still to be put into their order."""

    kind: str
    operands: list[Node]


def _normal(node: Node, children: list[Node | _Joined], texts: dict[Node, str]) -> Node | _Joined:
    kind = node.kind
    if kind in ("+", "*", "and", "or", "min", "max"):
        parts = [
            child.operands
            if isinstance(child, _Joined) and child.kind == kind
            else _operands(_sorted(child, texts), kind)
            for child in children
        ]
        return _Joined(kind, [operand for part in parts for operand in part])
    plain = [_sorted(child, texts) for child in children]
    if kind in (">", ">="):
        kind, plain = {">": "<", ">=": "<="}[kind], plain[::-1]
    if kind == "not" and plain[0].kind == "not":
        return plain[0].children[0]
    if kind in ("==", "!="):
        plain.sort(key=lambda child: unparse(child, texts))
    if kind == "constant" and isinstance(node.value, float) and node.value.is_integer():
        return Node(kind, value=int(node.value))
    return Node(kind, tuple(plain), node.value)


def _sorted(found: Node | _Joined, texts: dict[Node, str]) -> Node:
    """Return operands as a tree, in the order of their texts."""
    if isinstance(found, Node):
        return found
    operands = sorted(found.operands, key=lambda operand: unparse(operand, texts))
    if found.kind in FUNCTIONS:
        return Node(found.kind, tuple(operands))
    return reduce(lambda left, right: Node(found.kind, (left, right)), operands)


def _kind(node: Node, found: list[str], kinds: Mapping[str, str]) -> str:
    if node.kind == "constant":
        return "bool" if isinstance(node.value, bool) else "text" if isinstance(node.value, str) else "number"
    if node.kind == "name":
        name = str(node.value)
        if name not in kinds:
            raise SpecError(
                f"unknown parameter {name!r}; allowed: {', '.join(kinds)}", hint=did_you_mean(name, kinds)
            )
        return kinds[name]
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


def _evaluate(node: Node, parts: list[Column], columns: Mapping[str, Column], n: int) -> Column:
    if node.kind == "constant":
        dtype = object if isinstance(node.value, str) else None
        return np.full(n, node.value, dtype=dtype), np.ones(n, dtype=bool)
    if node.kind == "name":
        return columns[str(node.value)]
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
