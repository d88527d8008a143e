"""Scalars of a file: text that is typed by whatever reads it, and by YAML itself where nothing does.

A typed field (a number of trials, a server's flag) reads the text that was written. Where there is none (a
request's body, a function's argument, JSON inside a flag) the YAML 1.2 core schema decides: `true`, `null`,
`7` and `0.5` without quotes are a truth value, nothing and numbers; in quotes they are text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

_INT = re.compile(r"[-+]?[0-9]+")
_OTHER_INT = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_MOST_DIGITS = 300  # more make no finite number, and take quadratic time to read


class PlainText(str):
    """Text of a YAML scalar that was written without quotes."""

    __slots__ = ()


def typed_scalar(text: str) -> int | float | bool | str | None:
    """Return what text without quotes means by the YAML 1.2 core schema; infinities and NaN stay text."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > _MOST_DIGITS:
        return str(text)
    if _INT.fullmatch(text):
        return int(text)
    if _OTHER_INT.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return str(text)


def plain_scalar(value: Any) -> Any:
    """Return a scalar of numpy or torch as Python's own; anything else as it is."""
    if isinstance(value, str | int | float) or not hasattr(value, "item"):
        return value
    try:
        return value.item()
    except (TypeError, ValueError, RuntimeError):  # an array
        return value


def typed(value: object) -> Any:
    """Return data of a file with the types that YAML gives it; text in quotes and other values stay."""
    if isinstance(value, PlainText):
        return typed_scalar(value)
    if isinstance(value, Mapping):
        return {str(key): typed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [typed(item) for item in value]
    return value


def reads_as(text: object, value: object) -> bool:
    """Return whether data whose scalars are all text is ``value`` but for the types that YAML gives them."""
    if isinstance(text, Mapping) and isinstance(value, Mapping):
        return text.keys() == value.keys() and all(reads_as(text[key], value[key]) for key in text)
    if isinstance(text, list | tuple) and isinstance(value, list | tuple):
        return len(text) == len(value) and all(map(reads_as, text, value))
    if not isinstance(text, str):
        return False
    meant = typed_scalar(text)
    return text == value or (meant == value and same_kind(meant, value))


class Comparable:
    """A value of a parameter that has text beside numbers or truth values.

    Expressions may compare it with either: `batch == 32`, `batch == '32'` and `batch == 'auto'`. A number
    never equals a truth value.
    """

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        mine, theirs = self.value, other.value if isinstance(other, Comparable) else other
        if isinstance(mine, str) != isinstance(theirs, str):
            mine, theirs = (typed_scalar(v) if isinstance(v, str) else v for v in (mine, theirs))
        return bool(same_kind(mine, theirs) and mine == theirs)

    def __hash__(self) -> int:
        return hash(self.value)


def same_kind(one: object, other: object) -> bool:
    """Return whether neither value or both are truth values: `True` equals 1 in Python."""
    return (type(one).__name__ in _BOOLS) == (type(other).__name__ in _BOOLS)


_BOOLS = ("bool", "bool_")  # Python's and numpy's
