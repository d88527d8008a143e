"""What all kinds of parameters share, and the strict reading of numbers."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from functools import cached_property
from typing import Annotated, Any, ClassVar, TypeGuard

from autotune.core.arguments import check_class
from autotune.core.deprecation import warn_deprecated
from autotune.core.expression import Expression
from autotune.core.html import html_table, short
from autotune.core.kinds import By, Text, Word
from autotune.core.scalar import plain_scalar
from autotune.core.section import declared_fields
from autotune.core.trial import Value
from autotune.errors import SpecError, refuse_unknown_keys, under

RESTARTS = ("system", "reload", "request")

OLD_RESTARTS = {"engine": "system"}
"""Words of older files, with those that stand for them."""

_OLD_WORD = {new: old for old, new in OLD_RESTARTS.items()}  # fingerprints in ledgers were made of these

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)([kmgtKMGT])")
_POWERS = "kmgt"
_RESERVED = {"and", "or", "not", "true", "false", "min", "max", "log2"}


@check_class(...)
@dataclass(frozen=True)
class Prior:
    """A belief about where the optimum lies; it guides the search and never excludes a value.

    Args:
        around: Most likely value of a numeric parameter.
        spread: One standard deviation of that belief, in the parameter's own unit; an eighth of its range
            where it is not stated.
        weights: Relative weight by value, for ordinal and categorical parameters.

    Raises:
        SpecError: It is neither around a number nor of weights, or a number is none.
    """

    around: float | None = None
    spread: float | None = None
    weights: Mapping[Value, float] | Sequence[tuple[Value, float]] = ()

    def __post_init__(self) -> None:
        read = _read_fields(self.around, self.spread, self.weights)
        for name, value in zip(("around", "spread", "weights"), read, strict=True):
            object.__setattr__(self, name, value)

    @property
    def pairs(self) -> tuple[tuple[Value, float], ...]:
        """Values with their weights; empty for a belief around a number."""
        return tuple(self.weights)  # type: ignore[arg-type]  # as read

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data."""
        if self.weights:
            return {"weights": [list(pair) for pair in self.pairs]}
        return {"around": self.around, "spread": self.spread}


_PRIOR = By(lambda raw, _: read_prior(raw))


