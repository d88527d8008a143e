"""Read the parts of a space from plain data."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from autotune.core.cycles import cycle_of
from autotune.core.expression import Expression
from autotune.core.parameter import Parameter, parameter_from_dict
from autotune.core.parameter.base import check_name
from autotune.core.section import sequence
from autotune.core.trial import Config
from autotune.errors import SpecError, refuse_unknown_keys, under

KEYS = ("parameters", "constraints", "derived", "configurations")
"""What a space is read from."""

SpaceParts = tuple[tuple[Parameter, ...], tuple[str, ...], tuple[Config, ...] | None, Mapping[str, str]]


def read_space(
    data: Mapping[str, object], configurations: Sequence[Mapping[str, object]] | None = None
) -> SpaceParts:
    """Return parameters, constraints, listed configurations and derived values.

    Args:
        data: Mapping with :data:`KEYS`, or the parameters alone.
        configurations: The list of configurations, where it does not stand in ``data``.

    Raises:
        SpecError: Something is wrong; ``path`` leads to it.
    """
    if data and all(isinstance(entry, Mapping) and "type" in entry for entry in data.values()):
        data = {"parameters": data}
    refuse_unknown_keys(data, KEYS, "a space")
    entries = data.get("parameters")
    if not isinstance(entries, Mapping) or not entries:
        raise SpecError(
            f"parameters must be a mapping of names to parameters, found {entries!r}",
            path=("parameters",),
        )
    parameters = []
    for name, entry in entries.items():
        with under("parameters", name):
            parameters.append(parameter_from_dict(name, entry))
    constraints, derived = data.get("constraints", ()), data.get("derived", {})
    with under("constraints"):
        constraints = sequence(constraints, "constraints must be a list of expressions")
    if not isinstance(derived, Mapping):
        text = f"derived must be a mapping of names to expressions, found {derived!r}"
        raise SpecError(text, path=("derived",))
    listed = data.get("configurations") if configurations is None else configurations
    return tuple(parameters), tuple(constraints), None if listed is None else _configs(listed), derived


def _configs(listed: object) -> tuple[Config, ...]:
    with under("configurations"):
        found = sequence(listed, "configurations must be a list of mappings")
        for i, config in enumerate(found):
            if not isinstance(config, Mapping):
                text = f"a configuration must be a mapping of parameters to values, found {config!r}"
                raise SpecError(text, path=(i,))
        return tuple(dict(config) for config in found)


def read_derived(derived: Mapping[str, str], kinds: Mapping[str, str]) -> dict[str, Expression]:
    """Return each derived value as an expression over parameters alone.

    Args:
        derived: Expressions by name; one may use another.
        kinds: Kind of each parameter by name.

    Raises:
        SpecError: A name is taken, an expression is wrong, or they need each other.
    """
    parsed: dict[str, Expression] = {}
    for name, text in derived.items():
        with under("derived", name):
            check_name(name, "derived value's")
            if name in kinds:
                raise SpecError(f"{name!r} is a parameter already", at_key=True)
            parsed[name] = Expression.parse(text)
    waits = {name: set(e.names() & parsed.keys()) for name, e in parsed.items()}
    needed_by: dict[str, list[str]] = {name: [] for name in parsed}
    for name, needs in waits.items():
        for other in needs:
            needed_by[other].append(name)
    known, done = dict(kinds), dict[str, Expression]()
    ready = deque(name for name, needs in waits.items() if not needs)
    while ready:
        name = ready.popleft()
        with under("derived", name):
            known[name] = parsed[name].check_types(known)
            done[name] = parsed[name].substitute(done)
        for other in needed_by[name]:
            waits[other].discard(name)
            if not waits[other]:
                ready.append(other)
    rest = {name: waits[name] for name in parsed if name not in done}
    if rest:
        raise SpecError(f"cyclic derived values: {cycle_of(rest)}", path=("derived", next(iter(rest))))
    return {name: done[name] for name in parsed}
