"""Values of ours from plain JSON data that somebody else wrote: a wrong part is one error with its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from autotune.core.arguments import read_count
from autotune.core.kinds import Flag
from autotune.core.registry import shown
from autotune.core.section import mapping
from autotune.errors import SpecError, refuse_unknown_keys, under

_MOST_LEVELS = 200  # of lists and mappings, four frames each; data that a caller gives may hold itself

T = TypeVar("T")


def read_part(key: str | int, reader: Callable[[Any, str], T], value: object) -> T:
    """Return what a reader makes of a part, whose key is put in front of the path of its errors."""
    with under(key):
        return reader(value, str(key))


def copy_plain(value: object, name: str, *, constants: bool = False, level: int = 0) -> Any:
    """Return a copy of plain data.

    Args:
        value: Data.
        name: Name of it, for messages.
        constants: Whether it may hold what Python's JSON has beyond that: NaN, and keys that are numbers.
        level: Lists and mappings around it.

    Raises:
        SpecError: It holds what no file can; ``path`` leads to it.
    """
    if level > _MOST_LEVELS:
        raise SpecError(f"{name} is nested too deep, or without end")

    def deeper(item: object, key: str) -> Any:
        return copy_plain(item, key, constants=constants, level=level + 1)

    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) and not constants:
                raise SpecError(f"{name} must have texts as keys, found {shown(key)}")
            _check_text(key, name)
        return {key: read_part(key, deeper, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [read_part(i, deeper, item) for i, item in enumerate(value)]
    _check_text(value, name)
    if value is None or isinstance(value, str | bool) or (constants and isinstance(value, int | float)):
        return value
    if isinstance(value, int | float):
        return _number(value, name)
    raise SpecError(f"{name} must be plain JSON data, found {shown(value)}")


def read_typed(value: object, hint: Any, name: str) -> Any:
    """Return the value of a type that plain data stands for.

    Args:
        value: Plain data: of a dataclass of ours what its ``to_dict`` returned.
        hint: Type as an annotation says it.
        name: Name of it, for messages.

    Raises:
        SpecError: It is none; ``path`` is relative to it.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {
            key: read_part(key, lambda item, key: read_typed(item, inner[1], key), item)
            for key, item in mapping(value, name).items()
        }
    if NoneType in inner:
        return None if value is None else read_typed(value, inner[0], name)
    if is_dataclass(hint):
        return _made(value, hint, name)
    if hint is Any:
        return value
    if inner or hint is str:
        if not isinstance(value, hint):
            what = "text" if hint is str else "a number, text or a truth value"
            raise SpecError(f"{name} must be {what}, found {shown(value)}")
        return value
    if issubclass(hint, Enum):
        return _word(value, hint, name)
    if hint is float:
        return _number(value, name)
    return Flag().read(value, name) if hint is bool else read_count(value, name)


def place_of(error: SpecError) -> str:
    """Return the words of an error with the whole way to what is wrong: ``trials[0].state must be ...``."""
    way = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.path).lstrip(".")
    last = str(error.path[-1]) if error.path else ""
    said = error.message.removeprefix(last)
    if last and said != error.message and said[:1] == " ":
        return f"{way}{said}"
    return f"{way}: {error.message}" if way else error.message


def _made(value: object, kind: Any, name: str) -> Any:
    hints = get_type_hints(kind)
    data = mapping(value, name)
    refuse_unknown_keys(data, hints, name)
    for field in fields(kind):
        if field.name not in data and field.default is MISSING and field.default_factory is MISSING:
            raise SpecError(f"{name} needs {field.name!r}; allowed: {', '.join(hints)}")
    return kind(**{key: read_part(key, lambda item, key: read_typed(item, hints[key], key), item)
                   for key, item in data.items()})  # fmt: skip


def _word(value: object, kind: Any, name: str) -> Any:
    try:
        if isinstance(value, str):
            return kind(value)  # some know what to make of a word of another version
    except ValueError:
        pass
    raise SpecError(f"{name} must be one of {', '.join(kind)}, found {shown(value)}")


def _number(value: object, name: str) -> float:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return value
    except OverflowError:  # a whole number beyond all floats
        raise SpecError(f"{name} must be a finite number, found a larger one") from None
    raise SpecError(f"{name} must be a finite number, found {shown(value)}")


def _check_text(text: object, name: str) -> None:
    try:
        if isinstance(text, str):
            text.encode()
    except UnicodeEncodeError:
        raise SpecError(f"{name} must be text that can be written, found {text!a}") from None
