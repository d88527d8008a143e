"""Values that a Python file writes down, read from its text: nothing of the file is run.

What is read: literals, arithmetic of numbers, ``range``, ``list`` and the like over them, simple list
comprehensions, names that are assigned once, and calls of known functions as :class:`Call`. All else is
:class:`Unreadable`, with its place.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotune.convert.python_scope import Scopes
from autotune.core.input_file import read_text, why
from autotune.errors import SpecError
from autotune.spec.yaml_text import Mark

_MOST_BYTES = 1 << 20
_MOST_ITEMS = 10_000
_MOST_DEPTH = 20
_LARGEST_POWER = 1024
_LARGEST = 1e300

_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COLLECTIONS: dict[str, Callable[[Any], Any]] = {"list": list, "tuple": list, "sorted": sorted}
_NUMBERS: dict[str, Callable[[Any], Any]] = {"int": int, "float": float, "abs": abs}


class Unreadable(Exception):
    """A value that only running the file would give.

    Args:
        node: Node that cannot be read.
        why: Name of what it is.
    """

    def __init__(self, node: ast.AST, why: str) -> None:
        super().__init__(why)
        self.node, self.why = node, why


@dataclass(frozen=True)
class Call:
    """A call of a known function: its name, and its arguments as nodes."""

    name: str
    node: ast.Call


@dataclass
class Source:
    """A Python file that is read, never run.

    Args:
        path: Path of the file.
        tree: Tree of its text.
        package: Package whose functions are known: ``ray.tune``.
        aliases: Full name by the name that an import gives.
        scopes: Names of its module and of each function.
        left: Number of further expressions that are read, so that a small file cannot ask for a large value.
    """

    path: str
    tree: ast.Module
    package: str
    aliases: dict[str, str] = field(default_factory=dict)
    scopes: Scopes = field(init=False)
    left: int = 200_000

    def __post_init__(self) -> None:
        self.scopes = Scopes(self.tree)

    @classmethod
    def read(cls, path: str, package: str) -> Source:
        """Read a file.

        Raises:
            SpecError: It is not there, too large, or no Python.
        """
        try:
            text = read_text(Path(path), _MOST_BYTES)
        except (OSError, ValueError) as error:
            raise SpecError(f"{path}: cannot be read: {why(error)}") from None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of escapes in its texts
                tree = ast.parse(text)
        except SyntaxError as error:
            said = f"{path}:{error.lineno or 1}:{error.offset or 1}: not valid Python: {error.msg}"
            raise SpecError(said) from None
        except (ValueError, RecursionError, MemoryError):
            raise SpecError(f"{path}: not valid Python: nested too deep, or not text") from None
        source = cls(path, tree, package)
        source._read_names()
        return source

    def mark(self, node: ast.AST) -> Mark:
        """Return where a node stands."""
        return Mark(self.path, getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1)

    def text_of(self, node: ast.AST) -> str:
        """Return a node as short text."""
        try:
            text = " ".join(ast.unparse(node).split())
        except RecursionError:
            return "..."
        return text if len(text) <= 60 else f"{text[:57]}..."

    def walk(self) -> Iterator[ast.AST]:
        """Return every node in the order of the text."""
        waiting: list[ast.AST] = [self.tree]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(list(ast.iter_child_nodes(node))))

    def assigned(self, node: ast.Name) -> list[ast.expr]:
        """Return what is assigned to a name in the scope whose name it is, in order."""
        owner = self.scopes.of(node).owner(node.id)
        return owner.values.get(node.id, []) if owner else []

    def only(self, node: ast.AST) -> ast.expr | None:
        """Return what a name stands for, ``None`` where it is no name with a single value."""
        if not isinstance(node, ast.Name) or self._changes(node):
            return None
        found = self.assigned(node)
        return found[0] if len(found) == 1 else None

    def _changes(self, node: ast.Name) -> bool:
        owner = self.scopes.of(node).owner(node.id)
        return owner is not None and node.id in owner.changing

    def known_call(self, node: ast.AST) -> Call | None:
        """Return a call of the package's function, ``None`` for anything else."""
        if not isinstance(node, ast.Call):
            return None
        full = self._full_name(node.func)
        package, _, name = full.rpartition(".")
        known = package == self.package or package.startswith(f"{self.package}.")
        return Call(name, node) if known else None

    def value(self, node: ast.AST, names: Mapping[str, object] | None = None, depth: int = 0) -> Any:
        """Return the value of an expression.

        Args:
            node: Node of the expression.
            names: Values of names that a comprehension gives.
            depth: Number of names and brackets around it.

        Raises:
            Unreadable: Only running the file would give it.
        """
        names, deeper = names or {}, depth + 1
        self.left -= 1
        if depth > _MOST_DEPTH or self.left < 0:
            raise Unreadable(node, "nested too deep or too large")
        if isinstance(node, ast.Constant):
            if isinstance(node.value, bytes | complex) or node.value is ...:
                raise Unreadable(node, f"{self.text_of(node)} is no number, text or truth value")
            return node.value
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return [self.value(item, names, deeper) for item in node.elts]
        if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
            keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
            values = [self.value(item, names, deeper) for item in node.values]
            return {str(key): item for key, item in zip(keys, values, strict=True)}
        if isinstance(node, ast.Name):
            return names[node.id] if node.id in names else self._named(node, depth)
        if isinstance(node, ast.UnaryOp | ast.BinOp):
            return self._computed(node, names, deeper)
        if isinstance(node, ast.ListComp | ast.GeneratorExp):
            return self._comprehended(node, names, deeper)
        if isinstance(node, ast.Call):
            return self._called(node, names, deeper)
        raise Unreadable(node, f"{self.text_of(node)} is computed when the file runs")

    def _named(self, node: ast.Name, depth: int) -> object:
        found = self.only(node)
        if found is None:
            known = self.assigned(node) or self._changes(node)
            raise Unreadable(node, f"{node.id} has no single value in this file" if known else
                             f"{node.id} is not assigned in this file")  # fmt: skip
        return self.value(found, depth=depth + 1)

    def _computed(self, node: ast.UnaryOp | ast.BinOp, names: Mapping[str, object], depth: int) -> Any:
        if isinstance(node, ast.UnaryOp):
            value = self.value(node.operand, names, depth)
            if isinstance(node.op, ast.Not) and isinstance(value, bool):
                return not value
            if isinstance(node.op, ast.USub | ast.UAdd) and isinstance(value, int | float):
                return -value if isinstance(node.op, ast.USub) else value
            raise Unreadable(node, f"{self.text_of(node)} is computed when the file runs")
        left, right = (self.value(side, names, depth) for side in (node.left, node.right))
        function = _OPERATORS.get(type(node.op))
        numbers = all(isinstance(side, int | float) for side in (left, right))
        lists = isinstance(node.op, ast.Add) and all(isinstance(side, list) for side in (left, right))
        large = isinstance(node.op, ast.Pow) and numbers and max(abs(left), abs(right)) > _LARGEST_POWER
        if function is None or not (numbers or lists) or large:
            raise Unreadable(node, f"{self.text_of(node)} is computed when the file runs")
        try:
            result = function(left, right)
        except (ArithmeticError, ValueError):
            raise Unreadable(node, f"{self.text_of(node)} has no value") from None
        long = len(result) > _MOST_ITEMS if isinstance(result, list) else abs(result) > _LARGEST
        if isinstance(result, complex) or long:
            raise Unreadable(node, f"{self.text_of(node)} is no value of a parameter")
        return result

    def _comprehended(
        self, node: ast.ListComp | ast.GeneratorExp, names: Mapping[str, object], depth: int
    ) -> list[object]:
        (over, *more) = node.generators
        if more or over.ifs or not isinstance(over.target, ast.Name):
            raise Unreadable(node, f"{self.text_of(node)} is computed when the file runs")
        name = over.target.id
        items = self.value(over.iter, names, depth)
        if not isinstance(items, list):
            raise Unreadable(over.iter, f"{self.text_of(over.iter)} is no list")
        return [self.value(node.elt, {**names, name: item}, depth) for item in items]

    def _called(self, node: ast.Call, names: Mapping[str, object], depth: int) -> Any:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if node.keywords or name in self.aliases or name not in (*_COLLECTIONS, *_NUMBERS, "range"):
            raise Unreadable(node, f"{self.text_of(node)} is computed when the file runs")
        values = [self.value(item, names, depth) for item in node.args]
        try:
            if name == "range":
                found = range(*values)
                if len(found) > _MOST_ITEMS:
                    raise Unreadable(node, f"{self.text_of(node)} has more than {_MOST_ITEMS} values")
                return list(found)
            (value,) = values
            return (_COLLECTIONS | _NUMBERS)[name](value)
        except (TypeError, ValueError, OverflowError):
            raise Unreadable(node, f"{self.text_of(node)} has no value") from None

    def _read_names(self) -> None:
        for node in self.walk():
            if isinstance(node, ast.Import):
                for alias in node.names:
                    full = alias.name if alias.asname else alias.name.partition(".")[0]
                    self.aliases[alias.asname or full] = full
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    self.aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def _full_name(self, node: ast.AST) -> str:
        """Return the dotted name of a function with its imports written out; empty if it has none."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        first = self.aliases.get(node.id, node.id)
        if first == self.package.rpartition(".")[2] and node.id not in self.aliases:
            first = self.package  # a snippet without its import
        return ".".join([first, *reversed(parts)])
