"""Whether ``module:function`` or ``file.py:function`` can be there, told from source: none of it is run.

Refused is what the source is sure of. What it computes, writes as text, imports with a star or leaves to
compiled code may be anything; so may what is ``None`` yet, and all of a file that reaches modules' names.
"""

from __future__ import annotations

import ast
import os
import pkgutil
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path

from autotune.core.module_source import ModuleSource, is_value, read_source
from autotune.errors import SpecError, did_you_mean

CALL = r"[^:\n]+:[^\x00-@\[-^`{-\x7f][^\x00-\-/:-@\[-^`{-\x7f]*"
"""Pattern of a text that names a function, in the letters of any language."""

_ALLOWED = "allowed: module:function or file.py:function"
_MOST_NAMES = 8  # that a message lists
_SHOWN = 60  # characters of a value in a message
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def refuse_absent(
    target: str,
    *folders: Path,
    what: str = "function",
    here: bool = True,
    awaited: bool = False,
    called: bool = False,
) -> None:
    """Refuse a function whose file, module or name is not there, or whose name is something else.

    Args:
        target: ``module:function`` or ``file.py:function``.
        folders: Folders that modules are imported from before others; a file's path starts at the first.
        what: Kind of what is named, for messages.
        here: Whether it runs on this machine; else modules that do not lie in the folders may be anything.
        awaited: Whether an async function may be named.
        called: Whether it is called with one argument, and is to run to its end.

    Raises:
        SpecError: It cannot be there; the hint has the nearest name.
    """
    where, _, name = target.rpartition(":")
    if not all(part.isidentifier() for part in name.split(".")):
        raise SpecError(f"{name!r} is no name of a {what}", hint=_ALLOWED)
    files: list[Path | None] = []
    if where.endswith(".py"):
        files.append(folders[0] / where)
        _refuse_absent_file(folders[0] / where)
    else:
        files += _module_files(where, folders, here=here)
    *packages, file = files
    if file is not None:
        _refuse_name(file, [*filter(None, packages)], name, what, here=here, awaited=awaited, called=called)


def _refuse_absent_file(file: Path) -> None:
    """Refuse a file that is not there, or from which nothing can be read."""
    if os.path.isfile(str(file)):
        return
    if os.path.exists(str(file)):
        raise SpecError(f"{str(file)!r} is no regular file", hint=_ALLOWED)
    if os.path.islink(str(file)):
        raise SpecError(f"{str(file)!r} is a link that leads to no file", hint=_ALLOWED)
    near = did_you_mean(file.name, [f"{stem}.py" for stem in _modules_in(file.parent, packages=False)])
    raise SpecError(f"cannot find {str(file)!r}", hint=near or _ALLOWED)


def _module_files(name: str, folders: Sequence[Path], *, here: bool) -> list[Path | None]:
    """Return the sources of a module's packages and its own; ``None`` for one that has none, or none here.

    Raises:
        SpecError: There is no such module.
    """
    PathFinder.invalidate_caches()  # files may have come since it looked
    path, *parts = name.split(".")
    found = _found_in([*map(str, folders)], path) if path else None
    if here and path and (found is None or found.origin is None):  # a mere folder yields to any module
        try:
            found = find_spec(path) or found
        except (ImportError, ValueError, AttributeError):  # one of this process, such as __main__
            return [None]
    if found is None and here:
        raise _no_module(name, path, folders, "nor is it installed here")
    files: list[Path | None] = []
    for part in parts:
        if found is None:
            return [None]
        path, file = f"{path}.{part}", _source_of(found)
        files.append(file)
        locations = [*(found.submodule_search_locations or ())]
        found = _found_in(locations, path) if part else None
        source = None if found or file is None else read_source(file)
        if source is not None and source.is_sure:
            raise _no_module(name, path, [*map(Path, locations)], "")
    return [*files, _source_of(found)]


