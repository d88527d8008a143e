"""How every figure looks: legible in print and without colour, on a phone and on a projector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from autotune.analysis.study_view import StudyView

INK = "#1b1f24"
GRID = "#e3e6ea"
# Okabe and Ito's palette: distinct under every common colour blindness; symbols repeat what it says
BEST, DEFAULT, OTHER, BROKEN, FAILED = "#009e73", "#0072b2", "#7a828c", "#e69f00", "#d55e00"


class Viewed(Protocol):
    """Whatever has a view of a study, such as :class:`autotune.Study`."""

    @property
    def view(self) -> StudyView:
        """The study as it stands."""


def view_of(study: StudyView | Viewed) -> StudyView:
    """Return the view that a figure is made of."""
    from autotune.analysis.study_view import StudyView

    return study if isinstance(study, StudyView) else study.view


def figure(title: str, x: str = "", y: str = "") -> go.Figure:
    """Return an empty figure in the theme, with the titles of its axes."""
    import plotly.graph_objects as go

    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": INK, "automargin": True}
    return go.Figure(
        layout={
            "title": {"text": title, "x": 0.0, "xanchor": "left"},
            "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
            "paper_bgcolor": "white",
            "plot_bgcolor": "white",
            "xaxis": {**axis, "title": {"text": x}},
            "yaxis": {**axis, "title": {"text": y}},
            "hovermode": "closest",
            "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 1.0, "xanchor": "right"},
            "margin": {"l": 60, "r": 20, "t": 70, "b": 50},
        }
    )
