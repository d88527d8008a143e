"""The question that the ``gp`` engine answers, and how."""

from __future__ import annotations

from dataclasses import dataclass, field

from autotune.engine.gp.config import GPConfig
from autotune.engine.question import Question


@dataclass(frozen=True)
class Problem(Question):
    """A question with the design choices by which it is answered.

    Args:
        config: Design choices of the engine.
    """

    config: GPConfig = field(default_factory=GPConfig)
