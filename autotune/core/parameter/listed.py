"""Parameters whose values are listed: bool, ordinal and categorical."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from autotune.core.parameter.base import Parameter, Prior, read_number, same_number, show
from autotune.core.trial import Value
from autotune.errors import SpecError, did_you_mean


class _Weighed(Parameter):
    """Read and apply a prior that gives each value a weight."""

    def _read_prior(self, prior: Prior) -> Prior:
        if not prior.weights:
            raise SpecError(
                f"the prior of {self.type_name} {self.name!r} needs weights, such as "
                f"{{weights: {{{show(self.fallback)}: 2}}}}; a value that is not named weighs 1",
                path=("prior",),
            )
        read: dict[Value, float] = {}
        for raw, weight in prior.weights:
            try:
                value = self.coerce(raw)
            except SpecError as error:
                raise SpecError(
                    error.message, path=("prior", "weights", str(raw)), at_key=True, hint=error.hint
                ) from None
            if value in read:
                raise SpecError(
                    f"the value {value!r} has two weights", path=("prior", "weights", str(raw)), at_key=True
                )
            read[value] = weight
        return Prior(weights=tuple((value, read[value]) for value in self.levels if value in read))

    def _weigh(self, prior: Prior) -> list[float]:
        weights = dict(prior.weights)
        return [weights.get(value, 1.0) for value in self.levels]


@dataclass(frozen=True)
class Bool(_Weighed):
    """Hold ``false`` or ``true``."""

    type_name = "bool"
    ordered = False
    kind = "bool"

    @cached_property
    def levels(self) -> tuple[Value, ...]:
        """``(False, True)``."""
        return (False, True)

    def coerce(self, raw: Any) -> Value:
        """Return ``raw`` as a truth value; only ``true`` and ``false`` are read from text."""
        text = raw.lower() if isinstance(raw, str) else raw
        if isinstance(raw, bool) or text in ("true", "false"):
            return text in (True, "true")
        raise SpecError(f"{self.name} cannot be {raw!r}; allowed: true, false")


@dataclass(frozen=True)
class Listed(_Weighed):
    """Hold what parameters with listed values share."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if isinstance(self.values, str) or not isinstance(self.values, Sequence) or not self.values:
            raise SpecError(
                f"values must be a list of at least one value, found {self.values!r}", path=("values",)
            )
        values = self._read(list(self.values))
        if len({(type(v) is bool, v) for v in values}) < len(values):
            twice = next(v for i, v in enumerate(values) if v in values[:i])
            raise SpecError(f"the value {twice!r} is listed twice", path=("values", values.index(twice)))
        object.__setattr__(self, "values", tuple(values))
        super().__post_init__()

    def _read(self, values: list[Any]) -> list[Value]:
        for i, value in enumerate(values):
            if not isinstance(value, str | int | float | bool):
                raise SpecError(f"a value must be text or a number, found {value!r}", path=("values", i))
        return values

    @cached_property
    def levels(self) -> tuple[Value, ...]:
        """The values in the order in which they were listed."""
        return self.values

    def coerce(self, raw: Any) -> Value:
        """Return the listed value that ``raw`` names."""
        for value in self.values:
            if (raw == value and isinstance(raw, bool) == isinstance(value, bool)) or (
                isinstance(raw, str) and (raw == str(value) or same_number(raw, value))
            ):
                return value
            if isinstance(value, str) and isinstance(raw, int | float) and show(raw) == value:
                return value  # a label that reads as a number, such as 32 beside auto
        hint = did_you_mean(str(raw), [str(value) for value in self.values])
        raise SpecError(f"{self.name} cannot be {raw!r}; allowed: {self.allowed()}", hint=hint)


@dataclass(frozen=True)
class Ordinal(Listed):
    """Hold listed values whose order means something, such as bits or block sizes."""

    type_name = "ordinal"

    @property
    def kind(self) -> str:  # type: ignore[override]
        """``number`` or ``text``: numbers compare in expressions, labels only equal each other."""
        return "text" if isinstance(self.values[0], str) else "number"

    def _read(self, values: list[Any]) -> list[Value]:
        values = super()._read(values)
        numbers = [read_number(value) for value in values]
        if all(number is not None for number in numbers):
            return [int(n) if float(n).is_integer() and "." not in str(v) else float(n)
                    for n, v in zip(numbers, values, strict=True) if n is not None]  # fmt: skip
        return [str(value) for value in values]


@dataclass(frozen=True)
class Categorical(Listed):
    """Hold listed values without an order."""

    type_name = "categorical"
    ordered = False

    @property
    def kind(self) -> str:  # type: ignore[override]
        """``number``, ``text`` or ``bool``, by what is listed."""
        if all(isinstance(value, bool) for value in self.values):
            return "bool"
        return "text" if any(isinstance(value, str) for value in self.values) else "number"
