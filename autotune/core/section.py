"""Sections of a study file: dataclasses whose annotations declare how each key is read, and their one reader.

A key is declared once::

    @dataclass(frozen=True)
    class Budget(Section):
        title: ClassVar[str] = "a budget"

        trials: Annotated[int, Whole(1)] = 20
        time_s: Annotated[float | None, Number("s", above=0, bare=False), Key("time")] = None

Values may be text with units, as a file has them, or numbers. Paths of errors are relative to the section.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from typing import Annotated, Any, ClassVar, Self, get_args, get_origin, get_type_hints

from autotune.core.json_object import JsonObject
from autotune.core.kinds import By, Key, Kind, Needs, Whole
from autotune.errors import SpecError, refuse_unknown_keys, under


@dataclass(frozen=True)
class Declared:
    """A field of a section.

    Args:
        key: Name in the file.
        kind: Kind that its value is read by.
        field: The dataclass's field.
        needs: Words of the section where the key is missing.
    """

    key: str
    kind: Kind
    field: Field[Any]
    needs: str = ""

    @property
    def needed(self) -> bool:
        """Whether the section must have it."""
        return self.field.default is MISSING and self.field.default_factory is MISSING

    def left_out(self, value: object) -> bool:
        """Return whether a value is nothing, and what a section without the key has."""
        made = self.field.default_factory
        default = self.field.default if made is MISSING else made()
        word = isinstance(self.kind, Whole) and self.kind.word
        return bool(value in (None, "", (), {}) and value == default and not word)


class Section:
    """Base of the frozen dataclasses that sections of a study file are read into."""

    __slots__ = ()

    title: ClassVar[str] = ""
    """What a section is, for messages: ``"a budget"``."""

    example: ClassVar[str] = ""
    """A section as text, shown where something else than a mapping was found."""

    more_keys: ClassVar[Sequence[str]] = ()
    """Keys of the same mapping that something else reads."""

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Read a section.

        Raises:
            SpecError: A key or a value is wrong; ``path`` is relative to the section.
        """
        declared = declared_fields(cls)
        names = [item.key for item in declared]
        mapping(data, cls.title, f"for example {cls.example}" if cls.example else "")
        refuse_unknown_keys(data, (*names, *cls.more_keys), cls.title)
        found = {}
        for item in declared:
            if item.needs and not data.get(item.key):
                shown = f", found {data[item.key]!r}" if item.key in data else ""
                raise SpecError(f"{cls.title} needs {item.needs}{shown}", path=(item.key,))
            if item.key in data:
                with under(item.key):
                    found[item.field.name] = item.kind.read(data[item.key], item.key)
            elif item.needed:
                raise SpecError(f"{cls.title} needs {item.key!r}; allowed: {', '.join(names)}")
        return cls(**found)

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data, which :meth:`from_dict` reads back; what is left out is at its default."""
        pairs = ((item, getattr(self, item.field.name)) for item in declared_fields(type(self)))
        return {item.key: item.kind.write(value) for item, value in pairs if not item.left_out(value)}


def mapping(data: object, what: str, hint: str = "") -> JsonObject:
    """Return ``data`` if it is a mapping.

    Raises:
        SpecError: It is not.
    """
    if not isinstance(data, Mapping):
        raise SpecError(f"{what} must be a mapping of keys to values, found {data!r}", hint=hint)
    return data


def sequence(data: Any, must: str) -> Sequence[Any]:
    """Return ``data`` if it is a list; text is none.

    Raises:
        SpecError: It is not; ``must`` says what it must be: ``"limits must be a list"``.
    """
    if isinstance(data, str) or not isinstance(data, Sequence):
        raise SpecError(f"{must}, found {data!r}")
    return data


def one(of: type[Section]) -> By:
    """Return the kind of a key that holds a section."""
    return By(lambda value, _: of.from_dict(value), section=of)


_DECLARED: dict[type[Any], tuple[Declared, ...]] = {}


def declared_fields(section: type[Any]) -> tuple[Declared, ...]:
    """Return the fields of a section that are read from a file, in order; those of its bases come last."""
    if section not in _DECLARED:
        hints, found = get_type_hints(section, include_extras=True), []
        own = [name for base in section.__mro__ for name in vars(base).get("__annotations__", ())]
        for field in sorted(fields(section), key=lambda field: own.index(field.name)):
            marks = get_args(hints[field.name])[1:] if get_origin(hints[field.name]) is Annotated else ()
            kind = next((mark for mark in marks if isinstance(mark, Kind)), None)
            if kind is not None:
                key = next((mark.name for mark in marks if isinstance(mark, Key)), field.name)
                needs = next((mark.what for mark in marks if isinstance(mark, Needs)), "")
                found.append(Declared(key, kind, field, needs))
        _DECLARED[section] = tuple(found)
    return _DECLARED[section]
