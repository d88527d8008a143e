"""A space-filling sequence without a model: what the initial design is made of, for as long as wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Config, Suggestion, Trial
from autotune.engine.design import next_of_design
from autotune.engine.registry import no_options
from autotune.engine.untried import tried_keys


class SobolEngine:
    """Propose the default configuration, then a scrambled Sobol sequence, then random ones."""

    name = "sobol/1"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, budget: int | None = None) -> SobolEngine:
        """Build from an ``engine`` section; there are no options."""
        no_options("sobol", data)
        return cls()

    def ask(
        self,
        space: Space,
        objective: Objective,
        history: Sequence[Trial],
        pending: Sequence[Config],
        n: int,
        seed: int,
    ) -> list[Suggestion]:
        """Return up to ``n`` configurations; see :meth:`autotune.engine.base.Engine.ask`."""
        return next_of_design(space, tried_keys(history, pending), n, seed, self.name)
