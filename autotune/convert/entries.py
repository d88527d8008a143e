"""Parameters as a study file has them, made from what other tools write."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import yaml

from autotune.core.parameter import parameter_from_dict
from autotune.core.parameter.base import read_number
from autotune.core.scalar import PlainText, typed_scalar

Entry = dict[str, Any]
"""A parameter as a study file has it."""


def listed(values: list[object], *, default: object = None) -> Entry:
    """Return the parameter that takes the values of a list: numbers in order, truth values, or labels.

    Args:
        values: Values with the types of their file; a structure becomes the JSON text that a flag takes.
        default: One of them, where the file says which; else the middle one of numbers, the first of labels.
    """
    found = [plain_value(value) for value in values]
    found = [value for i, value in enumerate(found) if _place(value, found) == i]
    start = found[0] if default is None else plain_value(default)
    if all(isinstance(value, bool) for value in found) and len(found) == 2:
        return {"type": "bool", **({"default": start} if start else {})}
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in found):
        ordered = sorted(found)
        middle = ordered[(len(ordered) - 1) // 2] if default is None else start
        return {"type": "ordinal", "values": ordered, **({"default": middle} if len(ordered) > 1 else {})}
    return {"type": "categorical", "values": found, **({"default": start} if start != found[0] else {})}


def _place(value: object, among: list[object]) -> int:
    return next(
        i for i, v in enumerate(among) if v == value and isinstance(v, bool) == isinstance(value, bool)
    )


def plain_value(value: object) -> Any:
    """Return a value as a parameter has it: structures as JSON text, the missing one as :data:`NONE`."""
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


def snapped(low: float, high: float, step: float) -> tuple[float, float]:
    """Return the ends of a range of which only multiples of a step are drawn, by rounding."""
    first, last = (round(round(bound / step) * step, 12) for bound in (low, high))
    return first, last


def with_default(entry: Entry, wanted: object) -> Entry:
    """Return a parameter whose default is the allowed value nearest to a wanted one, where that is one."""
    if wanted is None or "default" not in entry or isinstance(wanted, bool) != (entry["type"] == "bool"):
        return entry
    parameter = parameter_from_dict("x", entry)
    number = read_number(wanted)
    if parameter.kind == "number" and number is not None:
        near = min(parameter.levels, key=lambda value: abs(float(value) - number))
        return {**entry, "default": _rounded(near)}
    return {**entry, "default": wanted} if wanted in parameter.levels else entry


def _rounded(value: object) -> object:
    return float(f"{value:.12g}") if isinstance(value, float) else value


_OLD_BOOLS = {**dict.fromkeys(("yes", "on"), True), **dict.fromkeys(("no", "off"), False)}

_OLD_INTS = re.compile(r"[-+]?(0b[01_]{1,64}|0[0-7_]{1,64}|[1-9][0-9_]{0,64}(:[0-5]?[0-9]){0,4})")


def typed_as_yaml11(value: object) -> Any:
    """Return data of a foreign YAML file as PyYAML, which these tools read it with, types it.

    That is YAML 1.1: ``yes`` and ``off`` are truth values too, ``017`` is 15 and ``1_000`` is 1000.
    """
    if isinstance(value, PlainText):
        if _OLD_INTS.fullmatch(value):
            return yaml.constructor.SafeConstructor().construct_yaml_int(yaml.ScalarNode("", value))
        return _OLD_BOOLS.get(value.lower(), typed_scalar(value))
    if isinstance(value, Mapping):
        return {str(key): typed_as_yaml11(item) for key, item in value.items()}
    return [typed_as_yaml11(item) for item in value] if isinstance(value, list) else value


def study_text(study: Mapping[str, object]) -> str:
    """Return the text of a study file, such that our reader gives every value the type that it has."""
    return yaml.dump(
        dict(study), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
    )


class _Dumper(yaml.SafeDumper):
    """A dumper whose text is read as text, by the rules of our own reader."""

    def ignore_aliases(self, data: object) -> bool:
        """Return that nothing is written as an alias, which our reader refuses."""
        return True


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    quoted = not isinstance(typed_scalar(text), str)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if quoted else None)


_Dumper.add_representer(str, _text_node)


def flow_text(value: object) -> str:
    """Return a value on one line of a study file, such that our reader gives it the type that it has."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 20, default_flow_style=True
    )
    return text.removesuffix("\n...\n").strip()
