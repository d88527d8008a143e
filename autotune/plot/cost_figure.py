"""What the study cost, and for what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune.analysis.phases import cost as find_cost
from autotune.core.arguments import check_arguments
from autotune.core.units import counted, format_quantity
from autotune.plot import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from autotune.analysis.study_view import StudyView


@check_arguments("study")
def cost(study: StudyView | theme.Viewed) -> go.Figure:
    """Return the time of the trials, or their price where the study file says one, by what they were for.

    Args:
        study: A study or its view.
    """
    found = find_cost(theme.view_of(study))
    title = "Cost"
    if not found.seconds:
        return theme.nothing(title, "no trial says when it ran")
    factor, symbol = theme.axis_unit(found.seconds.values(), "s")
    values = found.money or {name: seconds * factor for name, seconds in found.seconds.items()}
    names = list(values)
    figure = theme.figure(title, "price of the trials" if found.money else f"time of the trials ({symbol})")
    colors = (color for color in theme.SEQUENCE if color != theme.FAILED)
    total = sum(values.values()) or 1.0
    spent = found.money or found.seconds
    shown = {n: f"{v:.2f}" if found.money else format_quantity(v, "s") for n, v in spent.items()}
    texts = [
        f"{shown[name]}, {100 * values[name] / total:.0f} %<br>{counted(found.trials[name], 'trial')}"
        for name in names
    ]
    figure.add_bar(
        x=[values[name] for name in names],
        y=names,
        orientation="h",
        text=texts,
        textposition="outside",
        cliponaxis=False,
        marker={
            "color": [theme.FAILED if name == "failed" else next(colors) for name in names],
            "pattern": {"shape": theme.PATTERNS[: len(names)], "fillmode": "overlay", "fgopacity": 0.4},
        },
        hovertext=texts,
        hoverinfo="text",
        showlegend=False,
    )
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(range=[0, 1.8 * max(values.values())])  # room for the words beside the bars
    figure.update_layout(height=150 + 46 * len(names))
    return figure
