"""Ways to search: our engines and their peers, behind one contract."""

from __future__ import annotations

from importlib import import_module

from benchmarks.methods.base import Method

PEERS = {
    "optuna": "benchmarks.methods.optuna:OptunaMethod",
    "ax": "benchmarks.methods.ax:AxMethod",
    "smac": "benchmarks.methods.smac:SmacMethod",
    "hebo": "benchmarks.methods.hebo:HeboMethod",
    "coordinate_descent": "benchmarks.methods.coordinate_descent:CoordinateDescentMethod",
    "forest": "benchmarks.methods.forest:ForestMethod",
}
"""Peers by the part of their name before the colon; anything else is one of our engines."""

ABLATIONS = {"without": "benchmarks.methods.ablation:AblationMethod"}
"""Our engine without one of its choices."""

OURS = ("gp", "sobol", "without")
"""Engines that are not peers; ``random`` is one of ours and everybody's baseline."""


def is_peer(name: str) -> bool:
    """Return whether a method is one that ours are measured against."""
    return name.partition(":")[0] not in OURS


def method(name: str) -> Method:
    """Return the method called ``name``, such as ``gp:initial=5`` or ``optuna:tpe``.

    Raises:
        ImportError: What it needs is not installed.
        ValueError: There is none.
    """
    found = (PEERS | ABLATIONS).get(name.partition(":")[0], "benchmarks.methods.ours:EngineMethod")
    module, _, kind = found.partition(":")
    made: Method = getattr(import_module(module), kind)(name)
    return made
