"""From files to values: the one way in, with every error located in the text it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autotune.core.arguments import check_arguments
from autotune.core.json_object import JsonObject
from autotune.core.measured_table import read_table
from autotune.core.objective import Objective
from autotune.core.scalar import PlainText
from autotune.core.space import Space
from autotune.core.space_data import KEYS
from autotune.errors import SpecError, refuse_unknown_keys, under
from autotune.spec.catalogue import find, refuse_outside
from autotune.spec.overrides import apply_overrides
from autotune.spec.sections import DEFAULT_GOAL, read_objective
from autotune.spec.yaml_text import Document, Path_, parse_text, read_text

ValueKind = Callable[[str], str]
"""Says of a parameter's listed values ``text`` where its system takes them as they are written."""

_SPACE_KEYS = ("name", "description", "parameters", "constraints", "derived", "configurations", "system",
               "objective", "workload")  # fmt: skip
_STUDY_KEYS = ("budget", "engine", "resources", "deadlines")
_SYSTEM_KEYS = ("use", "model", "draft_model", "flags", "device", "dtype", "memory_limit")
_WORKLOAD_CODE = ("trace", "prompts", "generator")
_MAX_BASES = 8  # files that start from each other; more is a circle


def read_file(
    path: str | Path, overrides: Sequence[str] = (), *, depth: int = 0
) -> tuple[Document, Document, list[Document]]:
    """Read a study file and the files that it starts from.

    Args:
        path: The file.
        overrides: ``KEY=VALUE`` texts as if written in the file.
        depth: Files that led to this one.

    Returns:
        What the file itself says, the same with what it names merged in, and the spaces that it starts from.

    Raises:
        SpecError: A file is missing, is no YAML or says what it may not: ``file:line:column: ...``.
    """
    own = parse_text(read_text(Path(path)), str(path))
    apply_overrides(own, overrides)
    own.data.setdefault("name", Path(path).stem)
    lenders: list[Document] = []
    return own, resolve(own, Path(path).parent, depth, lenders), lenders


def keep_text(data: dict[str, Any], kind: ValueKind) -> None:
    """Keep listed values as they are written where the system takes them so; elsewhere YAML types them."""
    entries = data.get("parameters")
    for name, entry in entries.items() if isinstance(entries, Mapping) else ():
        listed = entry.get("values") if isinstance(entry, Mapping) else None
        if isinstance(listed, list) and kind(name) == "text":
            plain = [str(value) if isinstance(value, PlainText) else value for value in listed]
            data["parameters"] = {**data["parameters"], name: {**entry, "values": plain}}


def resolve(
    document: Document, folder: Path, depth: int = 0, lenders: list[Document] | None = None
) -> Document:
    """Return the document with the files that ``space`` and ``objective`` name merged in.

    A parameter of the file replaces the one of that name, or, written without a type, changes only the keys
    it names; constraints are added; other sections of the file win key by key.

    Args:
        document: Document that was read.
        folder: Folder that relative paths start from.
        depth: Files that led to this one.
        lenders: The space that the document starts from is added here, as it was merged in.
    """
    data = dict(document.data)
    keys, values = dict(document.keys), dict(document.values)
    if isinstance(data.get("space"), Mapping) and "table" in data["space"]:
        data = _with_table(document, data, folder, lenders, theirs=depth > 0)
    if isinstance(data.get("objective"), str):
        named = _named_objective(document, folder, theirs=depth > 0)
        data["objective"] = {k: v for k, v in named.data.items() if k not in ("name", "description")}
        _graft(keys, named.keys, (), ("objective",))
        _graft(values, named.values, (), ("objective",))
    if isinstance(data.get("space"), str):
        if depth >= _MAX_BASES:
            raise document.locate(SpecError("files start from each other in a circle", path=("space",)))
        base_file = _find(document, ("space",), "search_spaces", folder, theirs=depth > 0)
        base = _read_space_file(document, base_file, theirs=depth > 0)
        base = resolve(base, base_file.parent, depth + 1)
        try:
            refuse_unknown_keys(base.data, (*_SPACE_KEYS, *_STUDY_KEYS), "a search space")
        except SpecError as error:
            raise (_unreadable(document, "space") if depth else base.locate(error)) from None
        if lenders is not None:
            lenders.append(base)
        del data["space"]
        for key, found in base.data.items():
            if key in ("name", "description"):
                continue
            data[key] = _merge(key, found, data.get(key))
            _graft_missing(keys, base.keys, key)
            _graft_missing(values, base.values, key)
        own = document.data.get("constraints")
        if isinstance(own, list) and isinstance(base.data.get("constraints"), list):
            shift = len(base.data["constraints"])
            for i in range(len(own)):
                values["constraints", shift + i] = document.mark(("constraints", i))
            for i in range(shift):
                values["constraints", i] = base.mark(("constraints", i))
    return Document(data, document.source, keys, values)


def _read_space_file(document: Document, file: Path, *, theirs: bool) -> Document:
    """Return the space that a document names; an error about one that a space names quotes nothing of it."""
    try:
        base = parse_text(read_text(file), str(file))
        _refuse_code(base)
    except SpecError:
        if theirs:
            raise _unreadable(document, "space") from None
        raise
    return base


def _unreadable(document: Document, key: str) -> SpecError:
    what = "a search space" if key == "space" else "an objective"
    text = f"the file {document.data[key]!r} is not {what} that can be read"
    return document.locate(SpecError(text, path=(key,), hint="a study file that names it says why"))


