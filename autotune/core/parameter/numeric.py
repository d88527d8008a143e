"""Parameters that hold numbers from a range: int and float."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Annotated

from autotune.core.arguments import check_class
from autotune.core.kinds import By, Word
from autotune.core.parameter.base import Parameter, Prior, read_number, read_whole, show
from autotune.core.trial import Value
from autotune.errors import SpecError

SCALES = ("linear", "log2", "log10")
MAX_LEVELS = 1_000_000  # more values than any flag has; bounds what a mistyped range can allocate
FLOAT_LEVELS = 33  # grid on which a float without a step is searched; the engine refines around leaders


def _whole(raw: object, name: str) -> int:
    number = read_whole(raw)
    if number is None:
        raise SpecError(f"{name} must be a whole number, found {raw!r}")
    return int(number)


def _finite(raw: object, name: str) -> float:
    number = read_number(raw)
    if number is None:
        raise SpecError(f"{name} must be a finite number, found {raw!r}")
    return float(number)


def _logarithm(value: float, low: float) -> float:
    """Return the logarithm of ``value / low``, a ratio that may be larger than any number."""
    ratio = value / low  # of close values more exact than a difference of logarithms
    return math.log(ratio) if math.isfinite(ratio) else math.log(value) - math.log(low)


def _at_least(least: int) -> By:
    def read(raw: object, name: str) -> int:
        if (number := _whole(raw, name)) < least:
            raise SpecError(f"{name} must be at least {least}, found {raw!r}")
        return number

    return By(read)


_WHOLE, _FINITE = By(_whole), By(_finite)


@dataclass(frozen=True, repr=False)
class Numeric(Parameter):
    """The base of int and float: a range and its scale."""

    low: float
    high: float
    _: KW_ONLY
    scale: Annotated[str, Word(SCALES)] = "linear"
    step: float | None = None

    def _check(self) -> None:
        if self.low > self.high:
            raise SpecError(f"low {self.low!r} is above high {self.high!r}", path=("low",))
        if self.scale != "linear" and self.low <= 0:
            raise SpecError(
                f"a {self.scale} scale needs low > 0, found {self.low!r}",
                path=("low",),
                hint="use scale: linear, or a low above 0 with a separate flag that switches the feature off",
            )
        if self.step is not None and self.step <= 0:
            raise SpecError(f"a step must be above 0, found {self.step!r}", path=("step",))
        if self.step is not None and (self.high - self.low) / self.step > MAX_LEVELS:
            raise SpecError(f"more than {MAX_LEVELS} values between low and high", path=("step",))

    def _read_prior(self, prior: Prior) -> Prior:
        usual = self.high / 8 - self.low / 8 or 1.0  # the difference may be too large
        if prior.weights or prior.around is None:
            raise SpecError(
                f"the prior of {self.type_name} {self.name!r} needs around and spread, such as "
                f"{{around: {show(self.fallback)}, spread: {show(usual)}}}",
                path=("prior",),
            )
        if not self.low <= prior.around <= self.high:
            raise SpecError(
                f"the prior of {self.name!r} is around {show(prior.around)}; allowed: "
                f"{show(self.low)} to {show(self.high)}",
                path=("prior", "around"),
            )
        return Prior(prior.around, usual if prior.spread is None else prior.spread)

    def _weigh(self, prior: Prior) -> list[float]:
        assert prior.around is not None and prior.spread is not None  # noqa: S101, PT018 - checked when read
        exponents = [-0.5 * ((float(v) - prior.around) / prior.spread) ** 2 for v in self.levels]
        top = max(exponents)  # far from every level the nearest still counts most
        return [math.exp(e - top) for e in exponents]

    def meaning(self) -> dict[str, object]:
        """Return what decides how the parameter is searched."""
        shared = super().meaning()
        span = {} if self.discrete else {"low": self.low, "high": self.high}
        return {**shared, "scale": self.scale, **span}

    def position(self, value: Value) -> float:
        """Return where ``value`` lies between low and high on the scale, in [0, 1]."""
        if self.high == self.low:
            return 0.0
        if self.scale == "linear":
            whole = self.high - self.low
            if math.isfinite(whole):
                return (float(value) - self.low) / whole
            return (float(value) / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return _logarithm(float(value), self.low) / _logarithm(self.high, self.low)

    def allowed(self) -> str:
        """Return the range in words."""
        step = f" in steps of {show(self.step)}" if self.step not in (None, 1) else ""
        return f"{self.type_name} from {show(self.low)} to {show(self.high)}{step}"


@check_class(...)
@dataclass(frozen=True, repr=False)
class Int(Numeric):
    """A parameter of whole numbers from ``low`` to ``high``.

    Args:
        low: Smallest value.
        high: Largest value, included.
        scale: ``linear``, ``log2`` or ``log10``: on which steps of equal effect are expected.
        step: Distance of neighbouring values, counted from ``low``.
        multiple_of: Number of which only multiples are allowed.
        powers_of: Number of which only powers are allowed.
    """

    low: Annotated[int, _WHOLE]
    high: Annotated[int, _WHOLE]
    _: KW_ONLY
    step: Annotated[int | None, _WHOLE] = None
    multiple_of: Annotated[int | None, _at_least(1)] = None
    powers_of: Annotated[int | None, _at_least(2)] = None

    type_name = "int"

    def _check(self) -> None:
        super()._check()
        if not self.levels:
            raise SpecError(f"no value is allowed: {self.allowed()}", path=("low",))

    @cached_property
    def levels(self) -> tuple[Value, ...]:
        """The values in ascending order."""
        if self.high - self.low > MAX_LEVELS * (self.step or self.multiple_of or 1) and not self.powers_of:
            raise SpecError(f"more than {MAX_LEVELS} values between low and high", path=("high",))
        if self.powers_of is not None:
            values, value = [], 1
            while value <= self.high:
                values.append(value)
                value *= self.powers_of
        elif self.multiple_of is not None and self.step is None:
            start = -(-self.low // self.multiple_of) * self.multiple_of
            values = list(range(start, self.high + 1, self.multiple_of))
        else:
            values = list(range(self.low, self.high + 1, self.step or 1))
        multiple = self.multiple_of or 1
        return tuple(v for v in values if self.low <= v <= self.high and v % multiple == 0)

    def coerce(self, raw: object) -> Value:
        """Return ``raw`` as an allowed whole number."""
        number = read_whole(raw)
        if number is None or int(number) not in self._positions:
            raise SpecError(f"{self.name} cannot be {raw!r}; allowed: {self.allowed()}")
        return int(number)

    def allowed(self) -> str:
        """Return the range in words."""
        text = super().allowed()
        if self.multiple_of is not None:
            text += f", multiples of {self.multiple_of}"
        return text + (f", powers of {self.powers_of}" if self.powers_of is not None else "")


@check_class(...)
@dataclass(frozen=True, repr=False)
class Float(Numeric):
    """A parameter of real numbers from ``low`` to ``high``; with ``step``, only ``low + k * step``."""

    low: Annotated[float, _FINITE]
    high: Annotated[float, _FINITE]
    _: KW_ONLY
    step: Annotated[float | None, _FINITE] = None

    type_name = "float"

    @property
    def discrete(self) -> bool:
        """Whether there is a step."""
        return self.step is not None

    @cached_property
    def levels(self) -> tuple[Value, ...]:
        """The values in ascending order; without a step, a grid that is even on the scale."""
        if self.low == self.high:
            return (self.low,)
        if self.step is not None:
            count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
            # rounded, so that 0.7 + 2 * 0.05 reads 0.8 in a file, on screen and as a key
            return tuple(round(self.low + i * self.step, 12) for i in range(count))
        steps = [i / (FLOAT_LEVELS - 1) for i in range(FLOAT_LEVELS)]
        grid = {float(f"{self.value_at(u):.6g}") for u in steps[1:-1]} | {self.low, self.high}
        if isinstance(self.default, float):
            grid.add(self.default)
        return tuple(sorted(value for value in grid if self.low <= value <= self.high))

    def value_at(self, position: float) -> float:
        """Return the value at a position of the scale, the opposite of :meth:`position`, not rounded."""
        low, high = self.low, self.high
        if self.scale != "linear":
            ratio = high / low
            if math.isfinite(ratio):
                return float(low * ratio**position)
            return math.exp(math.log(low) + position * _logarithm(high, low))
        if math.isfinite(high - low):
            return low + position * (high - low)
        return low * (1.0 - position) + high * position

    def with_levels(self, values: Collection[Value]) -> Float:
        """Return the parameter with more levels beside its grid; its meaning stays."""
        copy = replace(self)
        known = {"condition": self.condition, "grid": self.grid}
        vars(copy).update(known, levels=tuple(sorted({*self.levels, *values}, key=float)))
        return copy

    def coerce(self, raw: object) -> Value:
        """Return ``raw`` as an allowed real number, snapped to the nearest step."""
        number = read_number(raw)
        if number is not None and self.low <= number <= self.high:
            if self.step is None:
                return float(number)
            nearest = round(self.low + round((number - self.low) / self.step) * self.step, 12)
            if abs(nearest - number) <= 1e-9 * max(1.0, abs(number)):
                return nearest
        raise SpecError(f"{self.name} cannot be {raw!r}; allowed: {self.allowed()}")
