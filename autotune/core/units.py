"""Read and write quantities with units: ``500 ms`` is 0.5 s, ``5 %`` is 0.05, ``2 GiB`` is 2147483648 B.

Every number inside the program is in the base unit of its dimension; other units exist only in what
people write and read. Symbols are case-sensitive, because ``MB`` and ``mb``, or ``min`` and ``Min``,
are easily meant differently. Decimal and binary sizes follow IEC 80000-13 (kB = 1000 B, KiB = 1024 B);
``KB`` is accepted for kB since most tools print it so.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from autotune.errors import SpecError, did_you_mean

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0

_UNITS: dict[str, dict[str, float]] = {
    # base unit -> every symbol of the dimension with its size in the base unit
    "s": {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": _MINUTE, "h": _HOUR, "d": _DAY},
    "B": {
        "B": 1.0,
        "KB": 1e3,
        "MB": 1e6,
        "GB": 1e9,
        "TB": 1e12,
        "KiB": 2.0**10,
        "MiB": 2.0**20,
        "GiB": 2.0**30,
        "TiB": 2.0**40,
    },
    "1": {"1": 1.0, "%": 1e-2},
    "tokens/s": {"tokens/s": 1.0, "tokens/min": 1 / _MINUTE},
    "requests/s": {"requests/s": 1.0, "requests/min": 1 / _MINUTE},
    "J": {"mJ": 1e-3, "J": 1.0, "kJ": 1e3, "Wh": _HOUR, "kWh": 1e3 * _HOUR},
    "W": {"mW": 1e-3, "W": 1.0, "kW": 1e3},
    "USD": {"USD": 1.0},
}

_ALIASES = {
    "\u00b5s": "us",  # micro sign
    "\u03bcs": "us",  # Greek mu: both look the same on a keyboard
    "kB": "KB",
    "tok/s": "tokens/s",
    "req/s": "requests/s",
}

DIMENSIONS: dict[str, str] = {
    "time": "s",
    "size": "B",
    "number": "1",
    "token rate": "tokens/s",
    "request rate": "requests/s",
    "energy": "J",
    "power": "W",
    "cost": "USD",
}
"""Base unit of each dimension, by the dimension's name."""

_NAME_OF_BASE = {base: name for name, base in DIMENSIONS.items()}
_BASE_OF_UNIT = {symbol: base for base, symbols in _UNITS.items() for symbol in symbols}
_BASE_OF_UNIT |= {alias: _BASE_OF_UNIT[symbol] for alias, symbol in _ALIASES.items()}

SCALED = frozenset(_BASE_OF_UNIT) - frozenset(_UNITS)
"""Known symbols that are no base units: a value in one of them has to be converted."""

# What format_quantity chooses from, smallest first. Memory is shown in binary units, as systems allocate it.
_SHOWN: dict[str, tuple[str, ...]] = {
    "s": ("ns", "us", "ms", "s", "min", "h", "d"),
    "B": ("B", "KiB", "MiB", "GiB", "TiB"),
    "J": ("mJ", "J", "kJ", "kWh"),
    "W": ("mW", "W", "kW"),
}

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)

