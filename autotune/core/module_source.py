"""What the source of a module is sure to say. It is compiled, as an import does it; none of it is run."""

from __future__ import annotations

import ast
import symtable
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from importlib.util import decode_source
from pathlib import Path
from types import FunctionType

from autotune.core.input_file import TooLarge, read_raw, why
from autotune.errors import SpecError

_MOST_BYTES = 1 << 18  # of a file that is read
_SHOWN = 60  # characters of parameters in a message
_REACHES = {  # the variables of its own module, of another, or of a caller
    "exec", "eval", "globals", "vars", "locals", "setattr", "modules",
    "__dict__", "__setattr__", "__globals__", "f_globals", "f_locals",
}  # fmt: skip
_MAKES = {"__new__", "__init__"}  # what a class takes
_CHANGES = {"__code__", "__defaults__", "__kwdefaults__"}  # what a function takes
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_DESCRIBED = ("staticmethod", "classmethod", "property")
_VALUES = (
    ast.Constant, ast.JoinedStr, ast.List, ast.Tuple, ast.Dict, ast.Set,
    ast.ListComp, ast.SetComp, ast.DictComp,
)  # fmt: skip


@dataclass(frozen=True)
class ModuleSource:
    """The facts of a module that its source says.

    Args:
        tree: Its syntax tree.
        names: Names that the module gives values to.
    """

    tree: ast.Module
    names: frozenset[str]

    @property
    def is_sure(self) -> bool:
        """Whether the module has no other names than those that its source shows."""
        return not self._mentions({*_REACHES, "*", "__path__", "__getattr__"})

    def sets(self, name: str) -> bool:
        """Return whether it may set a name in a module, its own or another."""
        nodes = [*ast.walk(self.tree)]
        texts = {one.value for one in nodes if isinstance(one, ast.Constant)}  # taken for names by somebody
        set_ = {
            one.attr for one in nodes if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store)
        }
        return self._mentions(_REACHES) or name in texts or not set_.isdisjoint((name, "__class__"))

    def _mentions(self, names: set[str]) -> bool:
        """Return whether one of the names is read, imported or defined somewhere."""
        keys = ("id", "attr", "name", "asname")
        return any(getattr(one, key, None) in names for one in ast.walk(self.tree) for key in keys)

    def lacks(self, name: str) -> bool:
        """Return whether a name is left without a value, as ``name: int`` and ``del name`` leave it."""
        binders = [node for node in ast.walk(self.tree) if _binds(node, name)]
        valued, bare, deleted = 0, 0, 0  # where they are statements at the top
        for node in self.tree.body:
            if isinstance(node, ast.AnnAssign) and node.value is None and node.target in binders:
                bare += 1
            elif isinstance(node, ast.Delete) and any(target in binders for target in node.targets):
                deleted += 1
            elif node in binders and not isinstance(node, ast.Global) and not deleted:
                valued += 1
        return (bare + deleted > 0) and bare + deleted + valued == len(binders) and deleted == min(valued, 1)

    def sole_value(self, name: str) -> ast.AST | None:
        """Return the only value or definition that a name has; ``None`` where there may be others."""
        binders = [node for node in ast.walk(self.tree) if _binds(node, name)]
        for node in self.tree.body if len(binders) == 1 else ():
            targets = getattr(node, "targets", [getattr(node, "target", None)])
            if binders[0] in (node, *(node.names if isinstance(node, ast.Import) else ())):
                return node
            if isinstance(node, ast.Assign | ast.AnnAssign) and binders[0] in targets:
                return node.value
        return None

    def misfit(self, name: str) -> str:
        """Return why calling a name with one argument gives no result; empty where it may give one."""
        value = self._sole_definition(name)
        if isinstance(value, ast.ClassDef):
            if value.bases or value.keywords or self._mentions(_MAKES):
                return ""
            return "is called with one argument, and is a class that takes none"
        if value is None or self._mentions(_CHANGES):
            return ""
        taken = value.args
        places = len(taken.posonlyargs) + len(taken.args)
        fits = (
            places - len(taken.defaults) <= 1 and (places or taken.vararg) and None not in taken.kw_defaults
        )
        if not fits:
            return f"is called with one argument, and takes ({_shown(taken)})"
        return "is a generator, which nobody runs: it has a `yield`" if _yields(value) else ""

    def lacks_inner(self, name: str, inner: str) -> bool:
        """Return whether a function or class of the module has no attribute of a name."""
        value = self._sole_definition(name)
        if value is None or inner.startswith("_") or self.sets(inner):
            return False
        if not isinstance(value, ast.ClassDef):
            return not hasattr(FunctionType, inner)
        if value.bases or value.keywords or not all(map(_is_simple, value.body)):
            return False
        return not (hasattr(type, inner) or any(_binds(one, inner) for one in ast.walk(value)))

    def _sole_definition(
        self, name: str
    ) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef | None:
        """Return the only definition of a name that nothing decorates and no other code is given."""
        value = self.sole_value(name)
        if not isinstance(value, _DEFINITIONS) or getattr(value, "decorator_list", []):
            return None
        nodes = [*ast.walk(self.tree)]
        read = [one for one in nodes if isinstance(one, ast.Name) and one.id == name]
        called = {one.func for one in nodes if isinstance(one, ast.Call)}
        return value if all(_binds(one, name) or one in called for one in read) else None