@dataclass(frozen=True, repr=False)
class Parameter:
    """The base of all kinds of parameters.

    Args:
        name: A letter or underscore, then letters, digits and underscores; at most 64.
        default: Value of the default configuration; the first value when it is not stated.
        unit: Unit of the value, for people.
        description: One line for people.
        prior: Belief about the optimum; a mapping is read as in a study file.
        when: Condition on other parameters under which this one is active.
        restart: Cost of changing the value: a launch of the ``system``, a ``reload``, another ``request``.
        memory: Whether a higher value needs more (``up``) or less (``down``) memory.
    """

    name: str
    _: KW_ONLY
    default: Value | None = None
    unit: Annotated[str, Text()] = ""
    description: Annotated[str, Text()] = ""
    prior: Annotated[Prior | Mapping[str, object] | None, _PRIOR] = None
    when: Annotated[str | None, Text()] = None
    restart: Annotated[str, Word(RESTARTS, old=OLD_RESTARTS)] = "system"
    memory: Annotated[str | None, Word(("up", "down"))] = None

    type_name: ClassVar[str] = ""
    ordered: ClassVar[bool] = True
    kind: ClassVar[str] = "number"  # to the expression language: number, text, bool, or mixed of them

    def __post_init__(self) -> None:
        check_name(self.name, "parameter")
        if isinstance(self.restart, str) and self.restart in OLD_RESTARTS:
            warn_deprecated(f"restart={self.restart!r}", f"restart={OLD_RESTARTS[self.restart]!r}", "0.1")
        for item in declared_fields(type(self)):
            value = getattr(self, item.key)
            if value is None and not item.needed:
                value = item.field.default
            if value is not None or item.needed:
                with under(item.key):
                    value = item.kind.read(value, item.key)
            object.__setattr__(self, item.key, value)
        self._check()
        if self.default is not None:
            with under("default"):
                object.__setattr__(self, "default", self.coerce(self.default))
        if self.prior is not None:
            object.__setattr__(self, "prior", self._read_prior(read_prior(self.prior)))

    def _check(self) -> None:
        """Refuse values that do not go together, once each is typed."""

    def _read_prior(self, prior: Prior) -> Prior:
        """Return the prior with typed values; raise SpecError if it does not fit the parameter."""
        raise NotImplementedError

    @property
    def stated_belief(self) -> Prior | None:
        """The prior as it was read."""
        return self.prior if isinstance(self.prior, Prior) else None

    def belief(self) -> tuple[float, ...]:
        """Return the prior probability of each level that it holds the optimum, even without a prior."""
        stated = self.stated_belief
        weights = [1.0] * len(self.levels) if stated is None else self._weigh(stated)
        total = math.fsum(weights)
        return tuple(weight / total for weight in weights)

    def _weigh(self, prior: Prior) -> list[float]:
        """Return the relative weight of each level under ``prior``."""
        raise NotImplementedError

    def meaning(self) -> dict[str, object]:
        """Return what decides how the parameter is searched, equal for two entries that mean the same."""
        levels = "\n".join(repr(value) for value in self.grid)
        return {
            "type": self.type_name,
            "levels": hashlib.blake2b(levels.encode(), digest_size=12).hexdigest(),
            "default": self.fallback,
            "prior": None if self.stated_belief is None else self.stated_belief.to_dict(),
            "when": None if self.condition is None else self.condition.meaning,
            "restart": _OLD_WORD.get(self.restart, self.restart),
            "memory": self.memory,
        }

    def __repr__(self) -> str:
        known = ((item.name, getattr(self, item.name), item.default) for item in fields(self)[1:])
        stated = [f"{name}={value!r}" for name, value, usual in known if value != usual]
        return short(f"{type(self).__name__}({', '.join([repr(self.name), *stated])})")

    def _repr_html_(self) -> str:
        return html_table(f"{self.name}: {self.type_name}", (), [(k, v) for k, v in self.to_dict().items()])

    @cached_property
    def condition(self) -> Expression | None:
        """The parsed ``when``, or ``None``."""
        return None if self.when is None else Expression.parse(self.when)

    @cached_property
    def levels(self) -> tuple[Value, ...]:
        """The values in their order; a representative grid for a float without a step."""
        raise NotImplementedError

    @cached_property
    def grid(self) -> tuple[Value, ...]:
        """The levels by its own declaration, which a list of configurations may add others to."""
        return self.levels

    @cached_property
    def _positions(self) -> dict[Value, int]:
        return {value: i for i, value in enumerate(self.levels)}

    @property
    def discrete(self) -> bool:
        """Whether :attr:`levels` are all the allowed values."""
        return True

    @property
    def fallback(self) -> Value:
        """The stated default, or the first value."""
        return self.levels[0] if self.default is None else self.default

    def coerce(self, raw: object) -> Value:
        """Return ``raw`` (a value or its text) as an allowed value.

        Raises:
            SpecError: It is not one; the message names what is allowed.
        """
        raise NotImplementedError

    def level_of(self, value: Value) -> int:
        """Return the index of the level nearest to an allowed ``value``."""
        index = self._positions.get(value)
        if index is not None:
            return index
        return min(range(len(self.levels)), key=lambda i: abs(float(self.levels[i]) - float(value)))

    def position(self, value: Value) -> float:
        """Return where ``value`` lies on the parameter's scale, in [0, 1]."""
        count = len(self.levels)
        return 0.0 if count < 2 else self.level_of(value) / (count - 1)

    def allowed(self) -> str:
        """Return the allowed values in words, for messages."""
        shown = ", ".join(show(value) for value in self.levels[:12])
        return shown + (f", ... ({len(self.levels)} values)" if len(self.levels) > 12 else "")

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data with the keys of a study file, defaults left out."""
        result: dict[str, Any] = {"type": self.type_name}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name == "name" or value == item.default:
                continue
            result[item.name] = value.to_dict() if isinstance(value, Prior) else value
        if isinstance(result.get("values"), tuple):
            result["values"] = list(result["values"])
        return result


def check_name(name: object, what: str) -> None:
    """Raise SpecError unless ``name`` can be mentioned in an expression."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _RESERVED:
        raise SpecError(
            f"{name!r} is not a {what} name; allowed: an ASCII letter or underscore, then such letters, "
            f"digits and underscores, at most 64, and none of {', '.join(sorted(_RESERVED))}",
            at_key=True,
        )


