"""Parameters whose values are listed: bool, ordinal and categorical."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autotune.core.arguments import check_class
from autotune.core.parameter.base import Parameter, Prior, read_number, same_number, show
from autotune.core.plain_data import copy_plain
from autotune.core.scalar import PlainText, plain_scalar, typed_scalar
from autotune.core.trial import Value
from autotune.errors import SpecError, did_you_mean, under


class _Weighed(Parameter):
    """A prior that gives each value a weight."""

    def _read_prior(self, prior: Prior) -> Prior:
        if not prior.weights:
            raise SpecError(
                f"the prior of {self.type_name} {self.name!r} needs weights, such as "
                f"{{weights: {{{show(self.fallback)}: 2}}}}; a value that is not named weighs 1",
                path=("prior",),
            )
        read: dict[tuple[bool, Value], float] = {}
        for raw, weight in prior.pairs:
            try:
                value = self.coerce(raw)
            except SpecError as error:
                raise SpecError(
                    error.message, path=("prior", "weights", str(raw)), at_key=True, hint=error.hint
                ) from None
            if _identity(value) in read:
                raise SpecError(
                    f"the value {value!r} has two weights", path=("prior", "weights", str(raw)), at_key=True
                )
            read[_identity(value)] = weight
        named = [value for value in self.levels if _identity(value) in read]
        return Prior(weights=tuple((value, read[_identity(value)]) for value in named))

    def _weigh(self, prior: Prior) -> list[float]:
        weights = {_identity(value): weight for value, weight in prior.pairs}
        return [weights.get(_identity(value), 1.0) for value in self.levels]


@check_class(...)
@dataclass(frozen=True, repr=False)
class Bool(_Weighed):
    """A parameter that is ``false`` or ``true``."""

    type_name = "bool"
    ordered = False
    kind = "bool"

    @cached_property
    def levels(self) -> tuple[Value, ...]:
        """``(False, True)``."""
        return (False, True)

    def coerce(self, raw: object) -> Value:
        """Return ``raw`` as a truth value; only ``true`` and ``false`` are read from text."""
        raw = plain_scalar(raw)
        text = raw.lower() if isinstance(raw, str) else raw
        if isinstance(raw, bool) or (isinstance(text, str) and text in ("true", "false")):
            return text in (True, "true")
        raise SpecError(f"{self.name} cannot be {raw!r}; allowed: true, false")


@dataclass(frozen=True, repr=False)
class Listed(_Weighed):
    """The base of parameters with listed values.

    Values keep their types: `1`, `True` and `"1"` are three. YAML types those of a file that stand without
    quotes.
    """

    values: Sequence[Value]

    def _check(self) -> None:
        given: object = self.values
        if isinstance(given, np.ndarray):
            given = given.tolist()
        if isinstance(given, str | bytes) or not isinstance(given, Sequence) or not given:
            raise SpecError(f"values must be a list of at least one value, found {given!r}", path=("values",))
        values = self._read([plain_scalar(value) for value in given])
        seen = [_identity(value) for value in values]
        if len(set(seen)) < len(seen):
            twice = next(i for i, found in enumerate(seen) if found in seen[:i])
            raise SpecError(f"duplicate value {values[twice]!r}", path=("values", seen.index(seen[twice])))
        object.__setattr__(self, "values", tuple(values))

    @property
    def kind(self) -> str:  # type: ignore[override]
        """``number``, ``text`` or ``bool``, by what is listed; ``mixed`` where that is several of them."""
        kinds = {
            "bool" if isinstance(v, bool) else "text" if isinstance(v, str) else "number" for v in self.values
        }
        return kinds.pop() if len(kinds) == 1 else "mixed"

    def _read(self, values: list[object]) -> list[Value]:
        result: list[Value] = []
        for i, raw in enumerate(values):
            value = typed_scalar(raw) if isinstance(raw, PlainText) else raw
            if value is None:
                raise SpecError(
                    f"a value must be text, a number or a truth value, found {raw or 'nothing'!r}",
                    path=("values", i),
                    hint="`auto` leaves a flag or a field out; in quotes it is text",
                )
            if not isinstance(value, str | int | float | bool):
                raise SpecError(f"a value must be text or a number, found {value!r}", path=("values", i))
            with under("values", i):
                result.append(copy_plain(value, "a value"))
        return result

    @cached_property
    def levels(self) -> tuple[Value, ...]:
        """The values in the order in which they were listed."""
        return tuple(self.values)

    @cached_property
    def _by_identity(self) -> dict[tuple[bool, Value], int]:
        return {_identity(value): i for i, value in enumerate(self.values)}

    def level_of(self, value: Value) -> int:
        """Return the index of a listed value."""
        index = self._by_identity.get(_identity(value))
        return self.values.index(self.coerce(value)) if index is None else index

    def coerce(self, raw: object) -> Value:
        """Return the listed value that ``raw`` is, or else the first one that it names."""
        raw = plain_scalar(raw)
        exact = [raw, typed_scalar(raw)] if isinstance(raw, PlainText) else [raw]
        for value in exact:
            if isinstance(value, str | int | float) and _identity(value) in self._by_identity:
                return self.values[self._by_identity[_identity(value)]]
        for value in self.values:
            if isinstance(raw, str) and (raw in (str(value), show(value)) or same_number(raw, value)):
                return value
            if isinstance(value, str) and isinstance(raw, int | float) and show(raw) == value:
                return value  # a label that reads as a number: studies from before labels had types
        hint = did_you_mean(str(raw), [str(value) for value in self.values])
        raise SpecError(f"{self.name} cannot be {raw!r}; allowed: {self.allowed()}", hint=hint)


@check_class(...)
@dataclass(frozen=True, repr=False)
class Ordinal(Listed):
    """A parameter of listed values whose order means something, such as bits or block sizes."""

    type_name = "ordinal"

    def _read(self, values: list[object]) -> list[Value]:
        numbers = [read_number(value) for value in values]
        if all(number is not None for number in numbers):
            return [int(n) if float(n).is_integer() and "." not in str(v) else float(n)
                    for n, v in zip(numbers, values, strict=True) if n is not None]  # fmt: skip
        return super()._read(values)


@check_class(...)
@dataclass(frozen=True, repr=False)
class Categorical(Listed):
    """A parameter of listed values without an order."""

    type_name = "categorical"
    ordered = False


def _identity(value: Value) -> tuple[bool, Value]:
    """Return a key that tells values apart: in Python, `True` equals 1."""
    return isinstance(value, bool), value
