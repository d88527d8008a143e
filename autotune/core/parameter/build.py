"""Build a parameter from its entry in a study file or a dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from autotune.core.expression import Expression
from autotune.core.parameter.base import Parameter, read_prior
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
        items["prior"] = read_prior(items["prior"])
    for key in ("unit", "description", "scale", "restart", "when", "memory"):
        if key in items and not isinstance(items[key], str):
            raise SpecError(f"{key} must be text, found {items[key]!r}", path=(key,))
        if key in items:
            items[key] = str(items[key])  # no longer a scalar of a file
    parameter = kind(name, **items)
    if parameter.when is not None:
        try:
            Expression.parse(parameter.when)
        except SpecError as error:
            raise SpecError(error.message, path=("when",), hint=error.hint) from None
    return parameter
