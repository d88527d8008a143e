"""Axes of parameters and of metrics: their scales, their units and the words on them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune.core.parameter import Parameter
from autotune.core.parameter.base import show
from autotune.core.trial import Value
from autotune.plot.names import short_name, titled, upright, whole_name
from autotune.plot.theme import axis_unit, folded, plain, tick_labels

if TYPE_CHECKING:
    from autotune.analysis.study_view import StudyView

INACTIVE = "inactive"
"""What stands for the value of a parameter that is inactive."""

_MOST_TICKS = 8
_ASIDE = 0.2  # of the axis, from the lowest value to where inactive ones are drawn
_WIDE = 20.0  # factor between the ends of a metric from which its axis is logarithmic


@dataclass(frozen=True)
class MetricAxis:
    """The axis of a metric in the unit that reads best.

    Args:
        metric: Name of the metric.
        label: Text that stands for the name on the axis.
        factor: Number of the shown unit in one of the base unit.
        symbol: Symbol of the shown unit; empty without one.
        logarithmic: Whether equal steps are equal ratios.
    """

    metric: str
    label: str
    factor: float
    symbol: str
    logarithmic: bool

    @property
    def title(self) -> str:
        """Name and unit."""
        return titled(self.label, self.symbol)

    @property
    def whole(self) -> str:
        """The whole name for what appears under the pointer; empty where the axis has it."""
        return whole_name(self.metric)

    @property
    def layout(self) -> dict[str, object]:
        """What plotly needs for it as an upright one."""
        kind = {"type": "log", "dtick": "D2"} if self.logarithmic else {}
        return {"title": {"text": upright(self.title)}, **kind}


def metric_axis(view: StudyView, metric: str, values: Iterable[float]) -> MetricAxis:
    """Return the axis on which values of a metric are shown, in the unit of its limit where it has one.

    Args:
        view: The study.
        metric: Name of the metric.
        values: All that is drawn, in the base unit, ends of bands included: none of it is lost on a
            logarithmic axis.
    """
    shown = [value for value in values if math.isfinite(value)]
    factor, symbol = axis_unit(shown, view.unit(metric), view.objective.shown_unit(metric))
    logarithmic = bool(shown) and min(shown) > 0 and max(shown) / min(shown) > _WIDE
    return MetricAxis(metric, short_name(view, metric), factor, symbol, logarithmic)


def parameter_axis(view: StudyView, name: str, *, inactive: bool = False) -> ParameterAxis:
    """Return the axis of a parameter of a study."""
    return ParameterAxis(view.space[name], short_name(view, name), inactive)


@dataclass(frozen=True)
class ParameterAxis:
    """The axis of a parameter: numbers on their own scale, listed values as categories.

    Args:
        parameter: The parameter.
        label: Text that stands for its name on the axis.
        inactive: Whether it is inactive in some of what is shown.
    """

    parameter: Parameter
    label: str
    inactive: bool = False

    @property
    def numeric(self) -> bool:
        """Whether places are numbers."""
        return hasattr(self.parameter, "scale") and len(self.parameter.levels) > 1

    @property
    def logarithmic(self) -> bool:
        """Whether equal steps are equal ratios."""
        return self.numeric and getattr(self.parameter, "scale", "linear") != "linear"

    @property
    def title(self) -> str:
        """Name and unit."""
        return titled(self.label, self.parameter.unit)

    def place(self, value: Value | None) -> float | str:
        """Return where a value is drawn; ``None`` stands for inactive."""
        if not self.numeric:
            return INACTIVE if value is None else plain(show(value))
        return self._aside if value is None else float(value)

    def words(self, value: Value | None) -> str:
        """Return name and value whole for what appears under the pointer, however short their labels are."""
        return whole_name(self.parameter.name) + (INACTIVE if value is None else folded(show(value)))

    @property
    def _ends(self) -> tuple[float, float]:
        return float(self.parameter.levels[0]), float(self.parameter.levels[-1])

    @property
    def _aside(self) -> float:
        low, high = self._ends
        return low * (low / high) ** _ASIDE if self.logarithmic else low - _ASIDE * (high - low)

    @property
    def ticks(self) -> tuple[list[float], list[str]]:
        """Places and texts of the ticks of a numeric axis."""
        values = round_values([float(v) for v in self.parameter.levels], logarithmic=self.logarithmic)
        texts = [f"{value:g}" for value in values]
        return ([self._aside, *values], [INACTIVE, *texts]) if self.inactive else (values, texts)

    def share(self, value: Value | None) -> float:
        """Return where a value lies on an axis from 0 to 1; below it where the parameter is inactive."""
        return -_ASIDE if value is None else self.parameter.position(value)

    @property
    def shares(self) -> list[tuple[float, str, str]]:
        """The same of the ticks, with their labels (markup) and the whole values."""
        if self.numeric:
            levels = [float(level) for level in self.parameter.levels]
            ticks: list[Value] = [*round_values(levels, logarithmic=self.logarithmic)]
        else:
            ticks = list(self.parameter.levels)
        texts = [show(tick) for tick in ticks]
        places = [self.share(tick) for tick in ticks]
        found = list(zip(places, tick_labels(texts), texts, strict=True))
        return [(self.share(None), INACTIVE, INACTIVE), *found] if self.inactive else found

    @property
    def layout(self) -> dict[str, object]:
        """What plotly needs for it."""
        title = {"title": {"text": self.title}}
        if not self.numeric:
            texts = [show(value) for value in self.parameter.levels]
            names = [plain(text) for text in texts]
            labels = tick_labels(texts)
            ticks = {"tickmode": "array", "tickvals": names, "ticktext": labels} if names != labels else {}
            if ticks and self.inactive:
                ticks = {**ticks, "tickvals": [*names, INACTIVE], "ticktext": [*labels, INACTIVE]}
            names += [INACTIVE] if self.inactive else []
            return {**title, "type": "category", "categoryorder": "array", "categoryarray": names, **ticks}
        places, texts = self.ticks
        kind = "log" if self.logarithmic else "linear"
        return {**title, "type": kind, "tickmode": "array", "tickvals": places, "ticktext": texts}


def number(value: float) -> str:
    """Return a number with three significant digits, millions as ``32.3M`` as plotly's own axes have them."""
    rounded = float(f"{value:.3g}")
    for size, letter in ((1e9, "B"), (1e6, "M")):
        if size <= abs(rounded) < 1e3 * size:
            return f"{rounded / size:g}{letter}"
    return f"{rounded:.0f}" if 1000 <= abs(rounded) < 1e6 else f"{rounded:g}"


def round_values(levels: Sequence[float], *, logarithmic: bool) -> list[float]:
    """Return at most eight round values within the range of ascending levels; few levels as they are."""
    if len(levels) <= _MOST_TICKS:
        return list(levels)
    low, high = levels[0], levels[-1]
    if logarithmic:
        base = 2.0 if high / low < 2.0**12 and all(float(v).is_integer() for v in levels) else 10.0
        powers = range(math.ceil(math.log(low, base) - 1e-9), math.floor(math.log(high, base) + 1e-9) + 1)
        step = -(-len(powers) // _MOST_TICKS)
        found = [base**power for power in powers][::step]
        return found if len(found) > 1 else [low, high]
    rough = (high - low) / (_MOST_TICKS - 2)
    unit = 10.0 ** math.floor(math.log10(rough))
    width = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / width - 1e-9), math.floor(high / width + 1e-9)
    return [round(width * k, 12) for k in range(first, last + 1)]
