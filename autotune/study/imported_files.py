"""What Python files import from beside themselves, as modules that lie in folders."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

from autotune.errors import SpecError


def imports_of(file: Path) -> set[tuple[int, str]]:
    """Return level and name of the modules that a Python file imports; none of a file that is no Python."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # said when it is run
        return set()
    names: set[tuple[int, str]] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {(0, alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            stem = node.module or ""
            for name in (stem, *(f"{stem}.{alias.name}".strip(".") for alias in node.names)):
                names.add((node.level, name))
    return {(level, name) for level, name in names if name and not name.endswith("*")}


def refuse_lost_import(file: Path, level: int, name: str, folders: Sequence[Path]) -> None:
    """Refuse a link to a Python file whose imports lie beside that file, and not beside the link.

    Args:
        file: Python file, by the name that it travels under.
        level: Dots of the import.
        name: Module that it imports.
        folders: Folders where the import is looked up there.
    """
    target = file.resolve()
    if target.parent == file.parent.resolve():
        return
    beside = module_file(target.parents[min(max(level, 1), len(target.parents)) - 1], name)
    if beside is None:
        return
    there = next(filter(None, (module_file(folder, name) for folder in folders)), None)
    if there is None:
        raise SpecError(
            f"{file} is a link to {target}, which imports {name!r} from beside itself: that would not be "
            "found on the cluster, where a link travels as a file",
            hint=f"a link to {beside} beside {file.name} makes it travel too",
        )
    if there.read_bytes() != beside.read_bytes():
        raise SpecError(
            f"{file} is a link to {target}, which imports {name!r}: on the cluster that would be {there}, "
            f"and here it may be {beside}, which differs",
            hint=f"a link in place of {there} leaves one of them",
        )


def module_file(folder: Path, name: str) -> Path | None:
    """Return the file of a module that lies in a folder; of a package, that which makes it one."""
    path = folder.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
