"""Parameters of ours as distributions of Optuna, and their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from autotune.core.parameter import Float, Int, Parameter
from autotune.core.parameter.base import show
from autotune.core.trial import Value

Params: TypeAlias = dict[str, Any]
"""Values of Optuna's by name."""


@dataclass(frozen=True)
class Coordinate:
    """A parameter of ours as Optuna sees it.

    Args:
        parameter: Parameter.
        distribution: Distribution that stands for it.
        by_level: Whether its values are indices of the parameter's levels, rather than the values themselves.
    """

    parameter: Parameter
    distribution: BaseDistribution
    by_level: bool = False

    def theirs(self, value: Value) -> Any:
        """Return Optuna's value for one of ours."""
        if self.by_level:
            return self.parameter.level_of(value)
        if isinstance(self.distribution, CategoricalDistribution):
            return self.distribution.choices[self.parameter.level_of(value)]
        return float(value) if isinstance(self.distribution, FloatDistribution) else int(value)

    def ours(self, value: Any) -> Value:
        """Return our value for one of Optuna's."""
        return self.parameter.levels[int(value)] if self.by_level else self.parameter.coerce(value)


def coordinate(parameter: Parameter, *, for_people: bool) -> Coordinate:
    """Return a parameter as Optuna sees it.

    Args:
        parameter: Parameter.
        for_people: Whether ordered values with uneven steps are choices, which a person reads, rather than
            their ranks, which a sampler learns from.
    """
    levels = parameter.levels
    if isinstance(parameter, Float):
        log = parameter.scale != "linear" and parameter.step is None
        high = float(levels[-1]) if parameter.discrete else parameter.high
        return Coordinate(parameter, FloatDistribution(parameter.low, high, log=log, step=parameter.step))
    if isinstance(parameter, Int):
        low, high = int(levels[0]), int(levels[-1])
        step = int(levels[1]) - low if len(levels) > 1 else 1
        if levels == tuple(range(low, high + 1, step)):
            log = parameter.scale != "linear" and step == 1
            return Coordinate(parameter, IntDistribution(low, high, log=log, step=step))
    if for_people:
        mixed = parameter.kind == "mixed"  # to Optuna 1 is True
        return Coordinate(parameter, CategoricalDistribution(tuple(map(show, levels)) if mixed else levels))
    if parameter.ordered:
        return Coordinate(parameter, IntDistribution(0, len(levels) - 1), by_level=True)
    return Coordinate(parameter, CategoricalDistribution(tuple(range(len(levels)))), by_level=True)
