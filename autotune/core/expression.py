"""The small arithmetic language of constraints and ``when`` conditions: parsed, never evaluated by Python.

Grammar (lowest precedence first)::

    or_    = and_ ("or" and_)*
    and_   = not_ ("and" not_)*
    not_   = "not" not_ | compare
    compare = sum (("==" | "!=" | "<" | "<=" | ">" | ">=") sum)?
    sum    = product (("+" | "-") product)*
    product = unary (("*" | "/" | "//" | "%") unary)*
    unary  = "-" unary | atom
    atom   = number | string | "true" | "false" | name | "(" or_ ")"
           | ("min" | "max" | "log2") "(" or_ ("," or_)* ")"

An expression that mentions an inactive parameter is unknown where the answer depends on it
(Kleene's three-valued logic): an unknown constraint excludes nothing, an unknown condition is false.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from autotune.errors import SpecError, did_you_mean

MAX_LENGTH = 200  # an expression a person can review at a glance
_MAX_DEPTH = 32  # parentheses and unary signs; keeps hostile text from exhausting the stack

Array = npt.NDArray[Any]
Column = tuple[Array, npt.NDArray[np.bool_]]
"""Values and the mask of where they are known, both of shape ``n``."""

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<text>'[^'\\]*'|\"[^\"\\]*\")"
    r"|(?P<op>==|!=|<=|>=|//|[-+*/%<>(),]))"
)
_COMPARE = ("==", "!=", "<=", ">=", "<", ">")
_FUNCTIONS = {"min": (2, 8), "max": (2, 8), "log2": (1, 1)}
_PRECEDENCE = {"or": 0, "and": 1, "not": 2, **dict.fromkeys(_COMPARE, 3), "+": 4, "-": 4, "*": 5, "/": 5}
_PRECEDENCE |= {"//": 5, "%": 5, "neg": 6}
_WORDS = {"and", "or", "not", "true", "false", *_FUNCTIONS}


@dataclass(frozen=True, slots=True)
class Node:
    """Hold one node of a parsed expression: ``kind`` is an operator, ``name`` or ``constant``."""

    kind: str
    children: tuple[Node, ...] = ()
    value: int | float | str | bool = 0


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
        if not isinstance(text, str):
            raise SpecError(f"an expression must be text, found {text!r}")
        if len(text) > MAX_LENGTH:
            raise SpecError(f"an expression has at most {MAX_LENGTH} characters, found {len(text)}")
        root = _Parser(text).parse()
        return cls(_unparse(root), root)

    def names(self) -> frozenset[str]:
        """Return the parameter names that the expression mentions."""
        return frozenset(_names(self.root))

    def check_types(self, kinds: Mapping[str, str]) -> str:
        """Return the kind of the result: ``number``, ``text`` or ``bool``.

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
        columns = {
            name: (np.array([config[name]], dtype=object if isinstance(config[name], str) else None), _TRUE)
            if name in config
            else (np.zeros(1), ~_TRUE)
            for name in self.names()
        }
        values, known = self.evaluate(columns, 1)
        return bool(values[0]) if known[0] else None


_TRUE = np.ones(1, dtype=bool)