def _refuse_code(document: Document) -> None:
    """Refuse a search space that names a program, a function or a file: it may come from a stranger."""
    for part in ("system", "space", "workload"):
        section = document.data.get(part)
        for key, value in section.items() if isinstance(section, Mapping) else ():
            if _names_code(part, key) or (part == "workload" and _names_file(value)):
                error = SpecError(
                    f"a search space may not say {key!r} of its {part}: it is data, and names no program, "
                    "function or file",
                    path=(part, key),
                    at_key=True,
                    hint="write it in the study file",
                )
                raise document.locate(error)


def _names_code(part: str, key: str) -> bool:
    """Return whether a key of a section may name a program, a function or a file."""
    if part == "system":
        return key not in _SYSTEM_KEYS
    return part == "space" or key in _WORKLOAD_CODE


def _names_file(value: object) -> bool:
    """Return whether a value of a workload holds the name of a file of lengths."""
    if isinstance(value, Mapping):
        return "file" in value or any(map(_names_file, value.values()))
    return isinstance(value, list) and any(map(_names_file, value))


def _with_table(
    document: Document,
    data: JsonObject,
    folder: Path,
    lenders: list[Document] | None,
    *,
    theirs: bool,
) -> dict[str, object]:
    """Return the study with the space and, where it has none, the objective of the table that it names."""
    section = data["space"]
    try:
        refuse_unknown_keys(section, ("table", "task"), "a space from a table")
        if theirs:
            refuse_outside(str(section["table"]), folder)
        found = read_table((folder / str(section["table"])).expanduser(), str(section.get("task", "")))
    except SpecError as error:
        path = ("space", *(error.path or ("table",)))
        raise document.locate(SpecError(error.message, path=path, hint=error.hint)) from None
    result = {key: value for key, value in data.items() if key != "space"}
    result.setdefault("objective", dict(found.objective))
    if lenders is not None:
        mark = document.mark(("space", "table"))
        lenders.append(Document(found.space.to_dict(), document.source, values={(): mark}))
    for key, value in found.space.to_dict().items():
        result[key] = _merge(key, value, data.get(key))
    return result


def _merge(key: str, base: object, own: object) -> object:
    if own is None:
        return base
    if key == "constraints" and isinstance(base, list) and isinstance(own, list):
        return base + own
    if key == "parameters" and isinstance(base, Mapping) and isinstance(own, Mapping):
        merged = dict(base)
        for name, entry in own.items():
            narrows = (
                isinstance(entry, Mapping) and "type" not in entry and isinstance(base.get(name), Mapping)
            )
            merged[name] = {**base[name], **entry} if narrows else entry
        return merged
    if isinstance(base, Mapping) and isinstance(own, Mapping) and key != "objective":
        return {**base, **own}
    return own


def _graft(marks: dict[Path_, Any], other: Mapping[Path_, Any], root: Path_, at: Path_) -> None:
    for path, mark in other.items():
        if path[: len(root)] == root and path != root:
            marks[(*at, *path[len(root) :])] = mark


def _graft_missing(marks: dict[Path_, Any], other: Mapping[Path_, Any], key: str) -> None:
    for path, mark in other.items():
        if path[:1] == (key,):
            marks.setdefault(path, mark)


def _find(document: Document, path: Path_, kind: str, folder: Path, *, theirs: bool) -> Path:
    """Return the file that a key names; a space (``theirs``) names none outside its own folder."""
    with document.located(), under(*path):
        return find(kind, str(document.data[str(path[0])]), beside=folder, inside=theirs)


def _named_objective(document: Document, folder: Path, *, theirs: bool) -> Document:
    """Return the objective that a document names; an error about one of a space quotes nothing of it."""
    file = _find(document, ("objective",), "objectives", folder, theirs=theirs)
    try:
        found = parse_text(read_text(file), str(file))
        if theirs:
            read_objective({k: v for k, v in found.data.items() if k not in ("name", "description")})
    except SpecError:
        if theirs:
            raise _unreadable(document, "objective") from None
        raise
    return found


_FROM_A_STRANGER = 1
"""Depth of a file that Python reads: it may be a stranger's, like a space that a study file names."""


def _catalogued(kind: str, name: str | Path) -> Path:
    if not isinstance(name, str | Path):
        raise SpecError(f"name must be a name or a path, found {name!r}")
    return find(kind, name) if isinstance(name, str) else name


def load_space(
    name: str | Path, value_kind: Callable[[object], ValueKind], *, trust_space: bool = False
) -> Space:
    """Read the search space of a shipped name, a space file or a study file.

    Args:
        name: A name or a path.
        value_kind: Function that says by the ``system`` section how listed values of parameters are read.
        trust_space: Whether the file may name others outside its own folder.

    Raises:
        SpecError: The file is wrong; the message names file, line and column.
    """
    depth = 0 if trust_space else _FROM_A_STRANGER
    _, document, _ = read_file(_catalogued("search_spaces", name), depth=depth)
    keep_text(document.data, value_kind(document.data.get("system")))
    with document.located():
        return Space.from_dict({key: document.data[key] for key in KEYS if key in document.data})


@check_arguments("name")
def load_objective(name: str | Path, *, trust_space: bool = False) -> Objective:
    """Read the objective of a shipped name, an objective file or a study file.

    Args:
        name: A name or a path.
        trust_space: Whether the file may name others outside its own folder.

    Raises:
        SpecError: The file is wrong; the message names file, line and column.
    """
    depth = 0 if trust_space else _FROM_A_STRANGER
    _, document, _ = read_file(_catalogued("objectives", name), depth=depth)
    if "objective" in document.data:
        data = document.data["objective"]
    elif {"parameters", "system"} & document.data.keys():  # a study that leaves its objective out
        data = DEFAULT_GOAL
    else:
        data = {key: found for key, found in document.data.items() if key != "name"}
    with document.located(), under(*(key for key in ("objective",) if key in document.data)):
        return read_objective(data)
