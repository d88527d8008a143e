"""Estimates in words: a value with its error, both in one unit and to the digits that the error leaves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from autotune.core.measurement import Estimate
from autotune.core.units import base_unit, format_quantity, known_base, parse_quantity
from autotune.errors import SpecError

_PREFIXES = {-9: "n", -6: "u", -3: "m", 3: "k", 6: "M", 9: "G", 12: "T"}
_PREFIXED = ("B/s", "Hz", "FLOP/s", "FLOPS", "b/s", "bit/s", "V", "A")  # units that a prefix is written to
_POWERS = {3: "thousand", 6: "million", 9: "billion"}  # in the head of a column
_WORDS = tuple(_POWERS.values())
_EXACT = 1e-4  # part of a value below which its error leaves more digits than millions are told with
_THOUSANDS = 3  # power of ten that a sentence writes out
_LEAST, _MOST = 1e-4, 1e9  # between which a number reads well without a power of ten
_LONG, _LONGEST = 1e5, 1e15  # from which an error has two digits, and from which no number is written out
_READS_FROM = 1e-3  # to _LONG: sizes of a column that read well without a power of ten
_MOST_DECIMALS = 9
_HIDES = 1e3  # times a value: an error that leaves none of it, and has the unit that reads well

INTERVAL = "± is the half-width of the 95 % interval"
"""What ``±`` means in all texts, to be said once in each."""


def show_estimate(estimate: Estimate, half: float | None = None, symbol: str = "") -> str:
    """Return such as ``812 ± 12 tokens/s`` or ``412 ± 18 ms``, both numbers in the same unit.

    Args:
        estimate: The number.
        half: Half-width of its 95 % interval; :attr:`Estimate.half_width` where it is not given.
        symbol: Unit to show both in, such as ``GB``; by default, and where it is of another dimension, the
            one that reads best.
    """
    if symbol and known_base(symbol) == estimate.unit:
        return marked(f"{show_number(estimate, unit_scale(estimate, symbol), half)} {symbol}", estimate)
    known = half if half is not None else estimate.half_width
    size = abs(estimate.value)
    size = known if known and 0.0 < _HIDES * size < known < math.inf else size
    scale, symbol = sentence_scale(size, estimate.unit)
    if known and symbol.startswith(_WORDS) and known < _EXACT * abs(estimate.value) < _EXACT * _MOST:
        scale, symbol = 1.0, "" if estimate.unit == "1" else estimate.unit  # a count, to its last digits
    text = show_number(estimate, scale, half)
    if symbol.startswith("x 10^") and "±" in text:
        text = f"({text})"
    return marked(f"{text} {symbol}" if symbol else text, estimate)


def sentence_scale(size: float, unit: str) -> tuple[float, str]:
    """Return what numbers up to a size are multiplied with in a sentence, and the unit that this gives.

    Args:
        size: The largest of them.
        unit: Their unit.

    Returns:
        The factor, and such as ``ms``, ``MB/s``, ``million`` or ``x 10^12``, the latter of numbers that read
        badly without.
    """
    scale, symbol, power = _unit_for(size, unit)
    if power > _THOUSANDS and power in _POWERS:
        return scale, f"{_POWERS[power]} {symbol}".strip()
    if power and _LEAST <= size * scale * 10.0**power < _MOST:
        return scale * 10.0**power, symbol
    return scale, f"x 10^{power} {symbol}".strip() if power else symbol


def sentence_unit(estimate: Estimate) -> str:
    """Return the unit that an estimate reads best in, to show others in the same one."""
    return sentence_scale(abs(estimate.value), estimate.unit)[1]


def marked(text: str, estimate: Estimate) -> str:
    """Return the text of an estimate, marked where it is not the number that was measured."""
    text = f"{estimate.bound} {text}" if estimate.bound else text
    return f"{text} (projected)" if estimate.projected else text


def show_number(estimate: Estimate, scale: float, half: float | None = None) -> str:
    """Return value and half-width of the 95 % interval times ``scale``, to the digits that the latter leaves.

    Args:
        estimate: The number.
        scale: Scale of what is shown.
        half: Half-width as for :func:`show_estimate`.
    """
    half = half if half is not None else estimate.half_width
    value, half = estimate.value * scale, (half or 0.0) * scale
    if not half:
        return format_quantity(value)
    if max(abs(value), half) >= _LONGEST:
        return f"{value:.2e} ± {half:.1e}"
    decimals = decimals_of(value, half, _MOST_DECIMALS)
    if max(abs(value), half) < _LONG:
        decimals = max(0, decimals)
    error = _fixed(half, decimals)
    least = 2 - math.floor(math.log10(abs(value))) if value and decimals < 0 else decimals
    shown = _fixed(value, max(decimals, least))
    if not float(error):
        return shown if value else "0"
    return f"{shown} ± {error}"


def decimals_of(value: float, half: float, most: int) -> int:
    """Return the decimals that an error of two digits leaves a value; below 0 of one without any.

    An error far below the value (a count of bytes, say) must not make it a row of digits.

    Args:
        value: Value.
        half: Its error, above 0.
        most: Largest number of decimals.
    """
    decimals = min(most, 1 - math.floor(math.log10(float(f"{half:.2g}"))))
    return min(decimals, max(0, 4 - math.floor(math.log10(abs(value))))) if value else decimals


def _fixed(value: float, decimals: int) -> str:
    """Return a number with so many decimals; whole tens or hundreds below 0, never an exponent."""
    return f"{round(value, decimals) + 0.0:.{max(0, decimals)}f}"  # + 0.0: no "-0"


def common_scale(estimates: Sequence[Estimate], wanted: str = "") -> tuple[float, str]:
    """Return what several values of one metric are multiplied with, and the unit that this gives.

    By the largest value, or by the median where that is a thousandth of it or less.

    Args:
        estimates: Values.
        wanted: Unit to show them in where it is of their dimension and they read well in it.
    """
    sizes = [abs(e.value) for e in estimates if e.value]
    if not sizes:
        return 1.0, "" if not estimates or estimates[0].unit == "1" else estimates[0].unit
    middle = statistics.median(sizes)
    size = max(sizes) if max(sizes) <= 1e3 * middle else middle
    first = next(e for e in estimates if e.value)
    if wanted and known_base(wanted) == first.unit:
        scale = unit_scale(first, wanted)
        if reads_well(size * scale):
            return scale, wanted
    scale, symbol, power = _unit_for(size, first.unit)
    return scale, f"{_POWERS.get(power, f'x 10^{power}')} {symbol}".strip() if power else symbol


def reads_well(size: float) -> bool:
    """Return whether numbers of a size read well without a power of ten."""
    return _READS_FROM <= size < _LONG


def _unit_for(size: float, unit: str) -> tuple[float, str, int]:
    """Return what a size is multiplied with to read well, its unit then, and the power of ten not in that."""
    if not size:
        return 1.0, "" if unit == "1" else unit, 0
    symbol = format_quantity(size, unit).partition(" ")[2]
    scale = unit_scale(Estimate(size, None, 1, unit), symbol)
    exponent = math.floor(math.log10(size * scale))
    if -3 <= exponent < 5:
        return scale, symbol, 0
    power = min(max(exponent // 3 * 3, -288), 288)  # beyond it what it divides is no number
    scale /= 10.0**power
    prefix = _PREFIXES.get(power, "")
    if prefix and symbol in _PREFIXED:
        return scale, f"{prefix}{symbol}", 0
    if prefix and symbol.endswith("s/s"):  # tokens/s, images/s
        return scale, f"{prefix} {symbol}", 0
    return scale, symbol, power


def unit_scale(estimate: Estimate, symbol: str) -> float:
    """Return how many of the unit ``symbol`` one of the estimate's base unit is: 1000 for s and ms."""
    if not symbol or symbol == estimate.unit:
        return 1.0
    try:
        if base_unit(symbol) != estimate.unit:
            return 1.0
    except SpecError:
        return 1.0
    return 1.0 / parse_quantity(f"1 {symbol}").value
