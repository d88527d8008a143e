"""Uniform random search: the baseline that every engine must beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Config, Reason, Suggestion, Trial, config_key
from autotune.engine.registry import no_options
from autotune.engine.untried import random_untried, tried_keys


class RandomEngine:
    """Propose the default configuration, then untried ones uniformly at random."""

    name = "random/2"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, budget: int | None = None) -> RandomEngine:
        """Build from an ``engine`` section; there are no options."""
        no_options("random", data)
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
        tried = tried_keys(history, pending)
        result: list[Suggestion] = []
        default = space.default_config
        if n > 0 and config_key(default) not in tried:
            result.append(Suggestion(default, Reason.DEFAULT, self.name))
            tried.add(config_key(default))
        rng = np.random.default_rng([seed, len(history) + len(pending)])
        drawn = random_untried(space, tried, n - len(result), rng) if n > len(result) else []
        return result + [Suggestion(config, Reason.RANDOM, self.name) for config in drawn]
