"""Whether ``module:function`` or ``file.py:function`` can be there, told from source: none of it is run.

Refused is what the source is sure of. What it computes, imports with a star or leaves to compiled code may be
anything.
"""

from __future__ import annotations

import ast
import os
import symtable
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import decode_source, find_spec
from pathlib import Path

from autotune.core.input_file import TooLarge, read_raw, why
from autotune.errors import SpecError, did_you_mean

CALL = r"[^:\n]+:[A-Za-z_][A-Za-z0-9_.]*"
"""Pattern of a text that names a function."""

_ALLOWED = "allowed: module:function or file.py:function"
_MOST_BYTES = 1 << 18  # of a file that is read
_MOST_NAMES = 8  # that a message lists
_SHOWN = 60  # characters of a value in a message
_COMPUTES = {
    "exec", "eval", "globals", "vars", "locals", "setattr", "modules", "__dict__", "__path__", "__getattr__",
}  # fmt: skip
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_LITERALS = (ast.Constant, ast.JoinedStr, ast.List, ast.Tuple, ast.Dict, ast.Set)


def refuse_absent(
    target: str, *folders: Path, what: str = "function", here: bool = True, awaited: bool = False
) -> None:
    """Refuse a function whose file, module or name is not there, or whose name is something else.

    Args:
        target: ``module:function`` or ``file.py:function``.
        folders: Folders that modules are imported from before others; a file's path starts at the first.
        what: Kind of what is named, for messages.
        here: Whether it runs on this machine; else modules that do not lie in the folders may be anything.
        awaited: Whether an async function may be named.

    Raises:
        SpecError: It cannot be there; the hint has the nearest name.
    """
    where, _, name = target.rpartition(":")
    file: Path | None = folders[0] / where
    if not where.endswith(".py"):
        file = _module_file(where, folders, here=here)
    elif not os.path.isfile(str(file)):
        beside = [f"{stem}.py" for stem in _modules_in((folders[0] / where).parent, packages=False)]
        near = did_you_mean(Path(where).name, beside)
        raise SpecError(f"cannot find {str(file)!r}", hint=near or _ALLOWED)
    if file is not None:
        _refuse_name(file, name, what, here=here, awaited=awaited)


def _module_file(name: str, folders: Sequence[Path], *, here: bool) -> Path | None:
    """Return the source of a module; ``None`` where it may be one that has none, or none here.

    Raises:
        SpecError: There is no such module.
    """
    PathFinder.invalidate_caches()  # files may have come since it looked
    path, *parts = name.split(".")
    found = PathFinder.find_spec(path, [*map(str, folders)]) if path else None
    if here and path and (found is None or found.origin is None):  # a mere folder yields to any module
        try:
            found = find_spec(path) or found
        except (ImportError, ValueError, AttributeError):  # one of this process, such as __main__
            return None
    if found is None and here:
        raise _no_module(name, path, folders, "nor is it installed here")
    for part in parts:
        if found is None:
            return None
        path, file = f"{path}.{part}", _source_of(found)
        locations = [*(found.submodule_search_locations or ())]
        found = PathFinder.find_spec(path, locations) if part and locations else None
        source = None if found or file is None else _read(file)
        if source is not None and source.is_sure:
            raise _no_module(name, path, [*map(Path, locations)], "")
    return _source_of(found)


def _no_module(name: str, path: str, folders: Sequence[Path], more: str) -> SpecError:
    """Return the error of a module that is not there, with the nearest one of the same folders."""
    parent, dot, _ = path.rpartition(".")
    near = did_you_mean(path, [parent + dot + one for folder in folders for one in _modules_in(folder)])
    text = f"no module {path!r} of {name!r} in " if path != name else f"no module {name!r} in "
    text += str(folders[0]) if folders else f"{parent!r}, which is no package"
    return SpecError(", ".join(filter(None, (text, more))), hint=near or _ALLOWED)


