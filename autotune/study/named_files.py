"""The files that a study file names beside itself: what has to travel with it, and no more.

Found are texts of the file, and of the spaces and objectives that it names, that are relative paths of files:
traces, prompts, tables, programs, and Python files or modules with whatever they import from beside
themselves.
"""

from __future__ import annotations

import ast
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from autotune.core.input_file import resolved
from autotune.errors import SpecError
from autotune.spec.yaml_text import parse_text, read_text

LARGEST = 64 << 20
"""Bytes of the largest file that travels: Ray keeps what is sent in the memory of its head."""

_ENDINGS = (".yaml", ".yml")


def named_files(study: Path, more: Sequence[str] = ()) -> list[Path]:
    """Return a study file and the files that it names by relative paths, absolute and each once.

    Args:
        study: Path of the study file, which can be read.
        more: Texts that stand in for some of the file: values of ``--set``.

    Raises:
        SpecError: A folder or a file is named that is too large to be sent.
    """
    found: dict[Path, None] = {}
    _add(resolved(study), found)
    for text in more:
        _add_text(resolved(study).parent, text, found)
    return list(found)


def _add(file: Path, found: dict[Path, None]) -> None:
    """Add a file and those that it names."""
    if file in found:
        return
    if file.stat().st_size > LARGEST:
        raise SpecError(
            f"{file} has more than {LARGEST >> 20} MiB and does not travel with the study",
            hint="put it where every node finds it, and name it by its absolute path",
        )
    found[file] = None
    if file.suffix == ".py":
        for name in _imported(file):
            _add_module(file.parent, name, found)
    elif file.suffix in _ENDINGS:
        try:
            data = parse_text(read_text(file), str(file)).data
        except SpecError:  # no study file or space; it travels as it is
            return
        folders = [file.parent, *_folders(data, file.parent)]
        for text in _texts(data):
            for folder in folders:
                _add_text(folder, text, found)
        _refuse_model(data, file)


def _folders(data: Mapping[str, object], folder: Path) -> list[Path]:
    """Return the folders that sections of a study say to be theirs."""
    sections = [data.get(key) for key in ("system", "quality")]
    named = [section.get("folder") for section in sections if isinstance(section, Mapping)]
    return [folder / name for name in named if isinstance(name, str) and not os.path.isabs(name)]


def _texts(data: object) -> Iterator[str]:
    """Yield the texts of plain data."""
    if isinstance(data, str):
        yield str(data)
    values = data.values() if isinstance(data, Mapping) else data if isinstance(data, list) else ()
    for value in values:
        yield from _texts(value)


def _add_text(folder: Path, text: str, found: dict[Path, None]) -> None:
    """Add what the words of a text name: ``trace.jsonl``, ``python serve.py``, ``module:function``."""
    words = [text]
    with suppress(ValueError):  # no command line
        words += shlex.split(text)
    for word in dict.fromkeys(words):
        target, colon, _ = word.rpartition(":")
        for name in (word, target) if colon else (word,):
            if name and not os.path.isabs(name) and not name.startswith("~") and "\0" not in name:
                path = folder / name
                with suppress(OSError):  # a text longer than a path can be
                    if path.is_file():
                        _add(resolved(path), found)
        if colon and target.replace(".", "_").isidentifier() and not target.endswith(".py"):
            _add_module(folder, target, found)


def _add_module(folder: Path, name: str, found: dict[Path, None]) -> None:
    """Add a module that lies in a folder; of a package, all its Python files."""
    path = folder.joinpath(*name.split("."))
    if (file := path.with_suffix(".py")).is_file():
        for package in path.relative_to(folder).parents:
            if (init := folder / package / "__init__.py").is_file() and package != Path():
                _add(resolved(init), found)
        _add(resolved(file), found)
    elif (path / "__init__.py").is_file():
        for file in sorted(path.rglob("*.py")):
            _add(resolved(file), found)


def _imported(file: Path) -> set[str]:
    """Return the names of the modules that a Python file imports; none of a file that is no Python."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError):  # said when it is run
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            stem = node.module or ""
            names |= {stem, *(f"{stem}.{alias.name}".strip(".") for alias in node.names)}
    return names - {""}


def _refuse_model(data: Mapping[str, object], file: Path) -> None:
    """Refuse a model that lies beside the study: it does not travel."""
    system = data.get("system")
    for key in ("model", "draft_model"):
        model = system.get(key) if isinstance(system, Mapping) else None
        if isinstance(model, str) and not os.path.isabs(model) and (file.parent / model).is_dir():
            raise SpecError(
                f"{file}: {key} {model!r} is a folder of this machine and does not travel with the study",
                hint="name a model of the hub, or the absolute path at which every node has it",
            )