def _binds(node: ast.AST, name: str) -> bool:
    """Return whether a node gives a value to a name, in whatever scope."""
    if isinstance(node, ast.Name):
        return node.id == name and not isinstance(node.ctx, ast.Load)
    listed = getattr(node, "names", ())  # of global statements; those of imports are nodes
    named = (getattr(node, key, None) for key in ("name", "asname", "rest"))
    return name in listed or any(isinstance(one, str) and one.partition(".")[0] == name for one in named)


def is_value(node: ast.AST) -> bool:
    """Return whether an expression is a number, a text or a collection, computed from such at most."""
    nodes = [node]
    for one in nodes:
        if isinstance(one, ast.UnaryOp):
            nodes.append(one.operand)
        elif isinstance(one, ast.BinOp):
            nodes += [one.left, one.right]
        elif not isinstance(one, _VALUES):
            return False
    return True


def _is_simple(node: ast.stmt) -> bool:
    """Return whether a statement of a class gives it no attribute but those that it names."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return all(isinstance(one, ast.Name) and one.id in _DESCRIBED for one in node.decorator_list)
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.Expr):
        return node.value is None or is_value(node.value)
    return isinstance(node, ast.Pass)


def _yields(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> bool:
    """Return whether a function is a generator; what it holds besides is not."""
    nodes: list[ast.AST] = [function.body] if isinstance(function, ast.Lambda) else [*function.body]
    for node in nodes:
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        nodes += [] if isinstance(node, _DEFINITIONS) else ast.iter_child_nodes(node)
    return False


def _shown(node: ast.AST) -> str:
    try:
        return ast.unparse(node)[:_SHOWN]
    except RecursionError:  # a default that is a list of lists of lists
        return "..."


def read_source(file: Path) -> ModuleSource | None:
    """Return what a Python file says; ``None`` where it says nothing: it is too large or too deep.

    Raises:
        SpecError: It is no Python, or cannot be read.
    """
    try:
        data = read_raw(file, _MOST_BYTES)
        with warnings.catch_warnings(action="ignore"):  # of an escape that Python does not know
            SourceFileLoader("", str(file)).source_to_code(data, str(file))  # what only the compiler refuses
            table = symtable.symtable(decode_source(data), str(file), "exec")
            tree = ast.parse(data, str(file))
        return ModuleSource(tree, frozenset(_bound(table, is_module=True)))
    except (TooLarge, RecursionError, MemoryError, OverflowError):
        return None
    except OSError as error:
        raise SpecError(f"{file}: cannot be read: {why(error)}") from None
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise SpecError(f"{file}:{line}: no valid Python: {getattr(error, 'msg', error)}") from None


def _bound(table: symtable.SymbolTable, *, is_module: bool = False) -> Iterator[str]:
    """Yield the names that a module gives a value to, those that its functions declare global too."""
    for symbol in table.get_symbols():
        if (is_module or symbol.is_declared_global()) and (symbol.is_assigned() or symbol.is_imported()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _bound(child)
