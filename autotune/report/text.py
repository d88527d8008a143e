"""Small pieces of text that every report shares: durations, configurations, estimates, folded lines."""

from __future__ import annotations

import math
import os
import re
import statistics
import sys
from collections.abc import Mapping, Sequence

from autotune.core.measurement import Estimate
from autotune.core.parameter.base import show
from autotune.core.units import base_unit, format_quantity, parse_quantity
from autotune.errors import SpecError

WIDTH = 80
"""Columns that every terminal and every log viewer has."""

_NARROWEST = 20  # columns; a terminal of none has not said how many it has
_PREFIXES = {-9: "n", -6: "u", -3: "m", 3: "k", 6: "M", 9: "G", 12: "T"}
_PREFIXED = ("B/s", "Hz", "FLOP/s", "FLOPS", "b/s", "bit/s", "V", "A")  # units that a prefix is written to


def terminal_width() -> int:
    """Return the columns to write for: those that ``COLUMNS`` says, else the terminal's, else 80."""
    stated = os.environ.get("COLUMNS", "")
    if stated.isdecimal() and int(stated):
        return max(_NARROWEST, int(stated))
    try:
        return max(_NARROWEST, os.get_terminal_size(sys.stdout.fileno()).columns)
    except (OSError, ValueError):  # a pipe, a file, or nothing at all
        return WIDTH


def show_seconds(seconds: float) -> str:
    """Return a duration for people: ``7.3 s``, ``42 s``, ``3.2 min``, ``1.5 h``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 99.5 else format_quantity(seconds, "s")


def show_config(config: Mapping[str, object], order: Sequence[str] = ()) -> str:
    """Return a configuration on one line: ``batch_size=8 quantization_bits=16``.

    Args:
        config: Values by name.
        order: Names that come first, such as those of the space: a ledger sorts them.
    """
    names = [*(name for name in order if name in config), *(name for name in config if name not in order)]
    return " ".join(f"{name}={show(config[name])}" for name in names)


INTERVAL = "± is the half-width of the 95 % interval"
"""What ``±`` means in all texts, to be said once in each."""


def show_estimate(estimate: Estimate, half: float | None = None) -> str:
    """Return such as ``812 ± 12 tokens/s`` or ``412 ± 18 ms``, both numbers in the same unit.

    Args:
        estimate: The number.
        half: Half-width of its 95 % interval; :attr:`Estimate.half_width` where it is not given.
    """
    scale, symbol = common_scale([estimate])
    if symbol.startswith("x"):  # a power of ten in a sentence stands at its number
        symbol = format_quantity(estimate.value, estimate.unit).partition(" ")[2]
        scale = unit_scale(estimate, symbol)
    number = show_number(estimate, scale, half)
    text = f"{number} {symbol}" if symbol else number
    return marked(text, estimate)


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
    shown = f"{half:.2g}"
    if not 1e-4 <= half < 1e5 or abs(value) >= 1e7:
        return f"{format_quantity(value)} ± {shown}"
    decimals = max(0, 1 - math.floor(math.log10(float(shown))))
    # An error far below the value (a count of bytes, say) must not make it a row of digits.
    decimals = min(decimals, max(0, 4 - math.floor(math.log10(abs(value))))) if value else decimals
    return f"{value:.{decimals}f} ± {half:.{decimals}f}"


def common_scale(estimates: Sequence[Estimate]) -> tuple[float, str]:
    """Return what several values of one metric are multiplied with, and the unit that this gives.

    By the largest value, or by the median where that is a thousandth of it or less.
    """
    sizes = [abs(e.value) for e in estimates if e.value]
    if not sizes:
        return 1.0, "" if not estimates or estimates[0].unit == "1" else estimates[0].unit
    middle = statistics.median(sizes)
    size = max(sizes) if max(sizes) <= 1e3 * middle else middle
    unit = next(e.unit for e in estimates if e.value)
    symbol = format_quantity(size, unit).partition(" ")[2]
    scale = unit_scale(Estimate(size, None, 1, unit), symbol)
    exponent = math.floor(math.log10(size * scale))
    if -3 <= exponent < 5:
        return scale, symbol
    power = exponent // 3 * 3
    prefix = _PREFIXES.get(power, "")
    if prefix and symbol in _PREFIXED:
        symbol = f"{prefix}{symbol}"
    elif prefix and symbol.endswith("s/s"):  # tokens/s, images/s
        symbol = f"{prefix} {symbol}"
    else:
        symbol = f"x1e{power} {symbol}".strip()
    return scale / 10.0**power if power <= 300 else scale * 10.0**-power, symbol


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


def fold(name: str, limit: int, word: int | None = None) -> tuple[str, ...]:
    """Return a name folded at its underscores and dots into header lines of at most ``limit`` characters.

    Args:
        name: Name of a parameter or a metric.
        limit: Longest line, where no word is longer.
        word: Longest word that is not broken with a hyphen; ``limit`` when not given.
    """
    word = max(3, limit if word is None else word)
    lines: list[str] = []
    for piece in re.findall(r"[._]?[^._]+|[._]+$", name):
        if lines and len(lines[-1]) + len(piece) <= limit:
            lines[-1] += piece
        else:
            lines += _hyphenated(piece.lstrip("_") if lines else piece, word)
    return tuple(lines)


def _hyphenated(word: str, limit: int) -> list[str]:
    """Return a word in parts of at most ``limit`` characters, the hyphens counted, of about the same length.

    A part begins with a consonant before a vowel where there is one near, as a syllable does.
    """
    parts = []
    while len(word) > limit:
        count = math.ceil(len(word) / (limit - 1))
        even = min(limit - 1, math.ceil(len(word) / count))
        at = next(
            (i for i in (even, even + 1, even - 1, even - 2) if 1 < i < limit and _begins_syllable(word[i:])),
            even,
        )
        if len(word) - at > (count - 1) * (limit - 1) + 1:  # it would make another part
            at = even
        parts.append(f"{word[:at]}-")
        word = word[at:]
    return [*parts, word]


def _begins_syllable(text: str) -> bool:
    vowels = "aeiouy"
    return len(text) > 1 and text[0].isalpha() and text[0] not in vowels and text[1] in vowels


def cut(text: str, limit: int) -> str:
    """Return ``text``, cut to ``limit`` characters with a ``~`` where it was longer."""
    return text if len(text) <= limit else text[: max(0, limit - 1)] + "~"


def wrap(text: str, width: int, *, indent: str = "  ") -> list[str]:
    """Return ``text`` broken at spaces into lines of at most ``width``; later lines are indented."""
    lines, line = [], ""
    for word in text.split(" "):
        if line.strip() and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = indent + word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]
