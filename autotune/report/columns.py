"""The columns of a table: folded headers, values shortened without loss, numbers of one scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autotune.core.cells import cell_len, padded
from autotune.core.estimate_text import common_scale, decimals_of
from autotune.core.measurement import Estimate
from autotune.core.objective import Goal
from autotune.core.parameter.base import show
from autotune.core.short_texts import shortened
from autotune.core.trial import Trial
from autotune.report.text import fold

INTERVAL = "± 95 %"
"""Header of what follows a value: the half-width of its 95 % interval."""

WORD = 14
"""Longest word of a header that is not broken."""

TALLEST = 5
"""Most lines of a header; a name that needs more has a letter there and is told below the table."""

_NAME = 16  # characters of a header
_DECIMALS = 5  # of a number: what is less than the last of them is shown as a bound
_MOST_HALF = 1e6  # an error above it says nothing; on the scale of the column, whose values are below 1e5
_MULTIPLES = ((2**30, "Gi"), (2**20, "Mi"), (2**10, "Ki"), (10**9, "G"), (10**6, "M"), (10**3, "k"))


@dataclass(frozen=True)
class Column:
    """One column: its folded header, its cells, how they are aligned and the gap before it."""

    header: tuple[str, ...]
    cells: tuple[str, ...]
    left: bool = False
    gap: int = 2

    @property
    def width(self) -> int:
        """Cells of the widest line, the gap not counted."""
        return max(cell_len(text) for text in (*self.header, *self.cells, ""))


@dataclass(frozen=True)
class ParameterColumn:
    """The values of one parameter, with every way to fold its name."""

    name: str
    cells: tuple[str, ...]
    unit: str = ""

    @property
    def values_width(self) -> int:
        """Cells of the widest value, the unit counted."""
        return max(cell_len(text) for text in (*self.cells, self.unit, ""))

    def header(self, word: int, width: int) -> tuple[str, ...]:
        """Return the name within ``width`` characters, words of more than ``word`` broken; unit below.

        Args:
            word: Longest word that is not broken.
            width: Characters that the column may have at least.
        """
        longest = max(cell_len(part) for part in fold(self.name, 1, word))
        lines = fold(self.name, max(longest, width, self.values_width), word)
        return (*lines, self.unit) if self.unit else lines

    def column(self, word: int, tallest: int, gap: int) -> Column:
        """Return the narrowest column whose header has at most ``tallest`` lines, where there is one."""
        for width in range(1, len(self.name) + 1):
            header = self.header(word, width)
            if len(header) <= tallest:
                break
        return Column(header, self.cells, gap=gap)

    def lettered(self, word: int) -> bool:
        """Return whether the name is too long for a header, so that a letter has to stand for it."""
        found = self.column(word, TALLEST, 0)
        return len(found.header) > TALLEST or found.width > max(_NAME, self.values_width)

    def narrowest(self, word: int) -> int:
        """Return the characters of the narrowest column."""
        return self.values_width if self.lettered(word) else self.column(word, TALLEST, 0).width


def parameter_column(name: str, rows: Sequence[Trial], unit: str = "") -> ParameterColumn:
    """Return the values of a parameter, shortened alike so that those that differ still do.

    Args:
        name: Name of the parameter.
        rows: The trials.
        unit: Unit of the values.
    """
    values = [t.config.get(name) for t in rows]
    whole = [v for v in values if isinstance(v, int) and not isinstance(v, bool)]
    if whole and max(map(abs, whole)) >= 1e5 and all(v is None or type(v) is int for v in values):
        for size, prefix in _MULTIPLES:
            if all(v % size == 0 for v in whole):
                cells = ["-" if v is None else str(int(v) // size) for v in values]
                return ParameterColumn(name, tuple(cells), f"{prefix}{unit}" if unit else f"x1{prefix}")
    texts = ["-" if v is None else text for v, text in zip(values, _digits(values), strict=True)]
    shown = shortened([" ".join(text.splitlines()).replace("\t", " ") for text in texts])
    return ParameterColumn(name, tuple(shown), unit)


def _digits(values: Sequence[object]) -> list[str]:
    """Return values as text, floats with as few digits as tell them apart, at least three."""
    floats = {v for v in values if isinstance(v, float)}
    for digits in (3, 4, 5):
        if len({f"{v:.{digits}g}" for v in floats}) == len(floats):
            return [f"{v:.{digits}g}" if isinstance(v, float) else show(v) for v in values]
    return [show(v) for v in values]


def goal_column(goal: Goal, rows: Sequence[Trial], unit: str = "", *, errors: bool = True) -> Column:
    """Return a goal's values in one unit, one power of ten and without exponents, aligned at their ``±``.

    Args:
        goal: The goal.
        rows: The trials.
        unit: Unit to show it in; the one that reads best when not given.
        errors: Whether half-widths are shown.
    """
    estimates = [t.metrics.get(goal.metric) for t in rows]
    scale, symbol = common_scale([e for e in estimates if e is not None], unit)
    pairs = [("-", "") if e is None else number_cell(e, scale, errors=errors) for e in estimates]
    value, half = (max((cell_len(pair[i]) for pair in pairs), default=0) for i in (0, 1))
    cells = [padded(left, value, left=False) + padded(right, half) for left, right in pairs]
    if any(t.shortfall for t in rows):
        cells = [
            padded(f"{cell.rstrip()}{'~' if t.shortfall else ''}", cell_len(cell) + 1)
            for cell, t in zip(cells, rows, strict=True)
        ]
    header = fold(goal.metric, 12, WORD)
    label = INTERVAL if any("±" in cell for cell in cells) else ""
    together = f"{symbol} {label}".strip()
    # with the unit where there is room
    if cell_len(together) <= max(map(cell_len, (*header, *cells))):
        header += (together,) if together else ()
    else:
        header += tuple(filter(None, (symbol, label)))
    return Column(header, tuple(cells))


def number_cell(estimate: Estimate, scale: float, *, errors: bool = True) -> tuple[str, str]:
    """Return what stands before and from the ``±`` on in a column of numbers, never with an exponent.

    Args:
        estimate: The number.
        scale: Scale of the column, by :func:`autotune.core.estimate_text.common_scale`.
        errors: Whether its half-width is shown.
    """
    value, half = estimate.value * scale, (estimate.half_width or 0.0) * scale
    if not errors:
        half = 0.0
    before = f"{estimate.bound} " if estimate.bound else ""
    after = " (projected)" if estimate.projected else ""
    if half > _MOST_HALF:
        return before + fixed(value), f" ± >{_MOST_HALF:.0f}{after}"
    if not half:
        return before + fixed(value), after
    decimals = max(0, decimals_of(value, half, _DECIMALS))
    return before + fixed(value, decimals), f" ± {fixed(half, decimals)}{after}"


def fixed(value: float, decimals: int | None = None) -> str:
    """Return a number without an exponent; one that its last decimal does not show as less than that.

    Args:
        value: Number, on the scale of its column.
        decimals: Digits after the point; as many as three significant ones need when not given.
    """
    if not value:
        return "0"
    if decimals is None:
        decimals = min(_DECIMALS, max(0, 2 - math.floor(math.log10(abs(value)))))
        text = f"{value:.{decimals}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    else:
        text = f"{value:.{decimals}f}"
    if float(text) == 0.0 and decimals == _DECIMALS:
        least = f"{10.0**-_DECIMALS:.{_DECIMALS}f}"
        return f"<{least}" if value > 0 else f">-{least}"
    return text.removeprefix("-") if float(text) == 0.0 else text
