"""Parameters that a program of Optuna's asks for, as parameters of ours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FixedTrial, FrozenTrial, Trial

from autotune.core.arguments import check_arguments
from autotune.core.inferred_conditions import literal
from autotune.core.measurement import Cause
from autotune.core.parameter import Categorical, Float, Int, Ordinal, Parameter
from autotune.core.table import expansion_order, with_derived
from autotune.core.trial import Config, Value
from autotune.engine.optuna_space import coordinate
from autotune.errors import SpecError
from autotune.study.study import SpaceLike, read_space

MOST_LEVELS = 100_000
"""Values of a number; one with more is searched as a real number."""


@dataclass(frozen=True)
class ParameterOfOptuna:
    """One parameter of Optuna's as one of ours.

    Args:
        parameter: Parameter of ours, over all values that were seen.
        distribution: Distribution from which values are wanted.
        constraints: Expressions that keep proposals to those values.
        declared: Whether the parameter is the user's own, with the values that Optuna has.
    """

    parameter: Parameter
    distribution: BaseDistribution
    constraints: tuple[str, ...] = ()
    declared: bool = False

    def ours(self, value: Any) -> Value:
        """Return the value that our parameter has for one of Optuna's.

        Raises:
            SpecError: It is none that the distribution can hold: anything can be enqueued.
        """
        d = self.distribution
        if self.declared:
            return self.parameter.coerce(value)
        value = _held(d, value)
        if isinstance(d, CategoricalDistribution):
            level = int(d.to_internal_repr(value))
            return self.parameter.coerce(value) if isinstance(self.parameter, Ordinal) else level
        if isinstance(d, FloatDistribution) and isinstance(self.parameter, Int):
            assert d.step is not None  # noqa: S101 - what is stepped alone is counted
            rank: int = round((value - d.low) / d.step)
            return rank
        return int(value) if isinstance(self.parameter, Int) else float(value)

    def holds(self, value: Any) -> bool:
        """Return whether there is a value of ours for one of Optuna's."""
        try:
            self.ours(value)
        except SpecError:
            return False
        return True

    def theirs(self, value: Value) -> Any:
        """Return the value of the distribution that one of ours stands for."""
        d = self.distribution
        if self.declared:
            return coordinate(self.parameter, for_people=True).theirs(value)
        if isinstance(d, CategoricalDistribution):
            if isinstance(self.parameter, Ordinal):
                return next(choice for choice in d.choices if choice == value)
            return d.choices[int(value)]
        if isinstance(d, FloatDistribution):
            if d.step is None:
                return min(max(float(value), d.low), d.high)
            ranks = value if isinstance(self.parameter, Int) else round((float(value) - d.low) / d.step)
            return float(min(max(d.low + float(ranks) * d.step, d.low), d.high))
        assert isinstance(d, IntDistribution)  # noqa: S101 - there are three kinds
        whole = d.low + round((float(value) - d.low) / d.step) * d.step
        return int(min(max(whole, d.low), d.low + (d.high - d.low) // d.step * d.step))


def _held(d: BaseDistribution, value: Any) -> Any:
    """Return a value as a distribution holds it, out of its range too, as Optuna tries it.

    Raises:
        SpecError: It holds none such.
    """
    try:
        stored = d.to_internal_repr(value)
        if math.isfinite(stored):
            return d.to_external_repr(stored)
    except (ValueError, TypeError, OverflowError):  # a text, None, a list or infinity for a number
        pass
    raise SpecError(f"{d} cannot hold {value!r}")


def parameter_of(
    name: str,
    theirs: str,
    distribution: BaseDistribution,
    trials: Sequence[FrozenTrial],
    fixed: Mapping[str, object],
) -> ParameterOfOptuna:
    """Return the parameter ``name`` of ours that stands for ``theirs``."""
    one = ParameterOfOptuna(_parameter(name, distribution), distribution)
    seen = [t.params[theirs] for t in trials if theirs in t.params and one.holds(t.params[theirs])]
    if theirs in fixed and not one.holds(fixed[theirs]):
        fixed = {}
    first = [one.ours(value) for value in seen[:1]]
    if isinstance(distribution, CategoricalDistribution):
        wanted = [one.ours(fixed[theirs])] if fixed.get(theirs, ...) in distribution.choices else first
        bound = f"{name} == {wanted[0]!r}" if theirs in fixed and wanted else ""
        parameter = replace(one.parameter, default=wanted[0] if wanted else None)
        return replace(one, parameter=parameter, constraints=(bound,) if bound else ())
    numbers = [one.ours(value) for value in seen]
    levels = one.parameter.levels
    low, high = levels[0], levels[-1]
    default = next(
        (v for v in first if float(low) <= float(v) <= float(high)), levels[(len(levels) - 1) // 2]
    )
    constraints = []
    values = list(levels)
    if theirs in fixed:
        default = one.ours(fixed[theirs])
        numbers.append(default)
        constraints = [f"{name} == {default!r}"]
    elif any(not float(low) <= float(v) <= float(high) for v in numbers):
        constraints = [f"{name} >= {low!r} and {name} <= {high!r}"]
    least, most = min([low, *numbers], key=float), max([high, *numbers], key=float)
    return replace(
        one, parameter=_widened(one.parameter, least, most, default, values), constraints=tuple(constraints)
    )


def declared(
    parameter: Parameter, distribution: BaseDistribution, fixed: Mapping[str, object]
) -> ParameterOfOptuna:
    """Return a parameter of a space of ours, at its fixed value where it has one."""
    free = ParameterOfOptuna(parameter, distribution, declared=True)
    if parameter.name not in fixed or not free.holds(fixed[parameter.name]):
        return free
    value = parameter.coerce(fixed[parameter.name])
    bound = f"{parameter.name} == {literal(value)}"
    return ParameterOfOptuna(replace(parameter, default=value), distribution, (bound,), declared=True)


def _parameter(name: str, d: BaseDistribution) -> Parameter:
    """Return a parameter of ours over the values of a distribution."""
    if isinstance(d, CategoricalDistribution):
        numbers = [c for c in d.choices if isinstance(c, int | float) and not isinstance(c, bool)]
        if len(set(numbers)) == len(d.choices) and all(map(math.isfinite, numbers)):
            return Ordinal(name, tuple(sorted(numbers)))
        return Categorical(name, tuple(range(len(d.choices))))
    assert isinstance(d, IntDistribution | FloatDistribution)  # noqa: S101 - there are three kinds
    count = math.inf if d.step is None else _steps(d)
    if count > MOST_LEVELS:
        return Float(name, d.low, d.high, scale="log10" if d.log else "linear")
    if isinstance(d, FloatDistribution):
        return Int(name, 0, round(count))
    scale = "log2" if d.log else "linear"
    return Int(name, d.low, d.high, step=None if d.step == 1 else d.step, scale=scale)


def _steps(d: IntDistribution | FloatDistribution) -> float:
    """Return the number of steps of a number that has them."""
    assert d.step is not None  # noqa: S101 - its callers have seen to that
    return (d.high - d.low) / d.step


def is_rounded(d: BaseDistribution) -> bool:
    """Return whether a distribution has steps, too many to be listed: proposals are rounded to them."""
    if not isinstance(d, IntDistribution | FloatDistribution) or d.step is None:
        return False
    return _steps(d) > MOST_LEVELS


def nearest(d: BaseDistribution, value: float) -> Iterator[float]:
    """Return the values of a number with steps, from the nearest to one of them on."""
    assert isinstance(d, IntDistribution | FloatDistribution)  # noqa: S101 - what has steps is a number
    assert d.step is not None  # noqa: S101
    most = round(_steps(d))
    rank = round((value - d.low) / d.step)
    for away in range(most + 1):
        for each in dict.fromkeys((rank + away, rank - away)):
            if 0 <= each <= most:
                yield min(d.low + each * d.step, d.high)


def _widened(parameter: Parameter, low: Value, high: Value, default: Value, levels: list[Value]) -> Parameter:
    """Return a number over a wider range, with at least these levels."""
    if isinstance(parameter, Int):
        step = parameter.step or 1
        low = parameter.low - -(-(parameter.low - int(low)) // step) * step  # the steps stay where they are
        high = max(int(high), parameter.high)
        off = default if (int(default) - int(low)) % step == 0 else None
        return replace(parameter, low=int(low), high=high, default=off)
    assert isinstance(parameter, Float)  # noqa: S101 - numbers are of two kinds
    wide = replace(parameter, low=float(low), high=float(high), default=default)
    return wide if (low, high) == (parameter.low, parameter.high) else wide.with_levels({*levels, default})


def under(one: ParameterOfOptuna, when: str | None) -> Parameter:
    """Return the parameter of a coordinate under a condition, with its levels."""
    if when is None:
        return one.parameter
    parameter = replace(one.parameter, when=when)
    if isinstance(parameter, Float):
        return parameter.with_levels(one.parameter.levels)
    return parameter


@check_arguments("space")
def suggest(trial: Trial | FrozenTrial | FixedTrial, space: SpaceLike) -> Config:
    """Return the configuration of a space that a trial of Optuna tries, each active parameter suggested.

    Args:
        trial: Trial, as an objective of Optuna takes it.
        space: Space, or its name such as ``vllm``; its constraints hold where the study's sampler knows it.
    """
    space = read_space(space)
    found: Config = {}
    for p in expansion_order(space.parameters):
        if p.condition is None or p.condition.holds(found):
            one = coordinate(p, for_people=True)
            found[p.name] = one.ours(trial._suggest(p.name, one.distribution))
    return with_derived({p.name: found[p.name] for p in space if p.name in found}, space.derived_expressions)


def cause_of(trial: FrozenTrial) -> Cause:
    """Return why a trial failed, as its user attribute ``failure`` says."""
    said = trial.user_attrs.get("failure")
    return Cause(said) if isinstance(said, str) and said in set(Cause) else Cause.CRASHED_UNDER_LOAD
