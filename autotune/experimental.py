"""What works and may change in any release; a first use of each name warns.

It leaves with a release that says where it went: into the stable names, or away.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING

from autotune.core.deprecation import ExperimentalWarning

if TYPE_CHECKING:
    from autotune.analysis.importance import importance
    from autotune.analysis.study_view import StudyView
    from autotune.engine.base import Explaining, Posterior, Prediction

_HOMES = {
    "Explaining": "autotune.engine.base",
    "Posterior": "autotune.engine.base",
    "Prediction": "autotune.engine.base",
    "StudyView": "autotune.analysis.study_view",
    "importance": "autotune.analysis.importance",
}
"""What a model tells beyond its suggestions, and the facts behind figures, by the module that has them."""

__all__ = ["ExperimentalWarning", "Explaining", "Posterior", "Prediction", "StudyView", "importance"]


# hidden from type checkers: to them, a name that is not imported above is none
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'autotune.experimental' has no attribute {name!r}")
        text = f"autotune.experimental.{name} may change in any release"
        warnings.warn(text, ExperimentalWarning, stacklevel=2)
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