class _Parser:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str, int]] = []
        self.depth = 0
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                at = position + len(text[position:]) - len(text[position:].lstrip())
                raise SpecError(
                    f"cannot read {text[at]!r} at character {at + 1} of {text!r}; allowed: names, numbers, "
                    "strings, + - * / // % == != < <= > >= and or not ( ) min max log2",
                    hint="write a * a for a square" if text[at : at + 1] == "^" else "",
                )
            kind = str(match.lastgroup)
            self.tokens.append((kind, match.group(kind), match.start(kind) + 1))
            position = match.end()
        self.index = 0

    def parse(self) -> Node:
        if not self.tokens:
            raise SpecError("an expression must not be empty")
        node = self.or_()
        if self.index < len(self.tokens):
            self.fail("expected the end or an operator")
        return node

    def fail(self, wanted: str) -> NoReturn:
        if self.index < len(self.tokens):
            _, found, column = self.tokens[self.index]
            raise SpecError(f"{wanted}, found {found!r} at character {column} of {self.text!r}")
        raise SpecError(f"{wanted}, found the end of {self.text!r}")

    def take(self, *allowed: str) -> str | None:
        if self.index < len(self.tokens):
            kind, found, _ = self.tokens[self.index]
            if kind in ("op", "name") and found in allowed:
                self.index += 1
                return found
        return None

    def chain(self, operand: Callable[[], Node], *operators: str) -> Node:
        node = operand()
        while operator := self.take(*operators):
            node = Node(operator, (node, operand()))
        return node

    def or_(self) -> Node:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise SpecError(f"an expression nests at most {_MAX_DEPTH} deep: {self.text!r}")
        node = self.chain(self.and_, "or")
        self.depth -= 1
        return node

    def and_(self) -> Node:
        return self.chain(self.not_, "and")

    def not_(self) -> Node:
        flips = 0
        while self.take("not"):
            flips += 1
        node = self.compare()
        for _ in range(flips):
            node = Node("not", (node,))
        return node

    def compare(self) -> Node:
        node = self.sum()
        if operator := self.take(*_COMPARE):
            node = Node(operator, (node, self.sum()))
            if self.index < len(self.tokens) and self.tokens[self.index][1] in _COMPARE:
                self.fail("comparisons do not chain: join two of them with 'and'")
        return node

    def sum(self) -> Node:
        return self.chain(self.product, "+", "-")

    def product(self) -> Node:
        return self.chain(self.unary, "*", "/", "//", "%")

    def unary(self) -> Node:
        signs = 0
        while self.take("-"):
            signs += 1
        if signs > _MAX_DEPTH:
            raise SpecError(f"too many signs in {self.text!r}")
        node = self.atom()
        for _ in range(signs):
            node = Node("neg", (node,))
        return node

    def atom(self) -> Node:
        if self.take("("):
            node = self.or_()
            if not self.take(")"):
                self.fail("expected ')'")
            return node
        if function := self.take(*_FUNCTIONS):
            if not self.take("("):
                self.fail(f"expected '(' after {function}")
            arguments = [self.or_()]
            while self.take(","):
                arguments.append(self.or_())
            if not self.take(")"):
                self.fail("expected ')' or ','")
            low, high = _FUNCTIONS[function]
            if not low <= len(arguments) <= high:
                wanted = str(low) if low == high else f"{low} to {high}"
                raise SpecError(
                    f"{function} takes {wanted} arguments, found {len(arguments)} in {self.text!r}"
                )
            return Node(function, tuple(arguments))
        if self.index >= len(self.tokens):
            self.fail("expected a name or a number")
        kind, found, _ = self.tokens[self.index]
        if kind == "op" or (kind == "name" and found in _WORDS - {"true", "false"}):
            self.fail("expected a name or a number")
        self.index += 1
        if kind == "number":
            return Node("constant", value=int(found) if found.isdigit() else float(found))
        if kind == "text":
            return Node("constant", value=found[1:-1])
        if found in ("true", "false"):
            return Node("constant", value=found == "true")
        return Node("name", value=found)


def _names(node: Node) -> set[str]:
    if node.kind == "name":
        return {str(node.value)}
    return set().union(*(_names(child) for child in node.children))


def _unparse(node: Node) -> str:
    if node.kind == "constant":
        if isinstance(node.value, bool):
            return "true" if node.value else "false"
        return repr(node.value)
    if node.kind == "name":
        return str(node.value)
    parts = [_unparse(child) for child in node.children]
    if node.kind in _FUNCTIONS:
        return f"{node.kind}({', '.join(parts)})"
    mine = _PRECEDENCE[node.kind]
    for i, child in enumerate(node.children):
        theirs = _PRECEDENCE.get(child.kind, 9)
        # operators of one level group to the left, comparisons not at all
        if theirs < mine or (theirs == mine and (i == 1 or mine == _PRECEDENCE["=="])):
            parts[i] = f"({parts[i]})"
    if node.kind in ("not", "neg"):
        return f"{'not ' if node.kind == 'not' else '-'}{parts[0]}"
    return f"{parts[0]} {node.kind} {parts[1]}"


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
        if found[0] != found[1]:
            raise SpecError(f"{_unparse(node)!r} compares a {found[0]} with a {found[1]}")
        return "bool"
    wanted = "bool" if node.kind in ("and", "or", "not") else "number"
    for child, kind in zip(node.children, found, strict=True):
        if kind != wanted:
            raise SpecError(f"{node.kind!r} needs a {wanted}, found the {kind} {_unparse(child)!r}")
    return "bool" if node.kind in (*_COMPARE, "and", "or", "not") else "number"


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
    "==": lambda a, b: np.asarray(a == b, dtype=bool),
    "!=": lambda a, b: np.asarray(a != b, dtype=bool),
    "<": lambda a, b: _number(a) < _number(b),
    "<=": lambda a, b: _number(a) <= _number(b),
    ">": lambda a, b: _number(a) > _number(b),
    ">=": lambda a, b: _number(a) >= _number(b),
    "min": lambda a, b: np.minimum(_number(a), _number(b)),
    "max": lambda a, b: np.maximum(_number(a), _number(b)),
}
