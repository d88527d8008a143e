"""Small pieces of text that every report shares: durations, configurations, estimates, folded lines."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from autotune.core.measurement import Estimate
from autotune.core.parameter.base import show
from autotune.core.units import base_unit, format_quantity, parse_quantity
from autotune.errors import SpecError


def show_seconds(seconds: float) -> str:
    """Return a duration for people: ``7.3 s``, ``42 s``, ``3.2 min``, ``1.5 h``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 99.5 else format_quantity(seconds, "s")


def show_config(config: Mapping[str, object]) -> str:
    """Return a configuration on one line: ``batch_size=8 quantization_bits=16``."""
    return " ".join(f"{name}={show(value)}" for name, value in config.items())


INTERVAL = "± is the half-width of the 95 % interval"
"""What ``±`` means in all texts, to be said once in each."""


def show_estimate(estimate: Estimate, half: float | None = None) -> str:
    """Return such as ``812 ± 12 tokens/s`` or ``412 ± 18 ms``, both numbers in the same unit.

    Args:
        estimate: The number.
        half: Half-width of its 95 % interval; :attr:`Estimate.half_width` where it is not given.
    """
    symbol = format_quantity(estimate.value, estimate.unit).partition(" ")[2]
    number = show_number(estimate, unit_scale(estimate, symbol), half)
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


def fold(name: str, limit: int) -> tuple[str, ...]:
    """Return a name folded at its underscores and dots into header lines of at most ``limit`` characters."""
    lines: list[str] = []
    for piece in re.findall(r"[._]?[^._]+|[._]+$", name):
        if lines and len(lines[-1]) + len(piece) <= limit:
            lines[-1] += piece
        else:
            lines.append(cut(piece.lstrip("_") if lines else piece, limit))
    return tuple(lines)


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
