"""autotune: find the best way to serve a model, with few trials and numbers one can trust.

The public surface; everything loads on first use, so that ``import autotune`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from autotune.core.front_doors import READERS
from autotune.core.version import VERSION

__version__ = VERSION

if TYPE_CHECKING:
    from autotune import experimental as experimental
    from autotune import plot as plot
    from autotune.core.measurement import Cause, Estimate, Failure, Infeasible, Measurement
    from autotune.core.objective import Objective
    from autotune.core.parameter import Bool, Categorical, Float, Int, Ordinal, Prior
    from autotune.core.space import Space
    from autotune.core.trial import Config, Trial
    from autotune.errors import AutotuneError, SpecError, StopStudy
    from autotune.spec.load import load_objective
    from autotune.study.result import StudyResult
    from autotune.study.study import Study
    from autotune.study.study_file import load_space
    from autotune.study.tune import tune

_HOMES = {
    "autotune.core.measurement": ("Cause", "Estimate", "Failure", "Infeasible", "Measurement"),
    "autotune.core.objective": ("Objective",),
    "autotune.core.parameter": ("Bool", "Categorical", "Float", "Int", "Ordinal", "Prior"),
    "autotune.core.space": ("Space",),
    "autotune.core.trial": ("Config", "Trial"),
    "autotune.errors": ("AutotuneError", "SpecError", "StopStudy"),
    "autotune.spec.load": ("load_objective",),
    "autotune.study.result": ("StudyResult",),
    "autotune.study.study": ("Study",),
    "autotune.study.study_file": ("load_space",),
    "autotune.study.tune": ("tune",),
}
"""Public names by the module that has them: the imports above, as they happen."""

__all__ = [
    "AutotuneError",
    "Bool",
    "Categorical",
    "Cause",
    "Config",
    "Estimate",
    "Failure",
    "Float",
    "Infeasible",
    "Int",
    "Measurement",
    "Objective",
    "Ordinal",
    "Prior",
    "Space",
    "SpecError",
    "StopStudy",
    "Study",
    "StudyResult",
    "Trial",
    "__version__",
    "load_objective",
    "load_space",
    "tune",
]


# hidden from type checkers: to them, a name that is not imported above is none
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name in ("experimental", "plot"):
            return import_module(f"autotune.{name}")
        home = next((module for module, names in _HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module 'autotune' has no attribute {name!r}")
        value = getattr(import_module(home), name)
        globals()[name] = value
        return value


def _read_space(path: str | Path) -> object:
    return import_module("autotune.study.study_file").load_space(path)


def _read_objective(path: str | Path) -> object:
    return import_module("autotune.spec.load").load_objective(path)


READERS |= {"Space": _read_space, "Objective": _read_objective}


def __dir__() -> list[str]:
    return sorted([*__all__, "experimental", "plot"])
