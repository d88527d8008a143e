"""Our engine without one of its choices: ``without:NAME``, to see whether the choice earns its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autotune.engine.gp import GPEngine
from autotune.engine.gp.choices import ADDITIVE, JOINT, NEARBY, RUGGED
from autotune.engine.gp.config import GPConfig
from benchmarks.methods.base import Session
from benchmarks.methods.ours import EngineSession
from benchmarks.problems.base import Problem

_NEVER = 10**9  # trials

CHOICES: Mapping[str, Mapping[str, Any]] = {
    "average": {"structures": (JOINT,), "structures_of_many": (JOINT,)},
    "smooth": {"structures": (ADDITIVE, RUGGED), "structures_of_many": (ADDITIVE,)},
    "additive": {"structures": (JOINT, RUGGED), "structures_of_many": (JOINT,)},
    "rugged": {"structures": (JOINT, ADDITIVE), "structures_of_many": (JOINT, ADDITIVE)},
    "logarithms": {"logarithms": False},
    "price": {"waste": 0.0},
    "feasibility": {"failures": ()},
    "effects-of-failures": {"failures": (NEARBY,)},
    "threshold": {"failure_threshold_most": 0.0},
    "outliers": {"outliers": _NEVER},
    "recommendation": {"predicted_from": _NEVER},
    "fast_fit": {"surrogate": "benchmarks.methods.botorch_fit:averaged"},
    "exact_scoring": {"exact": False},
    "climb": {"climb": False},
    "local_search": {"climb": False, "near": False},
    "trust_region": {"trust_region": "off"},
}
"""By name what of :class:`GPConfig` stands there instead."""


class AblationMethod:
    """The ``gp`` engine without one of its choices.

    Args:
        name: ``without:NAME``.

    Raises:
        ValueError: There is no such choice.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        choice = name.partition(":")[2]
        if choice not in CHOICES:
            raise ValueError(f"unknown choice in {name!r}; allowed: {', '.join(CHOICES)}")
        self.config = replace(GPConfig(), **CHOICES[choice])

    def start(self, problem: Problem, seed: int, budget: int) -> Session:
        """Begin a run."""
        return EngineSession(GPEngine(budget=budget, config=self.config), problem, seed)