def _found_in(folders: Sequence[str], path: str) -> ModuleSpec | None:
    """Return what a module's last name is in the folders of its package, none of which is imported."""
    portions: list[str] = []
    for folder in folders:
        finder = pkgutil.get_importer(folder)
        found = None if finder is None else finder.find_spec(path)
        if found is not None and found.loader is not None:
            return found
        portions += [] if found is None else found.submodule_search_locations or []
    if not portions:
        return None
    mere = ModuleSpec(path, None, is_package=True)
    mere.submodule_search_locations = portions
    return mere


def _no_module(name: str, path: str, folders: Sequence[Path], more: str) -> SpecError:
    """Return the error of a module that is not there, with the nearest one of the same folders."""
    parent, dot, _ = path.rpartition(".")
    near = did_you_mean(path, [parent + dot + one for folder in folders for one in _modules_in(folder)])
    text = f"no module {path!r} of {name!r} in " if path != name else f"no module {name!r} in "
    inside = f"{parent!r}, which is no package" if parent else "the folders that Python imports from"
    text += str(folders[0]) if folders else inside
    return SpecError(", ".join(filter(None, (text, more))), hint=near or _ALLOWED)


def _modules_in(folder: Path, *, packages: bool = True) -> Iterator[str]:
    """Yield the names of the modules that lie in a folder."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix == ".py" and path.stem != "__init__":
            yield from [path.stem] if path.is_file() else []
        elif packages and (path / "__init__.py").is_file():
            yield path.name


def _source_of(found: ModuleSpec | None) -> Path | None:
    """Return the Python file of a module; ``None`` for compiled code and mere folders."""
    if found is None or not found.origin or not isinstance(found.loader, SourceFileLoader):
        return None
    return Path(found.origin)


def _refuse_name(
    file: Path, packages: Sequence[Path], name: str, what: str, *, here: bool, awaited: bool, called: bool
) -> None:
    """Refuse a name that a Python file does not define, or defines as something that cannot be called.

    Raises:
        SpecError: It is so, or the file is no Python.
    """
    try:
        source, *_ = read = [read_source(one) for one in (file, *packages)]
    except SpecError:
        if here:
            raise
        return  # another version of Python may read it
    first, *inner = name.split(".")
    if source is None or not source.is_sure or any(one is None or one.sets(first) for one in read):
        return
    if first not in source.names or source.lacks(first):
        module = file.parent / first
        if not (inner and (module.is_dir() or module.with_suffix(".py").is_file())):
            raise SpecError(f"{file} has no {what} {first!r}", hint=_near(first, source))
        return
    value = None if inner else source.sole_value(first)
    place = f"{file}:{getattr(value, 'lineno', 1)}"
    if (
        value is not None
        and (isinstance(value, ast.Import) or is_value(value))
        and getattr(value, "value", value) is not None
    ):
        try:
            found = f": it is {ast.unparse(value)[:_SHOWN]}"
        except RecursionError:  # a list of lists of lists
            found = ""
        raise SpecError(f"{place}: {first!r} is no {what}{found}", hint=_near(first, source))
    if isinstance(value, ast.AsyncFunctionDef) and not (awaited or value.decorator_list):
        raise SpecError(
            f"{place}: {first!r} is async, and a {what} must run to its end",
            hint="give one that says asyncio.run(...)",
        )
    if called and not inner and (misfit := source.misfit(first)):
        raise SpecError(f"{place}: {first!r} {misfit}", hint=_near(first, source))
    if (
        len(inner) == 1
        and not any(one.sets(inner[0]) for one in read if one)
        and source.lacks_inner(first, *inner)
    ):
        raise SpecError(f"{file} has no {what} {name!r}", hint=_near(first, source))


def _near(name: str, source: ModuleSource) -> str:
    """Return the nearest function of a module, or those that there are."""
    names = [node.name for node in source.tree.body if isinstance(node, _DEFINITIONS)]
    defined = [one for one in names if not one.startswith("_")]
    listed = ", ".join(defined[:_MOST_NAMES]) + (", ..." if len(defined) > _MOST_NAMES else "")
    return did_you_mean(name, defined) or (f"allowed: {listed}" if defined else "it has none")
