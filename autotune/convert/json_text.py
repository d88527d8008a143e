"""JSON of other tools, with the place of everything in it."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right

from autotune.core.endpoint import foreign_json
from autotune.core.input_file import why
from autotune.errors import SpecError
from autotune.spec.yaml_text import MAX_DEPTH, Document, Mark, Path_

LIST = "entries"
"""Key under which a document holds a file whose top is a list."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SPACE = re.compile(r"[ \t\n\r]*")
_SCALAR = re.compile(r"[^\s,\]}]+")


def parse_json(text: str, source: str) -> Document:
    """Parse the text of a file whose top is a mapping or a list; a list stands under :data:`LIST`.

    Raises:
        SpecError: It is no JSON, has a key twice, a number that is not finite, or is nested too deep.
    """
    try:
        data = foreign_json(text)
    except json.JSONDecodeError as error:
        raise SpecError(f"{source}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}") from None
    except ValueError as error:
        raise SpecError(f"{source}: {why(error)}") from None
    listed = isinstance(data, list)
    if not listed and not isinstance(data, dict):
        raise SpecError(f"{source}: the top must be a mapping or a list, found {data!r}")
    document = Document({LIST: data} if listed else data, source)
    _Places(text, document).value(0, (LIST,) if listed else ())
    document.values[()] = Mark(source, 1, 1)
    return document


class _Places:
    """Recorder of where the keys and values of JSON that was parsed already stand."""

    def __init__(self, text: str, document: Document) -> None:
        self.text, self.document = text, document
        self.starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def mark(self, at: int) -> Mark:
        line = bisect_right(self.starts, at)
        return Mark(self.document.source, line, at - self.starts[line - 1] + 1)

    def skip(self, at: int) -> int:
        match = _SPACE.match(self.text, at)
        return match.end() if match else at

    def string(self, at: int) -> tuple[str, int]:
        """Return the text whose quotes open at ``at``, and where it ends."""
        match = _STRING.match(self.text, at)
        assert match is not None  # noqa: S101 - the text was parsed before
        return str(foreign_json(match[0])), match.end()

    def value(self, at: int, path: Path_) -> int:
        """Record the value that begins at or after ``at``; return where it ends."""
        at = self.skip(at)
        self.document.values[path] = self.mark(at)
        opening = self.text[at]
        if opening in "{[":
            if len(path) > MAX_DEPTH:
                raise SpecError(f"{self.mark(at)}: nested more than {MAX_DEPTH} deep")
            return self.mapping(at, path) if opening == "{" else self.sequence(at, path)
        if opening == '"':
            return self.string(at)[1]
        match = _SCALAR.match(self.text, at)
        assert match is not None  # noqa: S101 - the text was parsed before
        if match[0] not in ("true", "false", "null") and not math.isfinite(float(match[0])):
            raise SpecError(f"{self.mark(at)}: {match[0]} is no finite number")
        return match.end()

    def mapping(self, at: int, path: Path_) -> int:
        seen: dict[str, int] = {}
        at = self.skip(at + 1)
        while self.text[at] != "}":
            start = self.skip(at + 1) if self.text[at] == "," else at
            key, end = self.string(start)
            if key in seen:
                first = self.mark(seen[key]).line
                raise SpecError(f"{self.mark(start)}: duplicate key {key!r}, first in line {first}")
            seen[key] = start
            self.document.keys[(*path, key)] = self.mark(start)
            at = self.skip(self.value(self.skip(end) + 1, (*path, key)))
        return at + 1

    def sequence(self, at: int, path: Path_) -> int:
        at = self.skip(at + 1)
        count = 0
        while self.text[at] != "]":
            at = self.skip(self.value(at + (count > 0), (*path, count)))
            count += 1
        return at + 1
