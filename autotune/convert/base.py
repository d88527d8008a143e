"""What every converter gives: a study file as plain data, and a line for each thing without an equivalent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from autotune.core.parameter.base import read_number
from autotune.core.space import Space
from autotune.errors import SpecError
from autotune.spec.yaml_text import Document, Path_

Entry = dict[str, Any]
"""A parameter as a study file has it."""


@dataclass
class Conversion:
    """Collect a study file while a foreign one is read.

    Args:
        source: The foreign document, for the places of notes.
        study: The study file so far.
        notes: A line for each thing that has no equivalent: where, what, and what was done instead.
    """

    source: Document
    study: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def note(self, path: Path_, text: str) -> None:
        """Add a line about what stands at ``path``."""
        self.notes.append(f"{self.source.mark(path, at_key=True)}: {text}")

    def ignore(self, data: Mapping[str, Any], keys: Iterable[str], why: str = "has no equivalent") -> None:
        """Note each of ``keys`` that the top of the file has."""
        for key in keys:
            if key in data:
                self.note((key,), f"'{key}' {why}")

    def add(self, path: Path_, name: str, entry: Entry) -> None:
        """Add a parameter; a name that expressions cannot mention is rewritten, with a note."""
        plain = re.sub(r"\W", "_", name.strip().lstrip("-"))[:64]
        if plain != name:
            self.note(path, f"parameter {name!r} is called {plain!r} here")
        self.study.setdefault("parameters", {})[plain] = entry

    def finish(self) -> Conversion:
        """Check that the study file is one of ours.

        Raises:
            SpecError: Nothing in the file could be converted, or what came out is no valid space.
        """
        if not self.study.get("parameters"):
            lines = "\n  ".join(self.notes)
            raise SpecError(f"{self.source.source}: no parameter could be converted\n  {lines}".rstrip())
        Space.from_dict(
            {key: self.study[key] for key in ("parameters", "configurations") if key in self.study}
        )
        order = ("name", "description", "parameters", "configurations", "system", "workload", "objective",
                 "budget", "engine")  # fmt: skip
        self.study = {key: self.study[key] for key in order if key in self.study}
        return self

    def to_yaml(self) -> str:
        """Return the text of the study file, the notes as comments at its head."""
        head = "".join(f"# {line}\n" for line in self.notes)
        body = yaml.safe_dump(
            self.study, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
        )
        return head + body


def listed(values: list[Any]) -> Entry:
    """Return the parameter that takes the values of a list: numbers in order, truth values, or labels."""
    typed = [plain_value(value) for value in values]
    if all(isinstance(value, bool) for value in typed) and len(set(typed)) == 2:
        return {"type": "bool"}
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in typed):
        return {"type": "ordinal", "values": sorted(set(typed))}
    labels = [value if isinstance(value, str) else str(value).lower() for value in typed]
    return {"type": "categorical", "values": list(dict.fromkeys(labels))}


def ranged(low: float, high: float, *, whole: bool, step: float | None = None, log: bool = False) -> Entry:
    """Return the parameter that takes the numbers of a range."""
    kind: type = int if whole else float
    entry: Entry = {"type": "int" if whole else "float", "low": kind(low), "high": kind(high)}
    if log and low > 0:
        entry["scale"] = "log2" if whole else "log10"
    if step is not None and not (whole and step == 1):
        entry["step"] = kind(step)
    return entry


def plain_value(value: Any) -> Any:
    """Return text of a file as the number or truth value that it writes; other text as it is."""
    if not isinstance(value, str):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    number = read_number(value)
    if number is None:
        return value
    return number


def number_at(conversion: Conversion, data: Mapping[str, Any], path: Path_) -> float:
    """Return the number under the last key of ``path``.

    Raises:
        SpecError: It is not there or no number; located.
    """
    found = read_number(data.get(str(path[-1])))
    if found is None:
        error = SpecError(f"{path[-1]} must be a number, found {data.get(str(path[-1]))!r}", path=path)
        raise conversion.source.locate(error)
    return found


def mapping_at(conversion: Conversion, data: Any, path: Path_) -> Mapping[str, Any]:
    """Return ``data`` if it is a mapping.

    Raises:
        SpecError: It is not; located.
    """
    if not isinstance(data, Mapping):
        where = path[-1] if path else "the file"
        raise conversion.source.locate(SpecError(f"{where} must be a mapping, found {data!r}", path=path))
    return data
