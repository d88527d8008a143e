"""The formats that can be read, told apart by what is in them; adding one is a module and a line here.

A third party adds one by an entry point of ``autotune.converters``.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from autotune.convert import auto_tune_vllm, optuna, ray_results, ray_tune, vllm_sweep, wandb
from autotune.convert.base import Conversion
from autotune.convert.entries import typed_as_yaml11
from autotune.convert.json_text import parse_json
from autotune.core.registry import Registry, shown
from autotune.errors import EnvironmentProblem, SpecError
from autotune.spec.yaml_text import Document, parse_text, read_text


class Format(Protocol):
    """A format: a module, or a plug-in's object; one of this package has its ``NAME``."""

    def recognizes(self, document: Document) -> bool:
        """Return whether a document is of the format."""

    def convert(self, document: Document) -> Conversion:
        """Return the study of a document."""


_MODULES = (wandb, auto_tune_vllm, optuna, ray_results, vllm_sweep)
FORMATS: dict[str, Format] = {module.NAME: module for module in _MODULES}
CONVERTERS = Registry(
    "format", "autotune.converters", {module.NAME: module.__name__ for module in _MODULES}, method="convert"
)
_DATABASES = (".db", ".sqlite", ".sqlite3", ".log", ".journal")


def convert(source: str, *, format_name: str | None = None, study: str | None = None) -> Conversion:
    """Return a foreign file as a study of ours.

    Args:
        source: Its path, the address of an Optuna storage, ``FILE.py:NAME`` of a search space of Ray Tune,
            or the folder of one of its experiments.
        format_name: One of :data:`CONVERTERS`; found out from the content when it is not given.
        study: Name of the study within an Optuna storage.

    Raises:
        SpecError: The file is of no known format, or wrong.
        EnvironmentProblem: A storage cannot be read, or a plug-in that is asked is broken.
    """
    theirs = None if format_name is None or format_name in FORMATS else CONVERTERS.load(format_name)
    if "://" in source or Path(source).suffix in _DATABASES:
        return optuna.convert_storage(optuna.read_storage(source, study))
    of_tune = format_name in (None, ray_results.NAME)
    python = ray_tune.split_source(source)
    if of_tune and python is not None:
        return ray_tune.convert_python(*python)
    if of_tune and os.path.isdir(source):  # a name too long is none
        return ray_results.convert_results(source)
    document = read_document(source)
    if format_name is not None:
        return _by_plugin(format_name, document) if theirs else FORMATS[format_name].convert(document)
    for module in FORMATS.values():
        if module.recognizes(document):
            return module.convert(document)
    names = CONVERTERS.names()
    broken = []
    for name in names[len(FORMATS) :]:
        try:
            found = CONVERTERS.load(name)
            if CONVERTERS.call(name, partial(found.recognizes, document)):
                return _by_plugin(name, document)
        except EnvironmentProblem as error:  # the file may be another's
            broken.append(f"; {error.message}")
    allowed = f"{', '.join(names)}{''.join(broken)}"
    raise SpecError(f"{source}: of no known format; allowed: {allowed}", hint="name it with --from")


def _by_plugin(name: str, document: Document) -> Conversion:
    found = CONVERTERS.load(name)
    conversion = CONVERTERS.call(name, lambda: found.convert(document))
    if not isinstance(conversion, Conversion):
        raise CONVERTERS.broken(name, f"gave {shown(conversion)} in place of a conversion")
    return conversion


def read_document(source: str) -> Document:
    """Return a YAML or JSON file; a JSON list stands under one key."""
    document = parse_document(read_text(Path(source)), source)
    return replace(document, data=typed_as_yaml11(document.data))


def parse_document(text: str, source: str) -> Document:
    """Return a text of YAML or JSON, values as written.

    Args:
        text: The text.
        source: Name of the file, for messages.
    """
    opening = text.lstrip()[:1]
    if opening not in ("[", "{"):
        return parse_text(text, source, core_tags=True)
    try:
        return parse_json(text, source)
    except SpecError as error:
        if opening == "{" and "not valid JSON" in error.message:
            return parse_text(text, source, core_tags=True)  # YAML may begin with a brace as well
        raise
