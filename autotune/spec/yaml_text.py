"""Read YAML strictly, remembering where everything stands.

A study file is data from a stranger. The text is parsed by PyYAML into events and nothing more: no tags, no
anchors, no aliases, no second document, no duplicate keys, and every scalar stays the text that was written,
so that ``no``, ``0.10`` and ``017`` mean what they say until a typed field reads them. Text without quotes is
told from text with them (:class:`autotune.core.scalar.PlainText`), for places that no field types.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from autotune.core.input_file import NotRegular, NotText, TooLarge, decoded, read_raw
from autotune.core.scalar import PlainText
from autotune.errors import SpecError

MAX_BYTES = 64 * 1024
MAX_DEPTH = 12
_SHOWN = 60  # characters of a text in a message

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Mark:
    """Place where something was written: a file with line and column (from 1), or an option."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True)
class Document:
    """Plain data together with the place where each part of it was written.

    Args:
        data: Mappings, lists and text.
        source: Name of the file, for messages.
        keys: Place of each key, by its path from the top.
        values: Place of each value.
    """

    data: dict[str, Any]
    source: str
    keys: dict[Path_, Mark] = field(default_factory=dict)
    values: dict[Path_, Mark] = field(default_factory=dict)

    def mark(self, path: Path_, at_key: bool = False) -> Mark:
        """Return where ``path`` was written, or the nearest thing around it that was."""
        for length in range(len(path), -1, -1):
            marks = self.keys if at_key and length == len(path) else self.values
            here = path[:length]
            found = marks.get(here) or self.keys.get(here) or self.values.get(here)
            if found is not None:
                return found
        return Mark(self.source)

    def locate(self, error: SpecError) -> SpecError:
        """Return ``error`` with its place in front of the message."""
        place = self.mark(error.path, error.at_key)
        return SpecError(f"{place}: {error.message}", path=error.path, at_key=error.at_key, hint=error.hint)

    @contextmanager
    def located(self) -> Iterator[None]:
        """Put its place in front of the message of a :class:`SpecError` that is raised inside."""
        try:
            yield
        except SpecError as error:
            raise self.locate(error) from None


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        SpecError: It is not there, not a regular file, too large, or not UTF-8.
    """
    try:
        return decoded(read_raw(path, MAX_BYTES))
    except NotRegular:
        raise SpecError(f"{path}: is no regular file") from None
    except TooLarge:
        raise SpecError(f"{path}: a file has at most {MAX_BYTES // 1024} KiB") from None
    except NotText as error:
        raise SpecError(f"{path}:{error.line}: not UTF-8: byte {error.byte:#04x}") from None
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a path may have a byte that none has
        raise SpecError(f"{path}: no such file") from None
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from None


def parse_text(text: str, source: str, *, core_tags: bool = False) -> Document:
    """Parse the text of a file whose top is a mapping.

    Args:
        text: Text of the file.
        source: Its name.
        core_tags: Whether scalars may say what they are (``!!float 1``), as files of other tools do.

    Raises:
        SpecError: It is not YAML, or uses what is refused; the message starts with ``file:line:column``.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise SpecError(f"{source}: a file has at most {MAX_BYTES // 1024} KiB")
    return _Reader(text, source, core_tags).read()


