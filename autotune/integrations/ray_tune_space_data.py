"""Spaces of Ray Tune as plain data: templates of configurations with slots, and what choices stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, TypeAlias

from autotune.core.measurement import LARGEST
from autotune.core.parameter import Float, Int
from autotune.core.plain_data import read_part
from autotune.core.registry import shown
from autotune.core.section import mapping, sequence
from autotune.core.space import Space
from autotune.core.trial import Value
from autotune.errors import SpecError, refuse_unknown_keys, under

PLAIN = (bool, int, float, str)

_SLOT, _TUPLE = "autotune.parameter", "autotune.tuple"
_KEYS = ("space", "template", "choices")

Tree: TypeAlias = Any
"""What Tune nests: mappings and lists of distributions, of slots, of constants, which are any objects."""


@dataclass(frozen=True)
class Slot:
    """The place of a parameter in a configuration of Tune's."""

    name: str


Choices: TypeAlias = Mapping[str, Sequence[tuple[Value, Tree]]]
"""Values of Tune's by parameter and by value of ours."""


def same(one: Tree, other: Tree) -> bool:
    """Return whether two values are one: a number is no truth value."""
    return bool(isinstance(one, bool) == isinstance(other, bool) and (one is other or one == other))


def is_list(part: object) -> bool:
    """Return whether a part holds others by their place."""
    return type(part) in (list, tuple)


def write_space_data(space: Space, template: Tree, choices: Choices) -> dict[str, Tree]:
    """Return a space as what :func:`read_space_data` reads back; constants and choices stay what they are."""
    pairs = {name: [[ours, _encoded(theirs)] for ours, theirs in found] for name, found in choices.items()}
    return {"space": space.to_dict(), "template": _encoded(template), "choices": pairs}


def read_space_data(data: Mapping[str, Tree]) -> tuple[Space, Tree, dict[str, list[tuple[Value, Tree]]]]:
    """Return the space, the template and the choices of plain data.

    Raises:
        SpecError: It is something else; ``path`` leads to it.
    """
    refuse_unknown_keys(data, _KEYS, "a space")
    for key in _KEYS:
        read_part(key, mapping, data.get(key))
    with under("space"):
        space = Space.from_dict(data["space"])
    known = {*space.names, *space.derived}
    template = read_part("template", lambda part, key: _decoded(part, known, key), data["template"])
    with under("choices"):
        choices = _decoded_choices(data["choices"], space, known)
    places = {*_slots(template), *_slots(choices)}
    for name in space.names:
        if name not in places:
            raise SpecError(f"template must have a place for {name!r}", path=("template",))
    return space, template, choices


def check_numbers(space: Space, trials: Sequence[Mapping[str, Tree]]) -> None:
    """Refuse saved trials with which an engine cannot calculate; those of a wider space are none.

    Raises:
        SpecError: A range of numbers has something else; ``path`` leads to it from the state.
    """
    ranges = [parameter.name for parameter in space if isinstance(parameter, Int | Float)]
    for i, trial in enumerate(trials):
        for name in ranges:
            value = trial["suggestion"]["config"].get(name, 0)
            if isinstance(value, bool | str) or abs(value) > LARGEST:
                text = f"{name} must be a number within {LARGEST:g}, found {shown(value)}"
                raise SpecError(text, path=("trials", i, "suggestion", "config", name))


def _encoded(part: Tree) -> Tree:
    if isinstance(part, Slot):
        return {_SLOT: part.name}
    if isinstance(part, Mapping):
        return {key: _encoded(item) for key, item in part.items()}
    items = [_encoded(item) for item in part] if is_list(part) else part
    return {_TUPLE: items} if type(part) is tuple else items


def _slots(part: Tree) -> Iterator[str]:
    """Yield the names of the slots in a part."""
    if isinstance(part, Slot):
        yield part.name
    elif isinstance(part, Mapping) or is_list(part):
        for item in part.values() if isinstance(part, Mapping) else part:
            yield from _slots(item)


def _decoded(part: Tree, known: Set[str], name: str) -> Tree:
    """Return what :func:`_encoded` wrote of a part.

    Args:
        part: Plain data.
        known: Names that a slot may have.
        name: Key of the part, for messages.
    """

    def deeper(item: Tree, key: str) -> Tree:
        return _decoded(item, known, key)

    if isinstance(part, Mapping):
        if part.keys() == {_SLOT}:
            if not isinstance(part[_SLOT], str) or part[_SLOT] not in known:
                raise SpecError(f"{name} must be the place of a parameter, found {shown(part[_SLOT])}")
            return Slot(part[_SLOT])
        if part.keys() == {_TUPLE}:
            items = sequence(part[_TUPLE], f"{name} must be a list")
            return tuple(read_part(i, deeper, item) for i, item in enumerate(items))
        return {key: read_part(key, deeper, item) for key, item in part.items()}
    return [read_part(i, deeper, item) for i, item in enumerate(part)] if isinstance(part, list) else part


def _decoded_choices(
    choices: Mapping[str, Tree], space: Space, known: Set[str]
) -> dict[str, list[tuple[Value, Tree]]]:
    """Return the values of Tune's that every value of a listed parameter stands for."""
    found: dict[str, list[tuple[Value, Tree]]] = {}
    for name, pairs in choices.items():
        with under(name):
            if name not in space.names:
                raise SpecError(f"unknown parameter {name!r}; allowed: {', '.join(space.names)}", at_key=True)
            for i, pair in enumerate(sequence(pairs, f"{name} must be a list")):
                if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], PLAIN):
                    raise SpecError(f"{i} must be a pair of values, found {shown(pair)}", path=(i,))
                theirs = read_part(i, lambda item, key: _decoded(item, known, key), pair[1])
                found.setdefault(name, []).append((pair[0], theirs))
            listed = [ours for ours, _ in found.get(name, ())]
            for value in space[name].levels:
                if not any(same(value, ours) for ours in listed):
                    raise SpecError(f"{name} must have a pair for {value!r}, found {shown(pairs)}")
    return found
