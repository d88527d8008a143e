"""Build a parameter from its entry in a study file or a dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields

from autotune.core.json_object import JsonObject
from autotune.core.kinds import Choice
from autotune.core.parameter.base import OLD_RESTARTS, Parameter
from autotune.core.parameter.listed import Bool, Categorical, Ordinal
from autotune.core.parameter.numeric import Float, Int
from autotune.errors import SpecError, refuse_unknown_keys, under

PARAMETER_TYPES: dict[str, type[Parameter]] = {
    kind.type_name: kind for kind in (Int, Float, Bool, Ordinal, Categorical)
}


def parameter_from_dict(name: str, data: JsonObject) -> Parameter:
    """Build a parameter from its entry in a study file.

    Raises:
        SpecError: ``path`` is relative to the entry.
    """
    if not isinstance(data, Mapping):
        raise SpecError(f"a parameter needs a mapping with 'type', found {data!r}")
    if data.get("type") is None:
        raise SpecError(f"parameter {name!r} needs a type; allowed: {', '.join(PARAMETER_TYPES)}")
    with under("type"):
        type_name = Choice(tuple(PARAMETER_TYPES)).read(data["type"], "type")
    kind = PARAMETER_TYPES[type_name]
    known = {item.name: item.default is MISSING for item in fields(kind) if item.init and item.name != "name"}
    refuse_unknown_keys(data, ("type", *known), f"a parameter of type {type_name}")
    for key, needed in known.items():
        if needed and key not in data:
            raise SpecError(f"parameter {name!r} of type {type_name} needs {key!r}")
    given = {key: value for key, value in data.items() if key != "type"}
    if isinstance(given.get("restart"), str):  # files and ledgers keep their old words, without a warning
        given["restart"] = OLD_RESTARTS.get(given["restart"], given["restart"])
    parameter = kind(name, **given)
    with under("when"):
        _ = parameter.condition
    return parameter
