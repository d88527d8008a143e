"""The distributions of Ray Tune as parameters of ours: one table for spaces that are read and that are given.

Reference: https://docs.ray.io/en/latest/tune/api/search_space.html.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from autotune.convert.base import Conversion
from autotune.convert.entries import Entry
from autotune.core.json_object import JsonObject
from autotune.core.parameter.base import read_number
from autotune.spec.yaml_text import Path_

ARGUMENTS = {
    "uniform": ("lower", "upper"),
    "quniform": ("lower", "upper", "q"),
    "loguniform": ("lower", "upper", "base"),
    "qloguniform": ("lower", "upper", "q", "base"),
    "randint": ("lower", "upper"),
    "qrandint": ("lower", "upper", "q"),
    "lograndint": ("lower", "upper", "base"),
    "qlograndint": ("lower", "upper", "q", "base"),
    "randn": ("mean", "sd"),
    "qrandn": ("mean", "sd", "q"),
    "choice": ("categories",),
    "grid_search": ("values",),
}
"""Arguments of each distribution, in order; ``base`` means nothing."""

_DEFAULTS: dict[str, dict[str, Any]] = {"qrandint": {"q": 1}, "randn": {"mean": 0.0, "sd": 1.0}}
_LISTS = ("choice", "grid_search")


class NoEquivalent(Exception):
    """A distribution that is no parameter of ours; the text says why."""


def read_distribution(out: Conversion, name: str, given: JsonObject, path: Path_) -> Entry:
    """Return the parameter of a distribution.

    Args:
        out: Conversion that notes what changes.
        name: Name of the distribution, such as ``loguniform``.
        given: Its arguments by name.
        path: Place of the entry.

    Raises:
        NoEquivalent: It is none of the table's, or its arguments make no sense.
        SpecError: It is no range; located.
    """
    if name not in ARGUMENTS:
        raise NoEquivalent(f"tune.{name} has no equivalent")
    given = {**_DEFAULTS.get(name, {}), **given}
    missing = [key for key in ARGUMENTS[name] if key not in given and key != "base"]
    if missing:
        raise NoEquivalent(f"tune.{name} needs {', '.join(missing)}")
    if name in _LISTS:
        (values,) = given.values()
        if not isinstance(values, list) or not values:
            raise NoEquivalent(f"tune.{name} needs a list of values, found {values!r}")
        return out.listed(path, values)
    for key, value in given.items():
        if read_number(value) is None or isinstance(value, str):
            raise NoEquivalent(f"{key} of tune.{name} must be a number, found {value!r}")
    if "sd" in given:
        return out.normal(path, given["mean"], given["sd"], step=given.get("q"))
    return _ranged(out, name, given, path)


def _ranged(out: Conversion, name: str, given: JsonObject, path: Path_) -> Entry:
    low, high, step = given["lower"], given["upper"], given.get("q")
    whole = "randint" in name
    if step is not None and step <= 0:
        raise NoEquivalent(f"q of tune.{name} must be above 0, found {step!r}")
    if whole and step in (None, 1):
        high -= 1  # never drawn; only with a step that is not 1 it is
    if whole and not all(float(v).is_integer() for v in (low, high, step or 1)):
        raise NoEquivalent(f"tune.{name} needs whole numbers, found {dict(given)!r}")
    if step is not None:
        low, high = _inwards(low, high, step)
    if low > high:
        raise NoEquivalent(f"tune.{name} from {low!r} to {high!r} has no values")
    return out.ranged(path, low, high, whole=whole, step=step, log="log" in name)


def _inwards(low: float, high: float, step: float) -> tuple[float, float]:
    """Return the first and the last multiple of a step between two bounds, as Tune draws them."""

    def index(bound: float, outwards: Callable[[float], int]) -> int:
        near = round(bound / step)
        return near if math.isclose(bound / step, near) else outwards(bound / step)

    first, last = (round(i * step, 12) for i in (index(low, math.ceil), index(high, math.floor)))
    return first, last
