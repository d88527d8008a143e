"""An improvement in words that agree with its interval."""

from __future__ import annotations

import math
import re

from autotune.core.estimate_text import sentence_scale
from autotune.core.ranking import Improvement
from autotune.core.units import format_quantity

FACTOR = 3.0
"""Ratio of two values, and of the ends of an interval, from which percentages say little: "better by
1150 %" is "12.5 times better"."""

_WIDE = 4.0
"""Width of an interval over its nearer end from which the middle is not shown: it says little."""

_MOST = 1000.0  # ratio above which a number means nothing
_POWER = re.compile(r"(?<=\d)e\+?(-?)0*(\d+)")  # 1.2e+08
_EQUAL = 2.0  # per cent within which two configurations are as good as each other


def show_improvement(gain: Improvement, other: str = "") -> str:
    """Return an improvement in words, as sure as its interval is.

    Args:
        gain: The improvement.
        other: Name of what it is an improvement over, such as ``the default``; empty where the reader knows.

    Returns:
        Such as ``better by 34 % [29, 40] than the default``, ``12.7 times better [11, 14]``, ``not
        distinguishable: between 3 times worse and 20 times better`` where the interval holds no difference,
        ``better by 34 %`` where no error is known.
    """
    than, shown = f" than {other}" if other else "", _Numbers(gain)
    if gain.low is None or gain.high is None:
        text = shown.point(gain.value)
        return f"{text}{than}" if text else f"the same{f' as {other}' if other else ''}"
    if gain.side:
        return shown.beyond(gain.low, gain.high, than)
    within = shown.equal_within(gain.low, gain.high)
    if within:
        return f"as good{f' as {other}' if other else ''} within {within} %"
    return f"not distinguishable{f' from {other}' if other else ''}: {shown.around(gain.low, gain.high)}"


def show_change(gain: Improvement) -> str:
    """Return how the metric itself changed, whichever way is better.

    Args:
        gain: The improvement.

    Returns:
        Such as ``-3.1 % [-5.0, -1.2]``, ``12.7 x [11, 14]``, ``0.3 to 20 x`` where the middle says little,
        ``over 1000 x``, and ``-4.20 [-5.10, -3.30] ms`` of a difference.
    """
    value, *ends = (_turned(gain, end) for end in (gain.value, gain.low, gain.high) if end is not None)
    ends.sort()
    if not gain.relative:
        return _show_difference(value, ends, gain.unit)
    low, high = (ends[0], ends[-1]) if ends else (value, value)
    if not 1 / FACTOR < value < FACTOR or low <= 0 or high / low > FACTOR:
        return _show_factor(value, ends)
    width = 100 * (high - low)
    digits = 0 if width >= 10 else 2 if 0 < width < 1 else 1
    return _with_ends([_signed(100 * (v - 1), digits) for v in (value, *ends)], " %")


def _turned(gain: Improvement, end: float) -> float:
    if gain.maximize:
        return end
    return (1.0 / end if end else math.inf) if gain.relative else -end


def _show_difference(value: float, ends: list[float], unit: str) -> str:
    size = max(abs(v) for v in (value, *ends))
    scale, symbol = sentence_scale(size, unit)
    decimals = max(0, 2 - math.floor(math.log10(size * scale))) if size else 0
    return f"{_with_ends([_signed(v * scale, decimals) for v in (value, *ends)], '')} {symbol}".rstrip()


def _show_factor(value: float, ends: list[float]) -> str:
    middle, *shown = (_times(v) for v in (value, *ends))
    if ends and (ends[0] <= 0 or ends[-1] / ends[0] > FACTOR):
        if ends[0] < 1 / _MOST and ends[-1] > _MOST:
            return "not known to any factor"
        return f"{shown[0]} to {shown[-1]} x" if shown[0] != shown[-1] else f"{middle} x"
    return _with_ends([middle, *shown], " x")


def _with_ends(texts: list[str], unit: str) -> str:
    """Return a number with its unit and, where it differs from it as shown, its interval."""
    middle, *ends = texts
    return _interval(f"{middle}{unit}", [] if set(ends) == {middle} else ends)


def _interval(text: str, ends: list[str]) -> str:
    return f"{text} [{', '.join(ends)}]" if ends else text


def _signed(value: float, decimals: int) -> str:
    return f"{round(value, decimals) + 0.0:+.{decimals}f}"  # + 0.0: no "-0"


def _times(ratio: float) -> str:
    if ratio > _MOST:
        return "over 1000"
    return "under 0.001" if ratio < 1 / _MOST else _digits(ratio)


