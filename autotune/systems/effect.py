"""Prove that each parameter changes something: the command, its environment, a file or a request.

A value that changes nothing is searched for nothing: every trial of it repeats another one, and the report
would credit it with noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np

from autotune.core import allowed
from autotune.core.elimination import Elimination
from autotune.core.parameter import Parameter
from autotune.core.space import Space
from autotune.core.trial import Config
from autotune.errors import SpecError
from autotune.systems.base import System, launched_config

_SAMPLED = 48  # random configurations around which values are tried where the default shows no difference
_LEVELS = 9  # values of a parameter that are tried around one configuration


@runtime_checkable
class Rendering(Protocol):
    """A system that can say what a configuration changes outside, without launching anything."""

    def effect(self, config: Config) -> str:
        """Return the command without its port, variables, files and request fields, as one text."""


def find_ineffective(system: System, space: Space) -> tuple[str, str] | None:
    """Return the first parameter that changes nothing and why, or ``None``.

    A parameter of one value is a constant and may stay. A system that cannot say what a configuration changes
    is given its values as they are.
    """
    if not isinstance(system, Rendering):
        return None
    around = list(_bases(space))
    for parameter in space:
        if len(parameter.levels) > 1 and not _has_effect(system, space, parameter, around):
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
        count = allowed.count(Elimination(space.parameters, (*space.constraint_expressions, condition)))
        if count.exact and not count.value:
            return f"its condition {parameter.when!r} is never met"
    said = getattr(system, "why_without_effect", None)
    return (said(parameter.name, space) if said else "") or "all of its values mean the same here"
