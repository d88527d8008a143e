"""Names of the engines; adding one is a module and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.core.registry import Registry, shown
from autotune.core.trial import Suggestion
from autotune.engine.base import Engine
from autotune.engine.question import Question
from autotune.errors import AutotuneError, SpecError, under

ENGINES = Registry(
    "engine",
    "autotune.engines",
    {
        "gp": "autotune.engine.gp:GPEngine",
        "sobol": "autotune.engine.sobol:SobolEngine",
        "random": "autotune.engine.random:RandomEngine",
        "optuna:tpe": "autotune.engine.optuna:TPE",
        "optuna:gp": "autotune.engine.optuna:GP",
        "optuna:cmaes": "autotune.engine.optuna:CMAES",
        "optuna:nsga2": "autotune.engine.optuna:NSGA2",
    },
)


def build_engine(section: str | Mapping[str, object], *, budget: int | None = None) -> Engine:
    """Build the engine that a name or an ``engine`` section describes.

    Args:
        section: ``"gp"``, or ``{"use": "gp", ...options}``; ``seed`` is the study's and not read here.
        budget: Trials planned; sizes the initial design.

    Raises:
        SpecError: The name or an option is wrong; ``path`` is relative to the section.
    """
    data = {"use": section} if isinstance(section, str) else dict(section)
    name = data.pop("use", "gp")
    data.pop("seed", None)
    if not isinstance(name, str):
        raise SpecError(f"use must be the name of an engine, found {name!r}", path=("use",))
    with under("use"):
        kind = _kind(name)
    engine: Engine = ENGINES.call(name, lambda: kind.from_dict(data, budget=budget))
    if name in ENGINES.builtin:
        return engine
    if not isinstance(getattr(engine, "name", None), str) or not callable(getattr(engine, "ask", None)):
        raise ENGINES.broken(name, f"is no engine: {shown(engine)} has no name or no method ask")
    return engine


def _kind(name: str) -> Any:
    """Return what builds the engine of a name; ``optuna:MODULE:CLASS`` is any sampler of Optuna's."""
    if name.startswith("optuna:") and ":" in name.removeprefix("optuna:"):
        from autotune.engine.optuna import sampler_at  # loads Optuna

        return sampler_at(name)
    return ENGINES.load(name)


def suggestions(use: str, engine: Engine, question: Question, n: int) -> list[Suggestion]:
    """Return what an engine proposes; see :meth:`autotune.engine.base.Engine.ask`.

    Args:
        use: Name under which the engine is known here.
        engine: Engine that is asked.
        question: Question with all that is known.
        n: Number of configurations wanted.

    Raises:
        EnvironmentProblem: A plug-in failed, or what it gave are no configurations of the space.
    """
    space, past, pending = question.space, question.history, list(question.pending)
    found = ENGINES.call(use, lambda: engine.ask(space, question.objective, past, pending, n, question.seed))
    if use in ENGINES.builtin:
        return list(found)
    if not isinstance(found, list | tuple) or not all(isinstance(each, Suggestion) for each in found):
        raise ENGINES.broken(use, f"proposed {shown(found)}, which is no list of suggestions")
    for each in found[:n]:
        try:
            space.validate(each.config)
        except (AutotuneError, TypeError, AttributeError) as error:
            raise ENGINES.broken(
                use, f"proposed {shown(each.config)}, which is not of the space: {error}"
            ) from None
    return list(found)
