"""Our own engines, with options: ``gp``, ``sobol``, ``random``, ``gp:initial=5+other=x``."""

from __future__ import annotations

import json
from typing import Any

from autotune.core.decision import Decision
from autotune.core.measurement import Measurement
from autotune.core.trial import Config, Suggestion, Trial, TrialState, config_key
from autotune.engine.base import Engine, predictions
from autotune.engine.registry import build_engine
from benchmarks.problems.base import Problem


def trial_of(number: int, suggestion: Suggestion, measurement: Measurement) -> Trial:
    """Return a finished trial."""
    state = TrialState.COMPLETED if measurement.failure is None else TrialState.INFEASIBLE
    return Trial(number, suggestion, state, 1, measurement)


class EngineSession:
    """Drive one of our engines, which keeps nothing between calls."""

    def __init__(self, engine: Engine, problem: Problem, seed: int) -> None:
        self.engine, self.problem, self.seed = engine, problem, seed
        self.history: list[Trial] = []
        self.pending: list[tuple[int, Suggestion]] = []
        self.refusals = 0

    def ask(self) -> Config | None:
        """Return what the engine proposes, or ``None`` when everything was tried."""
        waiting = [asked.config for _, asked in self.pending]
        asked = self.engine.ask(
            self.problem.space, self.problem.objective, self.history, waiting, 1, self.seed
        )
        if not asked:
            return None
        self.pending.append((len(self.history) + len(self.pending), asked[0]))
        return asked[0].config

    def tell(self, config: Config, measurement: Measurement) -> None:
        """Add a trial to the history."""
        key = config_key(config)
        at = next(i for i, (_, asked) in enumerate(self.pending) if config_key(asked.config) == key)
        number, asked = self.pending.pop(at)
        self.history.append(trial_of(number, asked, measurement))
        self.history.sort(key=lambda trial: trial.number)

    def recommend(self) -> Config | None:
        """Return the configuration to trust by all that was told, or ``None`` where nothing is feasible."""
        space, objective = self.problem.space, self.problem.objective
        known = predictions(self.engine, space, objective, self.history)
        default = config_key(space.default_config)
        leader = Decision(self.history, objective, default, predictions=known).leader
        return None if leader is None else leader.contender.config

    def close(self) -> None:
        """Let go of nothing."""


class EngineMethod:
    """Start sessions of an engine from its section.

    Args:
        name: ``ENGINE`` or ``ENGINE:OPTION=VALUE+OPTION=VALUE``; values are JSON, else text.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        engine, _, options = name.partition(":")
        self.section: dict[str, Any] = {"use": engine}
        for option in filter(None, options.split("+")):
            key, _, text = option.partition("=")
            self.section[key] = _value(text)

    def start(self, problem: Problem, seed: int, budget: int) -> EngineSession:
        """Begin a run."""
        return EngineSession(build_engine(self.section, budget=budget), problem, seed)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text  # a word such as yes-or-no names need no quotes
