"""The contract of an engine: where to look next, as a function of what is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from autotune.core.assessment import Assessment, ModelQuality
from autotune.core.decision import Predictions
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Config, Suggestion, Trial


class Engine(Protocol):
    """Propose configurations.

    An engine keeps nothing between calls: equal arguments give equal suggestions, so that a resumed study
    proposes what the uninterrupted one would have.

    Attributes:
        name: With the version of its method: results of another version are not mixed up.
    """

    name: str

    def ask(
        self,
        space: Space,
        objective: Objective,
        history: Sequence[Trial],
        pending: Sequence[Config],
        n: int,
        seed: int,
    ) -> list[Suggestion]:
        """Return up to ``n`` configurations to measure next.

        A configuration that was tried or is pending is not proposed again while others remain; when none
        remain, fewer than ``n`` come back.

        Args:
            space: Search space.
            objective: Objective with its limits.
            history: Finished trials in number order: completed, infeasible, failed and abandoned ones.
            pending: Configurations asked for and not finished.
            n: Number of configurations wanted, at least 1.
            seed: Seed of the study.
        """


@runtime_checkable
class ModelBased(Engine, Protocol):
    """Give an account of a model as well. Engines without one leave these methods out."""

    def assess(
        self, space: Space, objective: Objective, history: Sequence[Trial], seed: int
    ) -> Assessment | None:
        """Return how much is left to gain and whether searching on is worth it; ``None`` without a model.

        Equal arguments give equal answers. Nothing has converged while nothing feasible was measured.

        Args:
            space: Search space.
            objective: Objective with its limits.
            history: Finished trials in number order.
            seed: Seed of the study.
        """

    def quality(
        self, space: Space, objective: Objective, history: Sequence[Trial]
    ) -> Mapping[str, ModelQuality]:
        """Return by metric how well its model predicts each trial from the others; empty with too few."""

    def predict(self, space: Space, objective: Objective, history: Sequence[Trial]) -> Predictions | None:
        """Return what is expected of each measured configuration from all others; ``None`` with too few."""


@runtime_checkable
class Configured(Engine, Protocol):
    """An engine whose design choices are kept with the study."""

    def choices(self) -> dict[str, Any]:
        """Return the choices in effect, those by default as well, as plain JSON data."""


def choices(engine: Engine) -> dict[str, Any] | None:
    """Return the design choices of an engine; ``None`` of one that does not tell."""
    return engine.choices() if isinstance(engine, Configured) else None


def assess(
    engine: Engine, space: Space, objective: Objective, history: Sequence[Trial], seed: int
) -> Assessment | None:
    """Return what an engine says is left to gain; ``None`` of one without a model."""
    finished = [trial for trial in history if trial.state.finished]
    return engine.assess(space, objective, finished, seed) if isinstance(engine, ModelBased) else None


def model_quality(
    engine: Engine, space: Space, objective: Objective, history: Sequence[Trial]
) -> Mapping[str, ModelQuality] | None:
    """Return how well an engine's models explain what was measured; ``None`` of one without a model."""
    finished = [trial for trial in history if trial.state.finished]
    return engine.quality(space, objective, finished) if isinstance(engine, ModelBased) else None


def predictions(
    engine: Engine, space: Space, objective: Objective, history: Sequence[Trial]
) -> Predictions | None:
    """Return what an engine's model expects of each measured configuration; ``None`` of one without."""
    finished = [trial for trial in history if trial.state.finished]
    if not isinstance(engine, ModelBased) or not any(trial.metrics for trial in finished):
        return None  # with nothing measured no model is loaded: who interrupts a study waits for its end
    return engine.predict(space, objective, finished)
