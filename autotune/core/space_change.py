"""What differs between two spaces, and whether what was measured under one counts under the other."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.core.json_object import JsonObject
from autotune.core.parameter.base import show
from autotune.core.space import Space
from autotune.core.trial import Config
from autotune.errors import SpecError


def differences(old: Space, new: Space) -> list[str]:
    """Return what changed from ``old`` to ``new``, a line each, in the words of a study file."""
    before, after = ({p.name: p.to_dict() for p in space.parameters} for space in (old, new))
    lines = []
    for name in dict.fromkeys([*old.names, *new.names]):
        entry, other = before.get(name), after.get(name)
        if entry is None or other is None:
            said = "added" if entry is None else "removed"
            lines.append(f"parameter {name} {said}: {_words(other if entry is None else entry)}")
        elif old[name].meaning() != new[name].meaning():
            keys = [key for key in dict.fromkeys([*entry, *other]) if entry.get(key) != other.get(key)]
            lines += [f"parameter {name}: {_change(key, entry, other)}" for key in keys]
    meanings = [{e.meaning for e in space.constraint_expressions} for space in (old, new)]
    for space, others, said in ((old, meanings[1], "removed"), (new, meanings[0], "added")):
        pairs = zip(space.constraints, space.constraint_expressions, strict=True)
        lines += [f"constraint {said}: {text}" for text, e in pairs if e.meaning not in others]
    for name in dict.fromkeys([*old.derived, *new.derived]):
        if old.derived.get(name) != new.derived.get(name):
            lines.append(f"derived value {_change(name, old.derived, new.derived)}")
    if old.configurations != new.configurations:
        counts = [len(space.configurations or ()) or "no list" for space in (old, new)]
        lines.append(f"configurations: {counts[0]} -> {counts[1]}")
    return lines


def as_stored(new: Space, stored: JsonObject) -> Space:
    """Return the stored space where ``new`` differs from it in the types of listed values only.

    Values of studies from before they had types are text, `'true'` for `true`: such a study goes on with what
    its trials were measured with.
    """
    old = Space.from_dict(stored)
    if old.fingerprint == new.fingerprint:
        return new
    entries = {name: _retyped(entry, new, name) for name, entry in stored["parameters"].items()}
    try:
        same = Space.from_dict({**stored, "parameters": entries}).fingerprint == new.fingerprint
    except SpecError:
        return new
    return old if same else new


def _retyped(entry: JsonObject, new: Space, name: str) -> Mapping[str, object]:
    """Return a stored parameter with its listed values as those of ``new`` that they name."""
    if "values" not in entry or name not in new.names:
        return entry
    try:
        return {**entry, "values": [new[name].coerce(value) for value in entry["values"]]}
    except SpecError:
        return entry


def adopt(space: Space, config: Mapping[str, object]) -> Config:
    """Return a configuration that was measured under another space as one of ``space``.

    A parameter that the other space did not have takes its stated default: what was measured ran with it.

    Raises:
        SpecError: It is no configuration of ``space``, or a new parameter states no default.
    """
    known = {name: value for name, value in config.items() if name in space.names}
    lost = [name for name in config if name not in space.names and name not in space.derived]
    if lost:
        raise SpecError(f"parameter {lost[0]!r} is gone, and {lost[0]}={show(config[lost[0]])} was measured")
    for parameter in space:
        if parameter.name not in known:
            known[parameter.name] = parameter.fallback
    adopted = space.validate(known)
    for name in adopted:
        if name in space.names and name not in config and space[name].default is None:
            raise SpecError(
                f"the new parameter {name!r} states no default, so what was measured has no value for it"
            )
    return adopted


def _change(key: str, old: Mapping[str, object], new: Mapping[str, object]) -> str:
    sides = [_words(side[key]) if key in side else "not stated" for side in (old, new)]
    return f"{key}: {sides[0]} -> {sides[1]}"


def _words(value: object) -> str:
    """Return plain data as a study file would write it in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_words(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_words(item) for item in value) + "]"
    return show(value)