_DIGITS = 3  # significant digits for people: trial-to-trial noise of 1 to 10 % makes more of them meaningless


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number in the base unit of its dimension.

    Args:
        value: Finite number, in ``unit``.
        unit: Base unit, one of the values of :data:`DIMENSIONS`.
    """

    value: float
    unit: str = "1"

    def __str__(self) -> str:
        return format_quantity(self.value, self.unit)


def base_unit(unit: str) -> str:
    """Return the base unit of the dimension that ``unit`` (a symbol or a dimension's name) belongs to.

    Raises:
        SpecError: There is no such unit.
    """
    base = DIMENSIONS.get(unit) or _BASE_OF_UNIT.get(unit)
    if base is None:
        symbols = [*_BASE_OF_UNIT]
        raise SpecError(
            f"unknown unit {unit!r}; allowed: {', '.join(_all_symbols())}", hint=did_you_mean(unit, symbols)
        )
    return base


def parse_quantity(
    text: str | int | float, *, default_unit: str | None = None, dimension: str | None = None
) -> Quantity:
    """Read ``500 ms``, ``5%``, ``1e-3`` or a plain number.

    Args:
        text: Text as written; a YAML reader hands numbers over as text.
        default_unit: Unit of a plain number. Without it a plain number is of dimension ``number``.
        dimension: The dimension wanted: its name (``"time"``) or any unit of it (``"s"``). ``None`` takes
            the dimension of ``default_unit``, or any dimension when there is neither.

    Returns:
        The value in the dimension's base unit.

    Raises:
        SpecError: It is no number, the unit is unknown or of another dimension, or the value is not finite.
    """
    asked = dimension or default_unit
    wanted = base_unit(asked) if asked else None
    if default_unit is not None and base_unit(default_unit) != wanted:
        raise ValueError(f"default_unit {default_unit!r} is not of dimension {dimension!r}")
    number, unit = _split(text, wanted)
    if not unit:
        unit = default_unit or "1"
        if wanted not in (None, base_unit(unit)):
            symbols = ", ".join(_UNITS[wanted or "1"])
            raise SpecError(
                f"{text!r} has no unit; {_article(wanted)} is wanted, in one of: {symbols}",
                hint=f"for example '{_plain(abs(number))} {wanted}'",
            )
    base = _BASE_OF_UNIT.get(unit)
    if base is None or wanted not in (None, base):
        raise _unit_error(text, number, unit, base, wanted)
    value = _in_base(number, unit)
    if not math.isfinite(value):
        raise SpecError(f"{text!r} is not a finite number")
    return Quantity(value, base)


def known_base(unit: str) -> str | None:
    """Return the base unit of a symbol's dimension, ``None`` for a unit of the user's own (``images/s``)."""
    return _BASE_OF_UNIT.get(unit)


def to_base(value: float, unit: str) -> float:
    """Return ``value``, given in the known unit ``unit``, in the base unit of its dimension.

    Raises:
        SpecError: It is not finite there.
    """
    result = _in_base(value, unit)
    if not math.isfinite(result):
        raise SpecError(f"{value!r} {unit} is not a finite number of {_BASE_OF_UNIT[unit]}")
    return result


def units_of(base: str) -> str:
    """Return the symbols of a base unit's dimension for a message: ``ns, us, ms, s, min, h, d``."""
    symbols = [symbol for symbol in _UNITS.get(base, {base: 1.0}) if symbol != "1"]
    return ", ".join(["no unit", *symbols] if base == "1" else symbols)


def show_unit(unit: str) -> str:
    """Return a unit in words: ``in s``, or ``without a unit``."""
    return "without a unit" if unit in ("1", "") else f"in {unit}"


def misspelt_unit(unit: str) -> str:
    """Return the known symbol that ``unit`` differs from in case only (``Ms``, ``gib``); else ''."""
    if unit in _BASE_OF_UNIT or len(unit) < 2:  # a single letter may be a unit of its own: b, H, k
        return ""
    return next((symbol for symbol in _BASE_OF_UNIT if symbol.lower() == unit.lower()), "")


def _in_base(number: float, unit: str) -> float:
    size = _UNITS[_BASE_OF_UNIT[unit]][_ALIASES.get(unit, unit)]
    # division by a whole number rounds once: 410 ms is 0.41 s, and 410 * 0.001 is another number
    return number / round(1 / size) if size < 1 else number * size


def counted(count: object, noun: str) -> str:
    """Return such as ``1 trial`` or ``3 trials``.

    Args:
        count: Number, or a count that shows itself as text.
        noun: Noun of one of them, with a plural in ``s``, or in ``es`` after ``ch``.
    """
    plural = "es" if noun.endswith("ch") else "s"
    return f"{count} {noun}{'' if str(count) == '1' else plural}"


def format_quantity(value: float, unit: str = "1") -> str:
    """Return ``value`` for people: three significant digits in the unit that reads best.

    Args:
        value: Value in ``unit``.
        unit: A base unit; any other text is appended as it is (users' own metrics may have any unit).

    Returns:
        Such as ``412 ms``, ``1.5 GiB``, ``812 tokens/s`` or ``0.97``.
    """
    if not math.isfinite(value):
        return f"{value} {unit}" if unit != "1" else str(value)
    shown = _SHOWN.get(unit)
    if shown is None:
        return _significant(value) if unit in ("1", "") else f"{_significant(value)} {unit}"
    if value == 0:
        return f"0 {unit}"
    table = _UNITS[unit]
    chosen = shown[0]
    for symbol in shown:
        # Compare after rounding: 0.9996 s is "1 s", not "1000 ms".
        if abs(float(_significant(value / table[symbol]))) >= 1:
            chosen = symbol
    return f"{_significant(value / table[chosen])} {chosen}"


def format_in(value: float, symbol: str) -> str:
    """Return a value in the base unit for people, in a known unit.

    Args:
        value: Value in the base unit.
        symbol: Unit to show it in, such as ``GB``.
    """
    return f"{_significant(value / _in_base(1.0, symbol))} {symbol}"


def _split(text: str | int | float, wanted: str | None) -> tuple[float, str]:
    """Return the number and the unit's symbol ('' without one)."""
    kind = _article(wanted) if wanted else "a number with an optional unit"
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise SpecError(f"expected {kind}, found {_shown(text)}")
    if not isinstance(text, str):
        try:
            number = float(text)
        except OverflowError:
            raise SpecError("a whole number that is larger than any float is not a finite number") from None
        if not math.isfinite(number):
            raise SpecError(f"{text!r} is not a finite number")
        return number, ""
    stripped = text.strip()
    match = _NUMBER.match(stripped)
    if match is None:
        raise SpecError(f"expected {kind}, found {text!r}", hint=_example(wanted))
    number, unit = float(match.group()), stripped[match.end() :].strip()
    if not math.isfinite(number):
        raise SpecError(f"{text!r} is not a finite number")
    if unit[:1] in tuple("_,.0123456789"):
        raise SpecError(
            f"expected {kind}, found {text!r}", hint="write digits without separators, such as 1000 or 1e3"
        )
    return number, unit


def _unit_error(text: object, number: float, unit: str, base: str | None, wanted: str | None) -> SpecError:
    allowed = list(_UNITS[wanted]) if wanted else _all_symbols()
    found = f"unknown unit {unit!r} in {text!r}" if base is None else f"{text!r} is {_article(base)}"
    want = f"{_article(wanted)} is wanted, in one of" if wanted else "allowed"
    if wanted == "1":
        want, allowed = "a plain number is wanted, or one with", ["%"]
    near = did_you_mean(unit, allowed)
    if not near and wanted not in (None, "1"):
        near = f"for example '{_plain(abs(number))} {wanted}'"
    return SpecError(f"{found}; {want}: {', '.join(allowed)}", hint=near)


def _all_symbols() -> list[str]:
    return [symbol for symbols in _UNITS.values() for symbol in symbols if symbol != "1"]


def _article(base: str | None) -> str:
    name = _NAME_OF_BASE[base or "1"]
    return f"an {name}" if name[0] in "aeio" else f"a {name}"


def _example(wanted: str | None) -> str:
    return "" if wanted in (None, "1") else f"for example '1 {wanted}'"


def _shown(value: object) -> str:
    return repr(value) if not isinstance(value, bool) else f"{value!r} (true or false is not a number)"


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else repr(number)


def _significant(value: float) -> str:
    """Return ``value`` with three significant digits, without an exponent where that stays readable."""
    text = f"{value + 0.0:.{_DIGITS}g}"  # + 0.0: no "-0"
    if "e" in text and 1e-4 <= abs(value) < 1e9:
        text = str(int(float(text))) if abs(value) >= 1 else f"{float(text):.{_DIGITS + 4}f}".rstrip("0")
    return text