def read_number(raw: object, *, whole: bool = False) -> int | float | None:
    """Return ``raw`` as a finite number, or ``None``. Text is read strictly: no underscores, no hex."""
    if isinstance(raw, bool):
        return None
    if isinstance(raw, str):
        if not re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", raw.strip()) or len(raw) > 64:
            return None
        raw = int(raw) if re.fullmatch(r"[+-]?\d+", raw.strip()) else float(raw)
    raw = plain_scalar(raw)
    if isinstance(raw, bool) or not is_finite(raw):
        return None
    if whole and not float(raw).is_integer():
        return None
    return raw


def read_whole(raw: object) -> int | float | None:
    """Return ``raw`` as a whole number, written out or as a size such as ``8k``; ``None`` if it is none."""
    number = read_number(raw, whole=True)
    return read_size(raw) if number is None else number


def read_size(text: object) -> int | None:
    """Return the number that a size stands for, as vLLM reads it: ``8k`` is 8,000 and ``8K`` is 8,192.

    Small letters are decimal and may follow a fraction (``25.6k``), capitals are binary.
    """
    match = _SIZE.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        return None
    amount, suffix = match.groups()
    power = _POWERS.index(suffix.lower()) + 1
    if suffix.islower():
        return int(float(amount) * float(1000**power) + 0.5)
    factor: int = 1024**power
    return int(amount) * factor if amount.isdigit() else None


def is_finite(raw: object) -> TypeGuard[int | float]:
    """Return whether ``raw`` is a number that is neither infinite nor larger than any float."""
    try:
        return isinstance(raw, int | float) and math.isfinite(raw)
    except OverflowError:
        return False


def same_number(text: str, value: Value) -> bool:
    """Return whether ``text`` writes the number ``value``."""
    return isinstance(value, int | float) and not isinstance(value, bool) and read_number(text) == value


def show(value: object) -> str:
    """Return a value as a study file would write it."""
    return (
        f"{value:g}"
        if isinstance(value, float)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )


def read_prior(data: object) -> Prior:
    """Return the prior that a mapping gives: ``{around, spread}`` or ``{weights}``.

    Raises:
        SpecError: It is neither; ``path`` is relative to it.
    """
    if isinstance(data, Prior):
        return data
    if not isinstance(data, Mapping) or not data:
        raise SpecError(f"a prior is {{around, spread}} or {{weights}}, found {data!r}")
    refuse_unknown_keys(data, ("around", "spread", "weights"), "a prior")
    if "weights" in data and len(data) > 1:
        raise SpecError(f"a prior is {{around, spread}} or {{weights}}, found {', '.join(data)}")
    if "weights" in data and not data["weights"]:
        raise _no_weights(data["weights"])
    return Prior(**data)


def _read_fields(
    around: object, spread: object, weights: object
) -> tuple[float | None, float | None, tuple[tuple[Value, float], ...]]:
    """Return the fields of a prior as they are kept."""
    if not isinstance(weights, tuple) or weights:
        if around is not None or spread is not None:
            raise SpecError("a prior is {around, spread} or {weights}, found both")
        read = ((value, _above_zero(weight, "weights", str(value))) for value, weight in _pairs(weights))
        return None, None, tuple(read)
    number = read_number(around)
    if number is None:
        raise SpecError(f"a prior's around must be a number, found {around!r}", path=("around",))
    return float(number), None if spread is None else _above_zero(spread, "spread"), ()


def _pairs(data: object) -> list[tuple[Any, Any]]:
    """Return the weights by value; stored studies have a list of pairs, which keeps their types."""
    listed = list(data.items()) if isinstance(data, Mapping) else data
    listed = listed if isinstance(listed, list | tuple) else []
    if not listed or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in listed):
        raise _no_weights(data)
    return [(value, weight) for value, weight in listed]


def _no_weights(data: object) -> SpecError:
    return SpecError(f"weights must be a mapping of values to numbers, found {data!r}", path=("weights",))


def _above_zero(raw: object, *path: str) -> float:
    number = read_number(raw)
    if number is None or number <= 0:
        raise SpecError(f"{path[0]} must be a number above 0, found {raw!r}", path=path)
    return float(number)
