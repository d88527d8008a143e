"""Build a parameter from its entry in a study file or a dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from autotune.core.expression import Expression
from autotune.core.parameter.base import Parameter, Prior, read_number
from autotune.core.parameter.listed import Bool, Categorical, Listed, Ordinal
from autotune.core.parameter.numeric import Float, Int, Numeric
from autotune.errors import SpecError, did_you_mean, refuse_unknown_keys

PARAMETER_TYPES: dict[str, type[Parameter]] = {
    kind.type_name: kind for kind in (Int, Float, Bool, Ordinal, Categorical)
}


def parameter_from_dict(name: str, data: Mapping[str, Any]) -> Parameter:
    """Build a parameter from its entry in a study file.

    Raises:
        SpecError: ``path`` is relative to the entry.
    """
    if not isinstance(data, Mapping):
        raise SpecError(f"a parameter needs a mapping with 'type', found {data!r}")
    items = dict(data)
    type_name = items.pop("type", None)
    kind = PARAMETER_TYPES.get(type_name) if isinstance(type_name, str) else None
    allowed = ", ".join(PARAMETER_TYPES)
    if type_name is None:
        raise SpecError(f"parameter {name!r} needs a type; allowed: {allowed}")
    if kind is None:
        hint = did_you_mean(str(type_name), PARAMETER_TYPES)
        raise SpecError(f"unknown type {type_name!r}; allowed: {allowed}", path=("type",), hint=hint)
    known = {item.name: item for item in fields(kind) if item.init and item.name != "name"}
    refuse_unknown_keys(data, ("type", *known), f"a parameter of type {type_name}")
    needed = ("values",) if issubclass(kind, Listed) else ("low", "high") if issubclass(kind, Numeric) else ()
    for key in needed:
        if key not in items:
            raise SpecError(f"parameter {name!r} of type {type_name} needs {key!r}")
    if "prior" in items:
        items["prior"] = _read_prior(items["prior"])
    for key in ("unit", "description", "scale", "restart", "when", "memory"):
        if key in items and not isinstance(items[key], str):
            raise SpecError(f"{key} must be text, found {items[key]!r}", path=(key,))
    parameter = kind(name, **items)
    if parameter.when is not None:
        try:
            Expression.parse(parameter.when)
        except SpecError as error:
            raise SpecError(error.message, path=("when",), hint=error.hint) from None
    return parameter


def _read_prior(data: Any) -> Prior:
    if not isinstance(data, Mapping) or not data:
        raise SpecError(f"a prior is {{around, spread}} or {{weights}}, found {data!r}", path=("prior",))
    refuse_unknown_keys(data, ("around", "spread", "weights"), "a prior", ("prior",))
    if "weights" in data:
        if len(data) > 1:
            raise SpecError(
                f"a prior is {{around, spread}} or {{weights}}, found {', '.join(data)}", path=("prior",)
            )
        pairs = _pairs(data["weights"])
        return Prior(weights=tuple((value, _above_zero(weight, "weights", value)) for value, weight in pairs))
    around = read_number(data.get("around"))
    if around is None:
        raise SpecError(
            f"a prior's around must be a number, found {data.get('around')!r}", path=("prior", "around")
        )
    return Prior(around=float(around), spread=_above_zero(data.get("spread"), "spread"))


def _pairs(data: Any) -> list[tuple[Any, Any]]:
    """Return the weights by value; stored studies have them as a list of pairs, which keeps their types."""
    if isinstance(data, Mapping) and data:
        return list(data.items())
    if isinstance(data, list) and data and all(isinstance(p, list | tuple) and len(p) == 2 for p in data):
        return [(value, weight) for value, weight in data]
    raise SpecError(f"weights must be a mapping of values to numbers, found {data!r}",
                    path=("prior", "weights"))  # fmt: skip


def _above_zero(raw: Any, key: str, value: Any = None) -> float:
    number = read_number(raw)
    if number is None or number <= 0:
        at = () if value is None else (str(value),)
        raise SpecError(f"{key} must be a number above 0, found {raw!r}", path=("prior", key, *at))
    return float(number)
