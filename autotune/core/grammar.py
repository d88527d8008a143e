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
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from autotune.errors import SpecError

MAX_LENGTH = 200  # an expression a person can review at a glance
MAX_SIZE = 1_000
"""Names, numbers and operators of an expression whose derived values are written out."""
_MAX_DEPTH = 32  # parentheses and unary signs; keeps hostile text from exhausting the stack

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<text>'[^'\\]*'|\"[^\"\\]*\")"
    r"|(?P<op>==|!=|<=|>=|//|[-+*/%<>(),]))"
)
COMPARE = ("==", "!=", "<=", ">=", "<", ">")
FUNCTIONS = {"min": (2, 8), "max": (2, 8), "log2": (1, 1)}
_PRECEDENCE = {"or": 0, "and": 1, "not": 2, **dict.fromkeys(COMPARE, 3), "+": 4, "-": 4, "*": 5, "/": 5}
_PRECEDENCE |= {"//": 5, "%": 5, "neg": 6}
_WORDS = {"and", "or", "not", "true", "false", *FUNCTIONS}
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A node of a parsed expression: ``kind`` is an operator, ``name`` or ``constant``.

    A node is equal to itself alone: comparing trees that share subtrees would take exponential time.
    """

    kind: str
    children: tuple[Node, ...] = ()
    value: int | float | str | bool = 0


def parse(text: str) -> Node:
    """Return the tree of ``text``.

    Raises:
        SpecError: It is longer than 200 characters or not in the grammar; the column is named.
    """
    if not isinstance(text, str):
        raise SpecError(f"an expression must be text, found {text!r}")
    if len(text) > MAX_LENGTH:
        raise SpecError(f"an expression has at most {MAX_LENGTH} characters, found {len(text)}")
    return _Parser(text).parse()


def fold(
    root: Node, rule: Callable[[Node, list[Found]], Found], done: dict[Node, Found] | None = None
) -> Found:
    """Return what a rule makes of a tree from its leaves up; a subtree that is shared is looked at once.

    Without recursion: derived values that build on each other nest deeper than the interpreter's stack.

    Args:
        root: Root of the tree.
        rule: Function of a node and what was found for its children, in their order.
        done: Results for other trees that share nodes with this one; it is added to. Without it what
            was found for a node is dropped after its last use: it may be a large array.
    """
    found = {} if done is None else done
    order = _ordered(root, found)
    uses = Counter(child for node in order for child in node.children)
    for node in order:
        found[node] = rule(node, [found[child] for child in node.children])
        for child in node.children if done is None else ():
            uses[child] -= 1
            if not uses[child]:
                del found[child]
    return found[root]


def _ordered(root: Node, done: Collection[Node]) -> list[Node]:
    """Return the nodes of a tree that are not done, each once, after its children."""
    order: dict[Node, None] = {}
    stack = [root]
    while stack:
        node = stack[-1]
        fresh = node not in order and node not in done
        waiting = [child for child in node.children if child not in order and child not in done]
        if fresh and waiting:
            stack += reversed(waiting)
            continue
        stack.pop()
        if fresh:
            order[node] = None
    return list(order)


def size_of(root: Node) -> int:
    """Return how many names, numbers and operators a tree has when it is written out."""
    return fold(root, lambda _, sizes: 1 + sum(sizes))


def unparse(node: Node, done: dict[Node, str] | None = None) -> str:
    """Return the canonical text of a tree; ``done`` as in :func:`fold`."""
    return fold(node, _text, done)


def _text(node: Node, parts: list[str]) -> str:
    if node.kind == "constant":
        if isinstance(node.value, bool):
            return "true" if node.value else "false"
        return repr(node.value)
    if node.kind == "name":
        return str(node.value)
    if node.kind in FUNCTIONS:
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
        if operator := self.take(*COMPARE):
            node = Node(operator, (node, self.sum()))
            if self.index < len(self.tokens) and self.tokens[self.index][1] in COMPARE:
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
        if function := self.take(*FUNCTIONS):
            if not self.take("("):
                self.fail(f"expected '(' after {function}")
            arguments = [self.or_()]
            while self.take(","):
                arguments.append(self.or_())
            if not self.take(")"):
                self.fail("expected ')' or ','")
            low, high = FUNCTIONS[function]
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
