"""Plotly figures of a study: each takes a study or its view and returns a figure.

Owns the figures of notebooks and of the report, one module a figure. May import ``core`` and ``analysis``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autotune.plot.comparison_figure import comparison
    from autotune.plot.cost_figure import cost
    from autotune.plot.drift_figure import drift
    from autotune.plot.effect_figure import effect
    from autotune.plot.effects_figure import effects
    from autotune.plot.failures_figure import failures
    from autotune.plot.importance_figure import importance
    from autotune.plot.latency_distribution_figure import latency_distribution
    from autotune.plot.noise_figure import noise
    from autotune.plot.pair_figure import pair
    from autotune.plot.parallel_coordinates_figure import parallel_coordinates
    from autotune.plot.pareto_front_figure import pareto_front
    from autotune.plot.phases_figure import phases
    from autotune.plot.prediction_figure import prediction
    from autotune.plot.progress_figure import progress
    from autotune.plot.progress_in_time_figure import progress_in_time
    from autotune.plot.throughput_latency_figure import throughput_latency

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

__all__ = [
    "comparison",
    "cost",
    "drift",
    "effect",
    "effects",
    "failures",
    "importance",
    "latency_distribution",
    "noise",
    "pair",
    "parallel_coordinates",
    "pareto_front",
    "phases",
    "prediction",
    "progress",
    "progress_in_time",
    "throughput_latency",
]


def figure_named(name: str) -> Callable[..., object] | None:
    """Return the function that makes a figure; ``None`` for a name that is none."""
    return getattr(import_module(_FIGURES[name]), name) if name in _FIGURES else None


# hidden from type checkers: to them, a name that is not imported above is none
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _FIGURES:
            raise AttributeError(f"module 'autotune.plot' has no attribute {name!r}")
        value = getattr(import_module(_FIGURES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
