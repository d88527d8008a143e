"""autotune: find the best way to serve a model, with few trials and numbers one can trust.

The public surface; everything loads on first use, so that ``import autotune`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.core.front_doors import READERS
from autotune.core.version import VERSION

__version__ = VERSION

_PUBLIC = {
    "AutotuneError": "autotune.errors",
    "Bool": "autotune.core.parameter",
    "Categorical": "autotune.core.parameter",
    "Cause": "autotune.core.measurement",
    "Estimate": "autotune.core.measurement",
    "Failure": "autotune.core.measurement",
    "Float": "autotune.core.parameter",
    "Infeasible": "autotune.core.measurement",
    "Int": "autotune.core.parameter",
    "Measurement": "autotune.core.measurement",
    "Objective": "autotune.core.objective",
    "Ordinal": "autotune.core.parameter",
    "Space": "autotune.core.space",
    "SpecError": "autotune.errors",
    "StopStudy": "autotune.errors",
    "Study": "autotune.study.study",
    "StudyResult": "autotune.study.result",
    "Trial": "autotune.core.trial",
    "load_objective": "autotune.spec.load",
    "load_space": "autotune.study.study_file",
    "tune": "autotune.study.tune",
}

__all__ = [*_PUBLIC, "__version__"]  # noqa: PLE0604 - the names above are strings

if TYPE_CHECKING:
    from autotune.core.measurement import Cause, Estimate, Failure, Infeasible, Measurement
    from autotune.core.objective import Objective
    from autotune.core.parameter import Bool, Categorical, Float, Int, Ordinal
    from autotune.core.space import Space
    from autotune.core.trial import Trial
    from autotune.errors import AutotuneError, SpecError, StopStudy
    from autotune.spec.load import load_objective
    from autotune.study.result import StudyResult
    from autotune.study.study import Study
    from autotune.study.study_file import load_space
    from autotune.study.tune import tune


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'autotune' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def _read_space(path: str | Path) -> object:
    return import_module(_PUBLIC["load_space"]).load_space(path)


def _read_objective(path: str | Path) -> object:
    return import_module(_PUBLIC["load_objective"]).load_objective(path)


READERS |= {"Space": _read_space, "Objective": _read_objective}


def __dir__() -> list[str]:
    return sorted(__all__)
