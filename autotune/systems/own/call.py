"""Call a function and write its metrics: ``python -m autotune.systems.own.call module:function FILE``.

The configuration is the JSON object of the variable ``AUTOTUNE_CONFIG``. What the function prints goes to
standard error, which is the attempt's log; an exception ends the process with its traceback there.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from inspect import iscoroutine
from pathlib import Path
from types import ModuleType
from typing import Any

from autotune.core.measurement import Estimate, Infeasible, read_estimate
from autotune.errors import SpecError
from autotune.systems.base import SOLE
from autotune.systems.own.protocol import CANNOT_LOAD


def main() -> None:
    """Call the function of the arguments."""
    target, file = sys.argv[1:3]
    call_main(target, file, lambda function, config: function(config))


def call_main(target: str, file: str, call: Callable[[Callable[..., Any], dict[str, Any]], Any]) -> None:
    """Load what a target names, call it with the configuration, and write its metrics.

    Args:
        target: ``module:function`` or ``file.py:function``.
        file: Path of the file that they are written to; ``/dev/stdout`` prints them.
        call: Function that calls what was loaded with the configuration.
    """
    result = Path(file)
    out = os.dup(1) if result == Path("/dev/stdout") else None
    os.dup2(2, 1)  # prints, of libraries too, belong to the log
    try:
        function = load(target)
    except Exception:  # noqa: BLE001 - the user's file: whatever it raises is why it cannot be loaded
        traceback.print_exc()
        sys.exit(CANNOT_LOAD)
    try:
        found = call(function, json.loads(os.environ["AUTOTUNE_CONFIG"]))
    except Infeasible as error:
        sys.exit(error.line)
    if iscoroutine(found):
        found.close()
        raise TypeError("the function is async; give one that runs to its end: asyncio.run(function(config))")
    metrics = found if isinstance(found, Mapping) else {SOLE: found}
    for name, value in metrics.items():
        if isinstance(value, tuple):  # JSON would make a list of samples of it
            try:
                read_estimate(value)
            except SpecError as error:
                raise TypeError(f"metric {name!r}: {error.message}; {error.hint}") from None
    text = json.dumps(metrics, default=plain)
    if out is None:
        result.write_text(text + "\n", encoding="utf-8")
    else:
        os.write(out, text.encode() + b"\n")


def load(target: str, folder: str = "") -> Callable[..., Any]:
    """Return the function that ``module:function`` or ``file.py:function`` names.

    The folders come first on the module path, as that of a script does: what a user's file imports is what it
    imports when it is run alone. They come after all that this process needs is imported, so that a file
    beside the user's, ``autotune.py`` or ``json.py``, takes no place of ours.

    Args:
        target: ``module:function`` or ``file.py:function``.
        folder: Folder that modules are imported from before others; after it, the working folder.
    """
    where, _, name = target.rpartition(":")
    path = Path(where).resolve() if where.endswith(".py") else None
    own = str(path.parent) if path else folder
    folders = [*dict.fromkeys([*filter(None, [own]), str(Path.cwd())])]
    sys.path[:0] = folders
    found: Any = _imported(where, folders) if path is None else _file_as_module(path.stem, path)
    for part in name.split("."):
        found = getattr(found, part)
    function: Callable[..., Any] = found
    return function


def _imported(name: str, folders: list[str]) -> ModuleType:
    """Return a module; one of the folders by its file, where another module has its name by now."""
    first, dot, rest = name.partition(".")
    there = (PathFinder.find_spec(first, [folder]) for folder in folders)
    spec = next((found for found in there if found is not None and found.has_location), None)
    if spec is None or spec.origin is None or not _is_taken(first, Path(spec.origin)):
        return import_module(name)
    found = _file_as_module(first, Path(spec.origin), spec.submodule_search_locations)
    return import_module(f"{found.__name__}.{rest}") if dot else found


def _file_as_module(name: str, path: Path, inner: list[str] | None = None) -> ModuleType:
    """Return a file as a module that replaces none which is there.

    Args:
        name: Name that it has when it is imported; it gets another where that is taken.
        path: Its file.
        inner: Folders of its modules where it is a package.
    """
    name = f"{name}_of_the_study" if _is_taken(name, path) else name
    spec = spec_from_file_location(name, path, submodule_search_locations=inner)
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - Python's suffix
    found = module_from_spec(spec)
    sys.modules[name] = found  # dataclasses and pickles look their module up
    spec.loader.exec_module(found)
    return found


def _is_taken(name: str, path: Path) -> bool:
    """Return whether a module of another file has a name."""
    if name in sys.builtin_module_names:
        return True
    file = getattr(sys.modules.get(name), "__file__", None)
    return name in sys.modules and not (file and Path(file).resolve() == path.resolve())


def plain(value: object) -> object:
    """Return an estimate, an array or a scalar of a library as plain data."""
    if isinstance(value, Estimate):
        return value.to_dict()
    for method in ("tolist", "item"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise TypeError(f"a metric must be a number, a list of numbers or an estimate, found {value!r}")


if __name__ == "__main__":
    main()
