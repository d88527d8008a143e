"""What the trials of a Ray Tune experiment tried: the ``params.json`` in their folders.

Pickles of an experiment are never opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autotune.convert.base import Conversion
from autotune.convert.json_text import LIST, parse_json
from autotune.core.input_file import read_text, why
from autotune.errors import SpecError
from autotune.spec.yaml_text import Document

NAME = "ray-tune"
PARAMS = "params.json"
_MOST_BYTES = 1 << 20
_MOST_TRIALS = 10_000
_MOST_LISTED = 12  # different numbers that were tried; more of them are a range


def recognizes(document: Document) -> bool:
    """Return whether a document is the configuration that Tune wrote for a trial."""
    values = document.data.values()
    flat = LIST not in document.data and not all(isinstance(value, dict) for value in values)
    return flat and Path(document.source).name == PARAMS  # a list or mappings alone: vLLM's, of the same name


def convert(document: Document) -> Conversion:
    """Return the space of the one configuration of a ``params.json``."""
    out = Conversion(document)
    _add_tried(out, [_mapping(document)])
    return out.finish()


def convert_results(folder: str) -> Conversion:
    """Return the space of what the trials of an experiment tried: their ``params.json``.

    Raises:
        SpecError: There is none that can be read.
    """
    files = sorted(Path(folder).glob(f"*/{PARAMS}"))[: _MOST_TRIALS + 1]
    if not files and (Path(folder) / PARAMS).is_file():
        files = [Path(folder) / PARAMS]
    if not files:
        raise SpecError(f"{folder}: no trial with a {PARAMS} is in this folder")
    if len(files) > _MOST_TRIALS:
        raise SpecError(f"{folder}: more than {_MOST_TRIALS} trials")
    out = Conversion(Document({}, folder))
    out.set_name(Path(folder).resolve().name, ())
    documents = []
    for file in files:
        try:
            documents.append(_read(file))
        except SpecError as error:
            out.notes.append(f"{error.message}; this trial is left out")
    if documents:
        _add_tried(out, documents)
    return out.finish()


def _read(file: Path) -> Document:
    """Return the configuration of a trial.

    Raises:
        SpecError: The file cannot be read or is no mapping.
    """
    try:
        document = parse_json(read_text(file, _MOST_BYTES), str(file))
    except (OSError, ValueError) as error:
        raise SpecError(f"{file}: cannot be read: {why(error)}") from None
    return _mapping(document)


def _mapping(document: Document) -> Document:
    """Return a document that is no list.

    Raises:
        SpecError: It is one.
    """
    if LIST in document.data and (LIST,) not in document.keys:  # a mapping may have this key
        found = f"{document.data[LIST]!r}"[:60]
        raise SpecError(f"{document.source}: a configuration must be a mapping, found {found}")
    return document


def _add_tried(out: Conversion, documents: list[Document]) -> None:
    """Add the values that trials tried: a few as a list, many numbers as their range."""
    tried: dict[str, list[object]] = {}
    for document in documents:
        for name, value in _flat(document.data):
            tried.setdefault(name, []).append(value)
    for name, values in tried.items():
        path = (name,)
        if len(values) < len(documents):
            out.note(path, f"{name!r} is not in every trial")
        numbers = {v for v in values if isinstance(v, int | float) and not isinstance(v, bool)}
        if len(numbers) <= _MOST_LISTED or any(v not in numbers or isinstance(v, bool) for v in values):
            out.add(path, name, out.listed(path, values))
            continue
        low, high = min(numbers), max(numbers)
        whole = all(isinstance(v, int) for v in numbers)
        log = low > 0 and high / low >= 100
        out.note(path, f"{name!r} is the range of the {len(numbers)} values that were tried")
        out.add(path, name, out.ranged(path, low, high, whole=whole, log=log))
    out.note((), f"distributions are not in {PARAMS}, and pickles are not opened: these are the values of "
                 f"{len(documents)} trials; the file with the space says more")  # fmt: skip
    out.note((), "no metric is in it: name the goal under `objective`, and what to launch under `system`")


def _flat(data: Any, before: str = "") -> Iterator[tuple[str, object]]:
    """Return the values of nested mappings, with the outer names in front."""
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{key}_")
        else:
            yield f"{before}{key}", value
