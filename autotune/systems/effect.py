"""Prove that each parameter changes something: the command, its environment, a file or a request.

A value that changes nothing is searched for nothing: every trial of it repeats another one, and the report
would credit it with noise. The only value of a parameter is in every configuration that is shown: where it
reaches nothing, that configuration is not what runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np

from autotune.core import allowed
from autotune.core.constraint_graph import ConstraintGraph
from autotune.core.parameter import Parameter
from autotune.core.space import Space
from autotune.core.trial import Config, Value
from autotune.errors import SpecError
from autotune.systems.base import System, launched_config

_SAMPLED = 48  # random configurations around which values are tried where the default shows no difference
_NOTHING_SET = ("auto", "off", "none", 0)  # and ``False``: true where nothing is set
_LEVELS = 9  # values of a parameter that are tried around one configuration

SAME = "all of its values mean the same here"
"""Why a parameter changes nothing where no more is known: a single one of its values does as well."""


@runtime_checkable
class Rendering(Protocol):
    """A system that can say what a configuration changes outside, without launching anything."""

    def effect(self, config: Config) -> str:
        """Return the command without its port, variables, files and request fields, as one text."""


def find_ineffective(system: System, space: Space) -> tuple[str, str] | None:
    """Return the first parameter that changes nothing and why, or ``None``.

    A parameter of one value is a constant: it may stay where it reaches something, or says that nothing is
    set. A system that cannot say what a configuration changes is given its values as they are.
    """
    if not isinstance(system, Rendering):
        return None
    around = list(_bases(space))
    for parameter in space:
        found = _has_effect if len(parameter.levels) > 1 else _is_read
        if not found(system, space, parameter, around):
            return parameter.name, _why(system, space, parameter)
    return None


def _bases(space: Space) -> Iterator[Callable[[], list[Config]]]:
    """Give the configurations to start from: drawing random ones costs more than most need."""
    yield lambda: [space.default_config]
    sampled: list[Config] = []

    def sample() -> list[Config]:
        if not sampled:
            sampled.extend(space.sample(_SAMPLED, np.random.default_rng(0)))
        return sampled

    yield sample


def _has_effect(
    system: Rendering, space: Space, parameter: Parameter, around: list[Callable[[], list[Config]]]
) -> bool:
    free = Space(space.parameters, derived=space.derived)  # for values that no other can be changed without
    for within in (space, free):
        for bases in around:
            for base in bases():
                if len(set(_effects(system, within, parameter, base))) > 1:
                    return True
    return False


def _is_read(
    system: Rendering, space: Space, parameter: Parameter, around: list[Callable[[], list[Config]]]
) -> bool:
    """Return whether the only value of a parameter, or one in its place, differs from its absence."""
    value = parameter.levels[0]
    if value in _NOTHING_SET:
        return True
    for bases in around:
        for base in bases():
            if parameter.name not in base:
                continue
            absent = {name: other for name, other in base.items() if name != parameter.name}
            configs = [absent, *({**base, parameter.name: one} for one in (value, *_others(value)))]
            try:
                effects = {
                    system.effect(launched_config(system, config, space.derived))  # type: ignore[arg-type]
                    for config in configs
                }
            except (SpecError, ValueError, LookupError, TypeError):
                return True  # what is refused, or missed, is read
            if len(effects) > 1:
                return True
    return False


def _others(value: object) -> tuple[Value, ...]:
    """Return values in place of one that may be what holds without it."""
    if isinstance(value, bool):
        return (not value,)
    return (value + 1, 2 * value) if isinstance(value, int | float) else (f"{value}x",)


def _effects(system: Rendering, space: Space, parameter: Parameter, base: Config) -> Iterator[str]:
    """Give what values of a parameter lead to, all others as they are; woken ones take their default."""
    defaults = {p.name: p.fallback for p in space}
    count = len(parameter.levels)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _LEVELS)).astype(int))
    for level in chosen:
        try:
            config = space.validate({**defaults, **base, parameter.name: parameter.levels[level]})
        except SpecError:
            continue  # a constraint forbids it here
        if parameter.name in config:
            yield system.effect(launched_config(system, config, space.derived))  # type: ignore[arg-type]


def _why(system: object, space: Space, parameter: Parameter) -> str:
    condition = parameter.condition
    if condition is not None:
        count = allowed.count(ConstraintGraph(space.parameters, (*space.constraint_expressions, condition)))
        if count.exact and not count.value:
            return f"its condition {parameter.when!r} is never met"
    said = getattr(system, "why_without_effect", None)
    same = SAME if len(parameter.levels) > 1 else "nothing here reads it"
    return (said(parameter.name, space) if said else "") or same