class _Reader:
    """Builder of values with their places from the events of one document."""

    def __init__(self, text: str, source: str, core_tags: bool = False) -> None:
        self.text = text
        self.source = source
        self.core_tags = core_tags
        self.document = Document({}, source)
        self.events: Iterator[yaml.Event] = iter(())

    def read(self) -> Document:
        try:
            self.events = yaml.parse(self.text, Loader=yaml.SafeLoader)
            event = next(self.events)
            while isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent):
                event = next(self.events)
            if isinstance(event, yaml.StreamEndEvent):
                raise SpecError(f"{self.source}: the file is empty")
            self.document.values[()] = self.place(event)
            if not isinstance(event, yaml.MappingStartEvent):
                raise self.refuse(event, "expected 'key: value' lines at the top")
            self.refuse_special(event)
            self.document.data.update(self.mapping(()))
            for event in self.events:
                if isinstance(event, yaml.DocumentStartEvent):
                    raise self.refuse(event, "only one document is allowed")
        except yaml.MarkedYAMLError as error:
            raise self.broken(error) from None
        except yaml.reader.ReaderError as error:
            line = self.text[: error.position].count("\n") + 1
            raise SpecError(f"{self.source}:{line}: a character that YAML does not allow: "
                            f"{chr(int(error.character))!r}") from None  # fmt: skip
        return self.document

    def broken(self, error: yaml.MarkedYAMLError) -> SpecError:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(str(part) for part in (error.context, error.problem) if part)
        hint = "indent with spaces" if "'\\t'" in problem else ""
        where = f"{self.source}:{mark.line + 1}:{mark.column + 1}" if mark is not None else self.source
        return SpecError(f"{where}: not valid YAML: {problem}", hint=hint)

    def place(self, event: yaml.Event) -> Mark:
        mark: Any = event.start_mark
        return Mark(self.source, mark.line + 1, mark.column + 1)

    def refuse(self, event: yaml.Event, text: str, hint: str = "") -> SpecError:
        return SpecError(f"{self.place(event)}: {text}", hint=hint)

    def refuse_special(self, event: Any) -> None:
        if isinstance(event, yaml.AliasEvent):
            raise self.refuse(
                event, f"aliases are not allowed, found '*{event.anchor}'", "write the value out"
            )
        if getattr(event, "anchor", None):
            raise self.refuse(
                event, f"anchors are not allowed, found '&{event.anchor}'", "write the value out"
            )
        tag = getattr(event, "tag", None)
        plain = self.core_tags and isinstance(event, yaml.ScalarEvent) and tag in _CORE_TAGS
        if tag is not None and not plain:
            raise self.refuse(event, f"tags are not allowed, found {event.tag!r}", "write the plain value")
        if isinstance(event, yaml.ScalarEvent) and "\0" in event.value:  # in no path and no word of a command
            raise self.refuse(event, f"a null character is not allowed, found {event.value[:_SHOWN]!r}")

    def value(self, event: yaml.Event, path: Path_) -> Any:
        self.refuse_special(event)
        self.document.values[path] = self.place(event)
        if isinstance(event, yaml.ScalarEvent):
            if event.tag is not None:
                return _tagged(event.tag, event.value)
            return PlainText(event.value) if event.style is None else event.value
        if len(path) >= MAX_DEPTH:
            raise self.refuse(event, f"nested more than {MAX_DEPTH} deep")
        return self.mapping(path) if isinstance(event, yaml.MappingStartEvent) else self.sequence(path)

    def mapping(self, path: Path_) -> dict[str, Any]:
        result: dict[str, object] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            self.refuse_special(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise self.refuse(event, "a key must be text")
            key = event.value
            if key in result:
                first = self.document.keys[(*path, key)]
                raise self.refuse(event, f"duplicate key {key!r}, first in line {first.line}")
            self.document.keys[(*path, key)] = self.place(event)
            result[key] = self.value(next(self.events), (*path, key))
        return result

    def sequence(self, path: Path_) -> list[object]:
        result: list[object] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            result.append(self.value(event, (*path, len(result))))
        return result


def _tagged(tag: str, text: str) -> str:
    """Return the text of a scalar that says what it is, such that it is read as that."""
    if tag == _STR_TAG:
        return text
    return PlainText(f"{text}.0" if tag == _FLOAT_TAG and text.lstrip("+-").isdigit() else text)


_STR_TAG, _FLOAT_TAG = "tag:yaml.org,2002:str", "tag:yaml.org,2002:float"
_CORE_TAGS = (_STR_TAG, _FLOAT_TAG, *(f"tag:yaml.org,2002:{name}" for name in ("int", "bool", "null")))
