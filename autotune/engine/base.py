"""The contract of an engine: where to look next, as a function of what is known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from autotune.core.assessment import Assessment, ModelQuality
from autotune.core.decision import Predictions
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.table import Indices
from autotune.core.trial import Config, Suggestion, Trial
from autotune.engine.question import Question
from autotune.errors import SpecError

Array: TypeAlias = npt.NDArray[np.float64]


class Engine(Protocol):
    """An optimizer that proposes configurations.

    An engine keeps nothing between calls: equal arguments give equal suggestions, so that a resumed study
    proposes what the uninterrupted one would have.

    Attributes:
        name: Name with the version of its method: results of another version are not mixed up.
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


class QuestionEngine(ABC):
    """An engine of this package: one method answers a :class:`Question`; without options of its own."""

    name: str

    @classmethod
    def from_dict(cls, data: Mapping[str, object], *, budget: int | None = None) -> Self:
        """Build from an ``engine`` section.

        Raises:
            SpecError: An option is unknown or wrong.
        """
        for key in data:
            text = f"engine {cls.name.partition('/')[0]!r} has no option {key!r}"
            raise SpecError(text, path=(key,), at_key=True)
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
        """Return up to ``n`` configurations; see :meth:`Engine.ask`."""
        return self.answer(Question(space, objective, history, tuple(pending), seed), n)

    @abstractmethod
    def answer(self, question: Question, n: int) -> list[Suggestion]:
        """Return up to ``n`` configurations."""


@runtime_checkable
class ModelBased(Engine, Protocol):
    """An engine that gives an account of a model as well. Engines without one leave these methods out."""

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


@dataclass(frozen=True)
class Prediction:
    """The expectation of a configuration, on the scale of its metric's model.

    Args:
        mean: Expected noise-free value.
        variance: Variance of that value.
        noise: Variance of one more launch beside it, a launch's own error not counted.
    """

    mean: float
    variance: float
    noise: float


class Posterior(Protocol):
    """The posterior of every metric over the whole space.

    Values of a metric are in its base unit or, where :attr:`logarithm` says so, natural logarithms of that.

    Attributes:
        logarithm: Whether the values of each modelled metric are logarithms, by metric.
    """

    logarithm: Mapping[str, bool]

    def values(self, metric: str, rows: Indices) -> Array:
        """Return noise-free values of functions sampled from the posterior, ``s x n``.

        The functions are the same at every call.

        Args:
            metric: One of :attr:`logarithm`.
            rows: Configurations as level indices of the space, ``n x d``.
        """

    def p_measured(self, rows: Indices) -> Array:
        """Return the probability that configurations (``n x d``) give a measurement at all, shape ``n``."""

    def left_out(self, metric: str) -> Mapping[str, Prediction]:
        """Return by configuration key what is predicted of it from all others; empty if unknown."""


@runtime_checkable
class Explaining(Engine, Protocol):
    """An engine that tells what its models believe over the whole space. Engines without leave it out."""

    def posterior(self, space: Space, objective: Objective, history: Sequence[Trial]) -> Posterior | None:
        """Return the posterior by the finished trials; ``None`` with too few."""


@runtime_checkable
class Configured(Engine, Protocol):
    """An engine whose design choices are kept with the study."""

    def choices(self) -> dict[str, object]:
        """Return the choices in effect, those by default as well, as plain JSON data."""


@runtime_checkable
class Needing(Engine, Protocol):
    """An engine that loads libraries only once it models what was measured.

    Attributes:
        libraries: Modules without which it could not go on.
    """

    libraries: tuple[str, ...]


def libraries(engine: Engine) -> tuple[str, ...]:
    """Return the modules that an engine loads later; none of one that does not tell."""
    return engine.libraries if isinstance(engine, Needing) else ()


def choices(engine: Engine) -> dict[str, object] | None:
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


def posterior(
    engine: Engine, space: Space, objective: Objective, history: Sequence[Trial]
) -> Posterior | None:
    """Return what an engine's models believe over the whole space; ``None`` of one that does not tell."""
    finished = [trial for trial in history if trial.state.finished]
    return engine.posterior(space, objective, finished) if isinstance(engine, Explaining) else None
