"""Plotly figures of a study: each takes a study or its view and returns a figure.

Owns the figures of notebooks and of the report, one module a figure. May import ``core`` and ``analysis``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

_FIGURES: dict[str, str] = {
    "importance": "autotune.plot.importance_figure",
    "effect": "autotune.plot.effect_figure",
    "effects": "autotune.plot.effects_figure",
    "pair": "autotune.plot.pair_figure",
    "prediction": "autotune.plot.prediction_figure",
    "failures": "autotune.plot.failures_figure",
    "parallel_coordinates": "autotune.plot.parallel_coordinates_figure",
    "comparison": "autotune.plot.comparison_figure",
    "cost": "autotune.plot.cost_figure",
    "drift": "autotune.plot.drift_figure",
    "latency_distribution": "autotune.plot.latency_distribution_figure",
    "noise": "autotune.plot.noise_figure",
    "pareto_front": "autotune.plot.pareto_front_figure",
    "phases": "autotune.plot.phases_figure",
    "progress": "autotune.plot.progress_figure",
    "progress_in_time": "autotune.plot.progress_in_time_figure",
    "throughput_latency": "autotune.plot.throughput_latency_figure",
}
"""Name of each figure and the module that makes it; plotly is loaded with the first one."""

__all__ = [*_FIGURES]  # noqa: PLE0604 - the names above are strings


def figure_named(name: str) -> Callable[..., Any] | None:
    """Return the function that makes a figure; ``None`` for a name that is none."""
    return getattr(import_module(_FIGURES[name]), name) if name in _FIGURES else None


def __getattr__(name: str) -> object:
    if name not in _FIGURES:
        raise AttributeError(f"module 'autotune.plot' has no attribute {name!r}")
    value = getattr(import_module(_FIGURES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
