"""``--set KEY=VALUE``: change a document as if the value had been written in the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autotune.core.scalar import PlainText
from autotune.errors import SpecError
from autotune.spec.yaml_text import Document, Mark, Path_, parse_text


def apply_overrides(document: Document, overrides: Sequence[str]) -> None:
    """Set keys of ``document`` in place.

    Args:
        document: Document that was read.
        overrides: Overrides such as ``budget.trials=30`` or ``parameters.threads={type: ordinal, values: [1,
            2]}``.

    Raises:
        SpecError: One has no ``=``, leads through something that is no mapping, or its value is not YAML.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        path = tuple(part.strip() for part in key.split("."))
        mark = Mark(f"--set {override}")
        if not equals or not all(path):
            raise SpecError(f"--set wants KEY=VALUE, such as budget.trials=30, found {override!r}")
        _store(document, path, _value(text.strip(), mark), mark)


def _value(text: str, mark: Mark) -> Any:
    if not text.startswith(("[", "{")):
        return PlainText(text)  # a scalar is taken as it is: no quoting to think about
    try:
        return parse_text(f"value: {text}", str(mark)).data["value"]
    except SpecError as error:
        raise SpecError(f"{mark}: not valid YAML", hint=error.hint) from None


def _store(document: Document, path: Path_, value: Any, mark: Mark) -> None:
    place: Any = document.data
    for depth, key in enumerate(path[:-1]):
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            raise SpecError(f"{mark}: {'.'.join(str(k) for k in path[: depth + 1])} is no mapping of keys")
        document.keys.setdefault(path[: depth + 1], mark)
    place[path[-1]] = value
    for marks in (document.keys, document.values):
        for known in [p for p in marks if p[: len(path)] == path]:
            del marks[known]
        marks[path] = mark
