"""Where the time of the trials went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autotune.analysis.phases import PHASES, TrialTime, trial_times
from autotune.core.arguments import check_arguments
from autotune.plot import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from autotune.analysis.study_view import StudyView

_MOST = 80  # bars; more are taken together


@check_arguments("study")
def phases(study: StudyView | theme.Viewed) -> go.Figure:
    """Return the time of each trial by phase; of many trials, means of as many in a row.

    Args:
        study: A study or its view.
    """
    times = trial_times(theme.view_of(study))
    title = "Phases of the trials"
    if not times:
        return theme.nothing(title, "no trial says when it ran")
    size = -(-len(times) // _MOST)
    bins = [times[i : i + size] for i in range(0, len(times), size)]
    bars = [{name: _mean(group, name) for name in PHASES} for group in bins]
    factor, symbol = theme.axis_unit([sum(bar.values()) for bar in bars], "s")
    x = "trial" if size == 1 else f"trial, means of {size} in a row"
    figure = theme.figure(title, x, f"time of a trial ({symbol})")
    figure.update_layout(barmode="stack", bargap=0.15)
    for i, name in enumerate(PHASES):
        if not any(bar[name] for bar in bars):
            continue
        figure.add_bar(
            x=[group[0].number for group in bins],
            y=[bar[name] * factor for bar in bars],
            name=name,
            marker={
                "color": theme.SEQUENCE[i],
                "pattern": {
                    "shape": theme.PATTERNS[i],
                    "fillmode": "overlay",
                    "fgcolor": "white",
                    "fgopacity": 0.8,
                    "size": 6,
                },
            },
            hovertemplate=f"trial %{{x}}: {name} %{{y:.3g}} {symbol}<extra></extra>",
        )
    return figure


def _mean(times: Sequence[TrialTime], name: str) -> float:
    return sum(time.phases.get(name, 0.0) for time in times) / len(times)
