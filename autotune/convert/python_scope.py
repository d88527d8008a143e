"""Which names of a Python file belong together: those of the module, and of each class and function."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.TryStar, ast.Match, ast.IfExp, ast.BoolOp,
             ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)  # fmt: skip


@dataclass(eq=False)
class Scope:
    """The names of a module, a class or a function.

    Args:
        node: Node of it.
        outer: Scope around it.
        values: Expressions assigned to each name, in order.
        changing: Names that get values in other ways too: arguments, loops, ``+=``.
        elsewhere: Names that ``global`` and ``nonlocal`` say are not its own.
    """

    node: ast.AST
    outer: Scope | None = None
    values: dict[str, list[ast.expr]] = field(default_factory=dict)
    changing: set[str] = field(default_factory=set)
    elsewhere: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """Name of its class or function; empty for the module's."""
        return str(getattr(self.node, "name", ""))

    def owner(self, name: str) -> Scope | None:
        """Return the scope whose name it is, as Python looks it up; ``None`` where none has it."""
        scope: Scope | None = self
        while scope is not None:
            hidden = scope is not self and isinstance(scope.node, ast.ClassDef)
            if not hidden and (name in scope.values or name in scope.changing):
                return scope
            scope = scope.outer
        return None

    def bind(self, target: ast.AST, value: ast.expr | None) -> None:
        """Add what an assignment gives to its target; no value where it is not written down."""
        if isinstance(target, ast.Tuple | ast.List):
            for item in target.elts:
                self.bind(item, None)
        elif isinstance(target, ast.Name):
            scope = self
            while target.id in scope.elsewhere and scope.outer is not None:
                scope = scope.outer
            if value is None:
                scope.changing.add(target.id)
            else:
                scope.values.setdefault(target.id, []).append(value)


class Scopes:
    """The scope of every node of a file, and which of them only some runs reach."""

    def __init__(self, tree: ast.Module) -> None:
        self.module = Scope(tree)
        self.every = [self.module]
        self.branched: set[ast.AST] = set()
        self._of: dict[ast.AST, Scope] = {}
        waiting: list[tuple[ast.AST, Scope, bool]] = [(tree, self.module, False)]
        while waiting:
            node, scope, branched = waiting.pop()
            self._of[node] = scope
            if branched:
                self.branched.add(node)
            _read_names(node, scope)
            if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
                scope, branched = Scope(node, scope), False
                self.every.append(scope)
            branched = branched or (isinstance(node, _BRANCHES) and not _is_main(node))
            waiting.extend((inner, scope, branched) for inner in reversed(list(ast.iter_child_nodes(node))))

    def of(self, node: ast.AST) -> Scope:
        """Return the scope that a node stands in."""
        return self._of.get(node, self.module)

    def functions(self, name: str) -> Iterator[Scope]:
        """Return the scopes of the functions of a name."""
        return (scope for scope in self.every if isinstance(scope.node, _FUNCTIONS) and scope.name == name)


def _is_main(node: ast.AST) -> bool:
    """Return whether a node is ``if __name__ == "__main__":``."""
    test = node.test if isinstance(node, ast.If) else None
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"


def _read_names(node: ast.AST, scope: Scope) -> None:
    """Add the names that a node gives to its scope."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            scope.bind(target, node.value)
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        scope.bind(node.target, node.value)
    elif isinstance(node, ast.AugAssign | ast.For | ast.AsyncFor | ast.NamedExpr):
        scope.bind(node.target, None)
    elif isinstance(node, ast.arg):
        scope.changing.add(node.arg)
    elif isinstance(node, ast.Global | ast.Nonlocal):
        scope.elsewhere.update(node.names)
