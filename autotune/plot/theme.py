"""How every figure looks: legible in print and without colour, on a phone and on a projector."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from autotune.core.cells import beginning, cell_len, fill
from autotune.core.estimate_text import reads_well
from autotune.core.short_texts import SHORT, shortened
from autotune.core.units import format_quantity, known_base, to_base
from autotune.errors import SpecError

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from autotune.analysis.study_view import StudyView

INK, QUIET = "#1b1f24", "#59636e"
GRID, GRID_INK = "#e3e6ea", "#9aa1a9"
# Okabe and Ito's palette: distinct under every common colour blindness; symbols repeat what it says
BEST, DEFAULT, OTHER, BROKEN, FAILED = "#009e73", "#0072b2", "#7a828c", "#e69f00", "#d55e00"

_STANDOFF = 10  # pixels between the numbers and the title of an axis


_LINE = 62  # cells, of which a wide character takes two, that fit a phone
_TITLE = 22  # pixels of a further line of a title
_HEIGHT = 480  # of a figure of one panel, pixels


class Viewed(Protocol):
    """An object with a view of a study, such as :class:`autotune.Study`."""

    @property
    def view(self) -> StudyView:
        """The study as it stands."""


def view_of(study: StudyView | Viewed) -> StudyView:
    """Return the view that a figure is made of."""
    from autotune.analysis.study_view import StudyView

    view = study if isinstance(study, StudyView) else getattr(study, "view", None)
    if not isinstance(view, StudyView):
        raise SpecError(f"study must be a Study, its result or its view, found {study!r}")
    return view


def figure(title: str, x: str = "", y: str = "") -> go.Figure:
    """Return an empty figure in the theme, with the titles of its axes."""
    import plotly.graph_objects as go

    axis, standoff = _axis(), {"standoff": _STANDOFF}
    axes = {
        "xaxis": {**axis, "title": {"text": x, **standoff}},
        "yaxis": {**axis, "title": {"text": y, **standoff}},
    }
    return go.Figure(layout={**_layout(title), **axes})


def panels(title: str, rows: int, columns: int = 1, **options: object) -> go.Figure:
    """Return an empty figure of several panels in the theme.

    Args:
        title: Title of the figure.
        rows: Panels from top to bottom.
        columns: Panels from left to right.
        options: Further arguments of :func:`plotly.subplots.make_subplots`.
    """
    from plotly.subplots import make_subplots

    found = make_subplots(rows=rows, cols=columns, **options)
    found.update_layout(_layout(title))  # a mapping: another figure's layout takes seconds
    found.update_xaxes(_axis())
    found.update_yaxes(_axis())
    return found


def _layout(title: str) -> dict[str, object]:
    lines = fill(title, _LINE, indent="")
    return {
        "template": "none",
        "meta": {"title": title},  # whole, for a page that has room
        "title": {"text": "<br>".join(lines), "x": 0.0, "xanchor": "left"},
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "hovermode": "closest",
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 1.0, "xanchor": "right"},
        "margin": {"l": 60, "r": 20, "t": 70 + _TITLE * (len(lines) - 1), "b": 50},
    }


def _axis() -> dict[str, object]:
    return {
        "gridcolor": GRID,
        "zeroline": False,
        "linecolor": INK,
        "automargin": True,
        "title": {"standoff": _STANDOFF},
    }


SYMBOLS = {
    "kept": "circle",
    "limit": "x",
    "unknown": "circle-open",
    "doubtful": "diamond-open",
    "failed": "triangle-down",
}
"""Marker of each kind of trial."""

COLORS = {"kept": OTHER, "limit": BROKEN, "unknown": OTHER, "doubtful": OTHER, "failed": FAILED}
WORDS = {
    "kept": "keeps every limit",
    "limit": "breaks a limit",
    "unknown": "limits not judged",
    "doubtful": "doubtful",
    "failed": "failed",
}
"""The same for a legend."""

PATTERNS = ("", "/", "x", ".", "\\", "-", "+")
"""Fills of bars, so that colour is not needed to tell them apart."""

SEQUENCE = (DEFAULT, BEST, BROKEN, FAILED, "#cc79a7", "#56b4e9", OTHER)

_UNLIKE = 1e3  # times the median from which the largest of some values does not choose their unit
_BEYOND = 1.5  # times the largest value, beyond which an interval is not followed


def percent(share: float) -> str:
    """Return a share in per cent."""
    return f"{100 * share:.0f} %"


def plain(text: object) -> str:
    """Return a text in which plotly finds no markup: names and messages come from anywhere."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("%{", "% {")


def folded(text: object) -> str:
    """Return a text of any length for what appears under the pointer: without markup, in lines."""
    return "<br>".join(plain(line) for line in fill(str(text), _LINE, indent=""))


def tick_labels(texts: Sequence[str]) -> list[str]:
    """Return the labels of the values of one axis: long ones shortened alike, in two lines."""
    if max(map(cell_len, texts), default=0) <= SHORT:
        return [plain(text) for text in texts]
    parts = [(beginning(text, SHORT // 2), text) for text in shortened(texts)]
    return ["<br>".join(plain(part) for part in (a, text[len(a) :]) if part) for a, text in parts]


def axis_unit(values: Iterable[float], unit: str, wanted: str = "") -> tuple[float, str]:
    """Return the factor to the unit in which the largest of some values reads best, and its symbol.

    Args:
        values: Values in ``unit``.
        unit: Base unit, or one of the user's own.
        wanted: Unit to show them in where it is of their dimension and they read well in it.
    """
    sizes = sorted(abs(v) for v in values if v and math.isfinite(v))
    largest, middle = (sizes[-1], sizes[len(sizes) // 2]) if sizes else (0.0, 0.0)
    if largest > _UNLIKE * middle:  # the end of a wide interval, say
        largest = middle
    if wanted and known_base(wanted) == unit and reads_well(largest / to_base(1.0, wanted)):
        return 1.0 / to_base(1.0, wanted), wanted
    symbol = format_quantity(largest, unit).partition(" ")[2] if unit not in ("1", "") else ""
    if symbol in ("", unit):
        return 1.0, symbol
    return 1.0 / to_base(1.0, symbol), symbol


def framed(ends: Iterable[tuple[float, float]], others: Iterable[float] = ()) -> tuple[float, float] | None:
    """Return the range of a linear axis in which wide intervals run out of the frame; ``None`` without such.

    Args:
        ends: Values, above 0, with the upper ends of their intervals.
        others: Further values that have to be seen.
    """
    found = list(ends)
    top = max([v for v, _ in found] + list(others), default=0.0)
    if top <= 0 or min(v for v, _ in found) < 0 or max(end for _, end in found) <= _BEYOND * top:
        return None
    return -0.05 * top, _BEYOND * top


def nothing(title: str, why: str) -> go.Figure:
    """Return a figure that says why there is nothing to see; its ``layout.meta`` holds the reason."""
    found = figure(title)
    found.update_layout(
        meta={"title": title, "nothing": why},
        xaxis={"visible": False},
        yaxis={"visible": False},
        annotations=[
            {"text": plain(why), "showarrow": False, "x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper"}
        ],
    )
    return found


def subtitled(found: go.Figure, text: str) -> go.Figure:
    """Return the figure with what it shows in words below its title, and its legend at the foot."""
    lines = [plain(line) for line in fill(text, _LINE, indent="")]
    below = {"text": "<br>".join(lines), "font": {"size": 12, "color": QUIET}}
    found.update_layout(title={"subtitle": below, "y": 1.0, "yref": "container", "yanchor": "top"})
    above = _TITLE * found.layout.title.text.count("<br>")
    found.update_layout(title_pad={"t": 12}, margin={"t": 62 + above + 16 * len(lines)})
    found.update_layout(height=found.layout.height or _HEIGHT)
    foot = {"yref": "container", "y": 0.0, "yanchor": "bottom", "x": 0.0, "xanchor": "left"}
    return found.update_layout(legend=foot)
