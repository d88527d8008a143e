"""Kinds of values in the sections of a study file: how each is read, and written back."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autotune.core.units import parse_quantity
from autotune.errors import SpecError, did_you_mean


class Kind:
    """The way to read the value of a key, and to write it back as plain JSON data."""

    def read(self, value: object, name: str) -> Any:
        """Return the typed value.

        Args:
            value: Value as the file has it.
            name: Key, for messages.

        Raises:
            SpecError: The value is wrong; ``path`` is relative to it.
        """
        raise NotImplementedError

    def write(self, value: Any) -> Any:
        """Return what :meth:`read` reads back."""
        return value.to_dict() if hasattr(value, "to_dict") else value


@dataclass(frozen=True)
class Key:
    """Name of a key in the file, where the field is named otherwise."""

    name: str


@dataclass(frozen=True)
class Needs:
    """A key that a section must have; ``what`` says what for: ``"a model: a folder or a hub name"``."""

    what: str


@dataclass(frozen=True)
class Number(Kind):
    """A number within bounds.

    Args:
        unit: Base unit; a plain number without.
        above: Bound that it must exceed.
        least: Bound that it must reach.
        example: Value shown with an error.
        bare: Whether a number without a unit is taken in the base unit.
    """

    unit: str | None = None
    above: float | None = None
    least: float = 0.0
    example: str = ""
    bare: bool = True

    def read(self, value: object, name: str) -> float:
        """Return the number in the base unit."""
        found = quantity(value, name, self.unit, self.bare)
        if self.above is None and found < self.least:
            raise SpecError(f"{name} must be at least {self.least:g}, found {value!r}")
        if self.above is not None and found <= self.above:
            raise SpecError(
                f"{name} must be above {self.above:g}{f' {self.unit}' if self.unit else ''}, found {value!r}",
                hint=f"for example '{self.example}'" if self.example else "",
            )
        return found

    def write(self, value: float | None) -> Any:
        """Return the number, with its unit where a bare one is refused."""
        return value if self.bare or value is None else f"{value!r} {self.unit}"


@dataclass(frozen=True)
class Share(Kind):
    """A share; ``5 %`` is 0.05.

    Args:
        whole: Whether it may be 0 or 1.
    """

    whole: bool = True

    def read(self, value: object, name: str) -> float:
        """Return a number from 0 to 1."""
        found = quantity(value, name)
        if self.whole and not 0 <= found <= 1:
            raise SpecError(f"{name} must be between 0 % and 100 %, found {value!r}")
        if not self.whole and not 0 < found < 1:
            text = f"{name} must be above 0 % and below 100 %, found {value!r}"
            raise SpecError(text, hint="for example '5 %'")
        return found


def quantity(value: Any, name: str, unit: str | None = None, bare: bool = True) -> float:
    """Return a number in the base unit; without ``bare`` it must have a unit.

    Raises:
        SpecError: It is none; the message begins with ``name``.
    """
    try:
        return parse_quantity(value, default_unit=unit if bare else None, dimension=unit or "number").value
    except SpecError as error:
        raise SpecError(f"{name}: {error.message}", hint=error.hint) from None


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number within bounds.

    Args:
        least: Lowest one.
        most: Highest one.
        word: Word that may stand in its place; it is read as ``None``.
    """

    least: int
    most: int | None = None
    word: str = ""

    def read(self, value: Any, name: str) -> int | None:
        """Return the number, or ``None`` for the word."""
        if self.word and (value is None or (isinstance(value, str) and value.strip().lower() == self.word)):
            return None
        try:
            found = parse_quantity(value, dimension="number").value
        except SpecError:
            found = float("nan")
        if not found.is_integer() or found < self.least or (self.most is not None and found > self.most):
            bounds = f"from {self.least} to {self.most}" if self.most else f"of at least {self.least}"
            word = f"{self.word!r} or " if self.word else ""
            raise SpecError(f"{name} must be {word}a whole number {bounds}, found {value!r}")
        return int(found)

    def write(self, value: int | None) -> int | str | None:
        """Return the number or the word."""
        return self.word if value is None else value


@dataclass(frozen=True)
class Text(Kind):
    """A text.

    Args:
        what: Name of it for messages.
        needed: Whether it may not be blank.
        pattern: Regular expression that it must match as a whole.
    """

    what: str = "text"
    needed: bool = False
    pattern: str = ""

    def read(self, value: Any, name: str) -> str:
        """Return the text as it is written."""
        fits = isinstance(value, str) and (value.strip() or not self.needed)
        if not fits or (self.pattern and not re.fullmatch(self.pattern, value, re.ASCII)):
            raise SpecError(f"{name} must be {self.what}, found {value!r}")
        return str(value)


FILE = Text("the path of a file", needed=True)


@dataclass(frozen=True)
class Choice(Kind):
    """One of several words.

    Args:
        allowed: The words.
        hint: Advice where none of them is near.
    """

    allowed: Sequence[str]
    hint: str = ""

    def read(self, value: object, name: str) -> str:
        """Return the word."""
        if value not in self.allowed:
            raise SpecError(
                f"unknown {name} {value!r}; allowed: {', '.join(self.allowed)}",
                hint=did_you_mean(str(value), self.allowed) or self.hint,
            )
        return str(value)


@dataclass(frozen=True)
class Word(Choice):
    """One of several words, and nothing but text.

    Args:
        old: Words of older files, with those that stand for them.
    """

    old: Mapping[str, str] = field(default_factory=dict)

    def read(self, value: object, name: str) -> str:
        """Return the word, the new one for an old one."""
        text = Text().read(value, name)
        return super().read(self.old.get(text, text), name)


@dataclass(frozen=True)
class Flag(Kind):
    """A truth value: ``true`` or ``false``."""

    def read(self, value: object, name: str) -> bool:
        """Return the truth value, of a text too."""
        text = str(value).lower()
        if text not in ("true", "false"):
            raise SpecError(f"{name} must be true or false, found {value!r}")
        return text == "true"


@dataclass(frozen=True)
class Texts(Kind):
    """Texts by name.

    Args:
        what: Name of them for messages: ``"a mapping of metrics to units"``.
    """

    what: str

    def read(self, value: object, name: str) -> dict[str, str]:
        """Return a mapping of texts."""
        if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
            raise SpecError(f"{name} must be {self.what}, found {value!r}")
        return dict(value)

    def write(self, value: Mapping[str, str]) -> dict[str, str]:
        """Return a mapping."""
        return dict(value)


@dataclass(frozen=True)
class By(Kind):
    """A value that a function reads.

    Args:
        reader: Function of the value and the key.
        writer: Function of the typed value; without it ``to_dict`` of the value, or the value as it is.
        what: Name of what is read, for the documentation.
        section: Class that is read, where it is a section.
    """

    reader: Callable[[Any, str], Any]
    writer: Callable[[Any], Any] | None = None
    what: str = ""
    section: type | None = None

    def read(self, value: object, name: str) -> Any:
        """Return what the function returns."""
        return self.reader(value, name)

    def write(self, value: Any) -> Any:
        """Return what is read back."""
        return super().write(value) if self.writer is None else self.writer(value)


def _size(value: Any, name: str) -> int:
    if value in (0, "0"):
        return 0
    return int(parse_quantity(value, dimension="size").value)


SIZE = By(_size, lambda count: f"{count} B", what="a size, such as `8 GiB`")
"""A number of bytes, such as ``2 GiB``; 0 needs no unit."""
