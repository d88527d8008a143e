"""Our engine without one of its choices: ``without:NAME``, to see whether the choice earns its place."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from benchmarks.methods.base import Session
from benchmarks.methods.ours import EngineMethod
from benchmarks.problems.base import Problem

Patch = tuple[str, str, Any]
"""Module, attribute, and what stands there instead."""

_GP = "autotune.engine.gp"


def _patches() -> Mapping[str, tuple[Patch, ...]]:
    from autotune.engine.gp.model.feasibility import NEARBY
    from autotune.engine.gp.model.fit import ADDITIVE, JOINT, RUGGED

    def structures(*few: Any, many: tuple[Any, ...] | None = None) -> tuple[Patch, ...]:
        return (
            (f"{_GP}.surrogate", "STRUCTURES", few),
            (f"{_GP}.surrogate", "STRUCTURES_OF_MANY", many or few),
        )

    return {
        "average": structures(JOINT),
        "smooth": structures(ADDITIVE, RUGGED, many=(ADDITIVE,)),
        "additive": structures(JOINT, RUGGED, many=(JOINT,)),
        "rugged": structures(JOINT, ADDITIVE),
        "logarithms": ((f"{_GP}.encode", "_DIFFERENT", 2.0),),
        "price": ((f"{_GP}.acquisitions.base", "PRICE", 0.0),),
        "feasibility": ((f"{_GP}.belief", "Feasibility", _blind),),
        "effects-of-failures": ((f"{_GP}.feasibility", "STRUCTURES", (NEARBY,)),),
        "threshold": ((f"{_GP}.feasibility", "_MOST", 0.0),),
        "outliers": ((f"{_GP}.outliers", "LEAST", 10**9),),
        "recommendation": ((f"{_GP}.recommend", "_LEAST", 10**9),),
    }


def _blind(X: Any, labels: Any, groups: Any) -> Any:
    from autotune.engine.gp.model.feasibility import Feasibility

    return Feasibility(X, labels.abs(), groups)  # nothing ever failed


class AblationSession:
    """Drive a session and put back what was taken away when it closes."""

    def __init__(
        self, patches: tuple[Patch, ...], method: EngineMethod, start: tuple[Problem, int, int]
    ) -> None:
        self._before = []
        for name, attribute, value in patches:
            module = import_module(name)
            self._before.append((module, attribute, getattr(module, attribute)))
            setattr(module, attribute, value)
        self.inner = method.start(*start)
        self.ask, self.tell = self.inner.ask, self.inner.tell
        self.recommend = self.inner.recommend

    def close(self) -> None:
        """Put the choices back."""
        for module, attribute, value in self._before:
            setattr(module, attribute, value)


class AblationMethod:
    """Start sessions of the ``gp`` engine without one of its choices.

    Args:
        name: ``without:NAME``.

    Raises:
        ValueError: There is no such choice.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        choice = name.partition(":")[2]
        known = _patches()
        if choice not in known:
            raise ValueError(f"unknown choice in {name!r}; allowed: {', '.join(known)}")
        self.patches = known[choice]

    def start(self, problem: Problem, seed: int, budget: int) -> Session:
        """Begin a run."""
        return AblationSession(self.patches, EngineMethod("gp"), (problem, seed, budget))
