"""What every converter gives: a study file as plain data, and a line for each thing without an equivalent."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from autotune.core.expression import Expression
from autotune.core.objective import Objective
from autotune.core.parameter import parameter_from_dict
from autotune.core.parameter.base import check_name, read_number
from autotune.core.scalar import PlainText, typed_scalar
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

    def note_rest(self, data: Mapping[str, Any], known: Iterable[str], path: Path_ = ()) -> None:
        """Note each key of a section that nothing reads."""
        for key in data:
            if key not in known:
                self.note((*path, key), f"'{key}' has no equivalent")

    def add(self, path: Path_, name: str, entry: Entry) -> None:
        """Add a parameter; a name that expressions cannot mention is rewritten, with a note."""
        plain = re.sub(r"\W", "_", name.strip().lstrip("-"), flags=re.ASCII)[:62] or "_"
        plain = f"_{plain}" if plain[0].isdigit() else plain
        taken = self.study.setdefault("parameters", {})
        while plain in taken or not _is_name(plain):
            plain += "_"
        if plain != name:
            self.note(path, f"parameter {name!r} is called {plain!r} here")
        taken[plain] = entry

    def finish(self) -> Conversion:
        """Check that the study file is one of ours.

        Raises:
            SpecError: Nothing in the file could be converted, or what came out is no valid study.
        """
        if not self.study.get("parameters"):
            lines = "\n  ".join(self.notes)
            raise SpecError(f"{self.source.source}: no parameter could be converted\n  {lines}".rstrip())
        self._keep_readable_constraints()
        inner = ("parameters", "constraints", "configurations")
        space = Space.from_dict({key: self.study[key] for key in inner if key in self.study})
        self._start_where_allowed(space)
        if "objective" in self.study:
            Objective.from_dict(self.study["objective"])
        order = ("name", "description", "parameters", "constraints", "configurations", "system", "workload",
                 "objective", "budget", "engine")  # fmt: skip
        self.study = {key: self.study[key] for key in order if key in self.study}
        return self

    def _keep_readable_constraints(self) -> None:
        """Leave out, with a note, what is no constraint over the parameters that were converted."""
        kept = []
        kinds = Space.from_dict(self.study["parameters"]).kinds
        for text in self.study.pop("constraints", []):
            try:
                if Expression.parse(text).check_types(kinds) != "bool":
                    raise SpecError("it is neither true nor false")
                kept.append(text)
            except SpecError as error:
                self.note(("constraints",), f"constraint {text!r} is left out: {error.message}")
        if kept:
            self.study["constraints"] = kept

    def _start_where_allowed(self, space: Space) -> None:
        """Leave defaults that break a constraint unstated: the nearest allowed configuration is the first."""
        try:
            _ = space.default_config
        except SpecError:
            for entry in self.study["parameters"].values():
                entry.pop("default", None)
            self.note((), "the defaults together break a constraint: the first configuration is near them")

    def to_yaml(self) -> str:
        """Return the text of the study file, the notes as comments at its head."""
        head = "".join(f"# {line}\n" for note in self.notes for line in note.splitlines())
        body = yaml.dump(
            self.study, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100,
            default_flow_style=None,
        )  # fmt: skip
        return head + body


class _Dumper(yaml.SafeDumper):
    """Write text so that it is read as text, by the rules of our own reader."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return that nothing is written as an alias, which our reader refuses."""
        return True


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    quoted = not isinstance(typed_scalar(text), str)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if quoted else None)


_Dumper.add_representer(str, _text_node)


def _is_name(name: str) -> bool:
    try:
        check_name(name, "parameter")
    except SpecError:
        return False
    return True


def listed(values: list[Any], *, default: Any = None) -> Entry:
    """Return the parameter that takes the values of a list: numbers in order, truth values, or labels.

    Args:
        values: With the types of their file; a structure becomes the JSON text that a flag takes.
        default: One of them, where the file says which; else the middle one of numbers, the first of labels.
    """
    found = [_scalar(value) for value in values]
    found = [value for i, value in enumerate(found) if _place(value, found) == i]
    start = found[0] if default is None else _scalar(default)
    if all(isinstance(value, bool) for value in found) and len(found) == 2:
        return {"type": "bool", **({"default": start} if start else {})}
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in found):
        ordered = sorted(found)
        middle = ordered[(len(ordered) - 1) // 2] if default is None else start
        return {"type": "ordinal", "values": ordered, **({"default": middle} if len(ordered) > 1 else {})}
    return {"type": "categorical", "values": found, **({"default": start} if start != found[0] else {})}


def _place(value: Any, among: list[Any]) -> int:
    return next(
        i for i, v in enumerate(among) if v == value and isinstance(v, bool) == isinstance(value, bool)
    )


def _scalar(value: Any) -> Any:
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, separators=(",", ":"))
    return NONE if value is None else value


NONE = "none"
"""What the missing value of another tool is called here."""


def ranged(low: float, high: float, *, whole: bool, step: float | None = None, log: bool = False) -> Entry:
    """Return the parameter that takes the numbers of a range, the middle of it as its default.

    ``high`` need not be a whole number of steps above ``low``.
    """
    kind: type = int if whole else float
    entry: Entry = {"type": "int" if whole else "float", "low": kind(low), "high": kind(high)}
    if log and low > 0:
        entry["scale"] = "log2" if whole else "log10"
    if step is not None and not (whole and step == 1):
        entry["step"] = kind(step)
    levels = parameter_from_dict("x", entry)
    wished = math.sqrt(low * high) if "scale" in entry else (low + high) / 2
    if low < high:
        entry["default"] = _rounded(min(levels.levels, key=lambda value: abs(float(value) - wished)))
    return entry


def with_default(entry: Entry, wanted: Any) -> Entry:
    """Return a parameter whose default is the allowed value nearest to a wanted one, where that is one."""
    if wanted is None or "default" not in entry or isinstance(wanted, bool) != (entry["type"] == "bool"):
        return entry
    parameter = parameter_from_dict("x", entry)
    number = read_number(wanted)
    if parameter.kind == "number" and number is not None:
        near = min(parameter.levels, key=lambda value: abs(float(value) - number))
        return {**entry, "default": _rounded(near)}
    return {**entry, "default": wanted} if wanted in parameter.levels else entry


def _rounded(value: Any) -> Any:
    return float(f"{value:.12g}") if isinstance(value, float) else value


_OLD_BOOLS = {**dict.fromkeys(("yes", "on"), True), **dict.fromkeys(("no", "off"), False)}


def typed_as_yaml11(value: Any) -> Any:
    """Return data of a foreign YAML file as PyYAML, which these tools read it with, types it.

    That is YAML 1.1: ``yes`` and ``off`` are truth values too.
    """
    if isinstance(value, PlainText):
        return _OLD_BOOLS.get(value.lower(), typed_scalar(value))
    if isinstance(value, Mapping):
        return {str(key): typed_as_yaml11(item) for key, item in value.items()}
    return [typed_as_yaml11(item) for item in value] if isinstance(value, list) else value


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
