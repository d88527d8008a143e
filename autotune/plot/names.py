"""Names of parameters and metrics on axes: shortened alike, with the whole name under the pointer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autotune.core.cells import cell_len, cut, fill
from autotune.core.short_texts import SHORT, shortened
from autotune.plot.theme import folded, plain

if TYPE_CHECKING:
    from autotune.analysis.study_view import StudyView

NAME = 24
"""Cells of a name on an axis."""

_UPRIGHT = 30  # cells of a title along an upright axis, which may be one of two panels
_BESIDE = 16  # cells of a name beside a bar, in two lines


def short_name(view: StudyView, name: str) -> str:
    """Return the name of a parameter or a metric of a study for an axis."""
    names = list(dict.fromkeys([*view.space.names, *view.objective.metrics, *view.measured_metrics, name]))
    return shortened(names, NAME)[names.index(name)]


def titled(name: str, symbol: str) -> str:
    """Return the title of an axis: a name with its unit, without markup."""
    return plain(f"{name} ({cut(symbol, SHORT)})" if symbol else name)


def upright(title: str) -> str:
    """Return the title of an upright axis, in lines."""
    return "<br>".join(fill(title, _UPRIGHT, indent=""))


def beside(view: StudyView, name: str, rest: str = "") -> str:
    """Return what stands beside a bar or a point: a name in lines.

    Args:
        view: The study.
        name: Name of a parameter or a metric.
        rest: Text after the name.
    """
    return "<br>".join(plain(line) for line in fill(f"{short_name(view, name)}{rest}", _BESIDE, indent=""))


def most_lines(labels: Sequence[str]) -> int:
    """Return how many lines the label has that has most."""
    return max(label.count("<br>") + 1 for label in labels)


def whole_name(*names: str) -> str:
    """Return the names that are shortened, whole, for the first lines of what appears under the pointer."""
    return "".join(f"{folded(name)}<br>" for name in names if cell_len(name) > NAME)