def nearly_equal(gain: Improvement) -> bool:
    """Return whether two sides are as good as each other, by an interval that leaves no room for more."""
    if gain.low is None or gain.high is None or gain.side:
        return False
    return bool(_Numbers(gain).equal_within(gain.low, gain.high))


class _Numbers:
    """The numbers of one improvement, all on one scale: times, per cent, or the unit of the goal."""

    def __init__(self, gain: Improvement) -> None:
        self.gain = gain
        ends = [v for v in (gain.value, gain.low, gain.high) if v is not None]
        self.times = gain.relative and (
            not 1 / FACTOR < gain.value < FACTOR or min(ends) <= 0 or max(ends) / min(ends) > FACTOR
        )
        self.percent = gain.relative and not self.times
        sizes = [self.size(v) for v in ends]
        self._decimals = _decimals(sizes)

    def size(self, value: float) -> float:
        """Return how far a value is from no difference, whichever side it is on."""
        if self.times:
            return max(value, 1.0 / value) if value > 0 else math.inf
        if self.percent:
            return abs(self.gain.percent_of(value))
        return abs(value)

    def text(self, value: float) -> str:
        """Return the size of a value with at most three digits; empty where they show no difference."""
        size = self.size(value)
        if self.times:
            return "" if size < 1.005 else "over 1000" if size > _MOST else _digits(size)
        if self.percent:
            found = f"{size:.{self._decimals}f}"
            return "" if float(found) == 0 else found
        return "" if size == 0 else _POWER.sub(r" x 10^\1\2", format_quantity(size, self.gain.unit))

    def point(self, value: float) -> str:
        """Return a value without an interval; empty where it shows no difference."""
        text, word = self.text(value), self.word(value)
        if not text:
            return ""
        return f"{text} times {word}" if self.times else f"{word} by {text}{' %' if self.percent else ''}"

    def word(self, value: float) -> str:
        """Return on which side of no difference a value is."""
        return "better" if value >= self.gain.nothing else "worse"

    def beyond(self, low: float, high: float, than: str) -> str:
        """Return an interval that lies on one side of no difference."""
        near, far = (low, high) if self.gain.side > 0 else (high, low)
        word, a, b, middle = self.word(far), self.text(near), self.text(far), self.text(self.gain.value)
        ratio = self.size(far) / self.size(near) if self.size(near) > 0 else math.inf
        if self.times:
            if not a:
                return f"up to {b} times {word}{than}"
            if a == b == "over 1000":
                return f"{b} times {word}{than}"
            if ratio > FACTOR:
                return f"between {a} and {b} times {word}{than}"
            return f"{middle} times {word} [{a}, {b}]{than}"
        unit = " %" if self.percent else ""
        if not b:
            return f"{word}{than} by less than 0.01 %"
        if not a:
            return f"{word}{than} by up to {b}{unit}"
        least = 1.0 if self.percent else 0.0
        if self.size(far) - self.size(near) > _WIDE * max(self.size(near), least):
            return f"{word}{than} by anything from {a} to {b}{unit}"
        if self.percent:
            return f"{word} by {middle} % [{a}, {b}]{than}"
        number, _, symbol = middle.partition(" ")
        ends = [text.partition(" ") for text in (a, b)]
        if {end[2] for end in ends} == {symbol}:
            return f"{word} by {number} [{ends[0][0]}, {ends[1][0]}] {symbol}".rstrip() + than
        return f"{word} by {middle} [{a}, {b}]{than}"

    def around(self, low: float, high: float) -> str:
        """Return an interval that holds no difference."""
        if self.times and min(self.size(low), self.size(high)) > _MOST:
            return "the difference is not known to any factor"
        unit = " times" if self.times else " %" if self.percent else ""
        a, b = self.text(low), self.text(high)
        worse = f"{a}{unit} worse" if a else "no difference"
        better = f"{b}{unit} better" if b else "no difference"
        return f"between {worse} and {better}" if a or b else worse

    def equal_within(self, low: float, high: float) -> str:
        """Return within how many per cent two sides are equal; empty where that is more than a few."""
        most = max(self.size(low), self.size(high))
        if not self.percent or most > _EQUAL:
            return ""
        parts = 10 if most >= 1 else 100
        return f"{max(math.ceil(most * parts) / parts, 0.01):g}"


def _decimals(sizes: list[float]) -> int:
    """Return how many decimals show two digits of the widest part of an interval, at most three in all."""
    largest = max(sizes)
    width = largest - min(sizes) if len(sizes) > 1 else largest
    if not math.isfinite(width) or width >= 10 or largest >= 99.5:
        return 0
    return 1 if width >= 1 or largest >= 9.95 else 2


def _digits(value: float) -> str:
    """Return three significant digits of a number from 1 to 1000."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:.3g}"