def _modules_in(folder: Path, *, packages: bool = True) -> Iterator[str]:
    """Yield the names of the modules that lie in a folder."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix == ".py" and path.stem != "__init__":
            yield path.stem
        elif packages and (path / "__init__.py").is_file():
            yield path.name


def _source_of(found: ModuleSpec | None) -> Path | None:
    """Return the Python file of a module; ``None`` for compiled code and mere folders."""
    if found is None or not found.origin or not isinstance(found.loader, SourceFileLoader):
        return None
    return Path(found.origin)


@dataclass(frozen=True)
class _Source:
    """What the source of a module says.

    Args:
        tree: Its syntax tree.
        names: Names that the module gives values to.
    """

    tree: ast.Module
    names: frozenset[str]

    @property
    def is_sure(self) -> bool:
        """Whether the module has no other names than those that its source shows."""
        return not any(
            (isinstance(node, ast.Name) and node.id in _COMPUTES)
            or (isinstance(node, ast.Attribute) and node.attr in _COMPUTES)
            or (isinstance(node, ast.alias) and node.name == "*")
            or (isinstance(node, ast.FunctionDef) and node.name == "__getattr__")
            for node in ast.walk(self.tree)
        )

    @property
    def defined(self) -> list[str]:
        """Functions and classes at the top of the module."""
        return [node.name for node in self.tree.body if isinstance(node, _DEFINITIONS)]

    def sole_value(self, name: str) -> ast.AST | None:
        """Return the only value or definition that a name has; ``None`` where there may be others."""
        binders = [node for node in ast.walk(self.tree) if _binds(node, name)]
        for node in self.tree.body if len(binders) == 1 else ():
            targets = getattr(node, "targets", [getattr(node, "target", None)])
            if binders[0] is node:
                return node
            if isinstance(node, ast.Assign | ast.AnnAssign) and binders[0] in targets:
                return node.value
        return None


def _binds(node: ast.AST, name: str) -> bool:
    """Return whether a node gives a value to a name, in whatever scope."""
    if isinstance(node, ast.Name):
        return node.id == name and not isinstance(node.ctx, ast.Load)
    listed = getattr(node, "names", ())  # of global statements; those of imports are nodes
    named = (getattr(node, key, None) for key in ("name", "asname", "rest"))
    return name in listed or any(isinstance(one, str) and one.partition(".")[0] == name for one in named)


def _read(file: Path) -> _Source | None:
    """Return what a Python file says; ``None`` where it says nothing: it is too large or too deep.

    Raises:
        SpecError: It is no Python, or cannot be read.
    """
    try:
        text = decode_source(read_raw(file, _MOST_BYTES))
        with warnings.catch_warnings(action="ignore"):  # of an escape that Python does not know
            table = symtable.symtable(text, str(file), "exec")
            return _Source(ast.parse(text, str(file)), frozenset(_bound(table, is_module=True)))
    except (TooLarge, RecursionError, MemoryError):
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


def _refuse_name(file: Path, name: str, what: str, *, here: bool, awaited: bool) -> None:
    """Refuse a name that a Python file does not define, or defines as something that cannot be called.

    Raises:
        SpecError: It is so, or the file is no Python.
    """
    try:
        source = _read(file)
    except SpecError:
        if here:
            raise
        return  # another version of Python may read it
    if source is None or not source.is_sure:
        return
    first, *inner = name.split(".")
    if first not in source.names:
        module = file.parent / first
        if not (inner and (module.is_dir() or module.with_suffix(".py").is_file())):
            raise SpecError(f"{file} has no {what} {first!r}", hint=_near(first, source))
        return
    value = None if inner else source.sole_value(first)
    place = f"{file}:{getattr(value, 'lineno', 1)}"
    if isinstance(value, _LITERALS):
        found = ast.unparse(value)[:_SHOWN]
        raise SpecError(f"{place}: {first!r} is no {what}: it is {found}", hint=_near(first, source))
    if isinstance(value, ast.AsyncFunctionDef) and not (awaited or value.decorator_list):
        raise SpecError(
            f"{place}: {first!r} is async, and a {what} must run to its end",
            hint="give one that says asyncio.run(...)",
        )


def _near(name: str, source: _Source) -> str:
    """Return the nearest function of a module, or those that there are."""
    defined = [one for one in source.defined if not one.startswith("_")]
    listed = ", ".join(defined[:_MOST_NAMES]) + (", ..." if len(defined) > _MOST_NAMES else "")
    return did_you_mean(name, defined) or (f"allowed: {listed}" if defined else "it has none")
