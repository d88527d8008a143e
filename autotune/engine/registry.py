"""Names of the engines; adding one is a module and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.core.arguments import read_count
from autotune.core.dependencies import need
from autotune.core.registry import Registry, shown
from autotune.core.scalar import typed_scalar
from autotune.core.trial import Suggestion
from autotune.engine.base import Engine, QuestionEngine
from autotune.engine.named_sampler import names_code, names_sampler, refuse_absent_sampler
from autotune.engine.question import Question
from autotune.errors import AutotuneError, EnvironmentProblem, SpecError, under

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
    about={
        "optuna:tpe": "Optuna's tree-structured Parzen estimator",
        "optuna:gp": "Optuna's Gaussian process",
        "optuna:cmaes": "Optuna's CMA-ES, an evolution strategy for one goal",
        "optuna:nsga2": "Optuna's NSGA-II, a genetic algorithm for several goals",
    },
)


GIVEN = "given"
"""Key of a section whose engine was an object: its class, for people."""


def build_engine(section: str | Mapping[str, object], *, budget: int | None = None) -> Engine:
    """Build the engine that a name or an ``engine`` section describes.

    Args:
        section: ``"gp"``, or ``{"use": "gp", ...options}``; ``seed`` is the study's and not used here.
        budget: Trials planned; sizes the initial design.

    Raises:
        SpecError: The name or an option is wrong; ``path`` is relative to the section.
    """
    data = {"use": section} if isinstance(section, str) else dict(section)
    name = data.pop("use", "gp")
    seed = data.pop("seed", None)
    if seed is not None:
        with under("seed"):
            read_count(typed_scalar(seed) if isinstance(seed, str) else seed, "seed")
    if GIVEN in data:
        raise SpecError(
            f"the engine {name!r} was given in Python, as a {data[GIVEN]}: only its caller has it",
            path=("use",),
            hint="Study.open(path, engine=...) takes it again",
        )
    if not isinstance(name, str):
        raise SpecError(f"use must be the name of an engine, found {name!r}", path=("use",))
    with under("use"):
        kind = _kind(name)
    engine: Engine = ENGINES.call(name, lambda: kind.from_dict(data, budget=budget))
    if name in ENGINES.builtin:
        return engine
    if not _is_engine(engine):
        raise ENGINES.broken(name, f"is no engine: {shown(engine)} has no name or no method ask")
    return engine


def _is_engine(found: object) -> bool:
    """Return whether an object is an engine, not the class of one."""
    named = isinstance(getattr(found, "name", None), str) and not isinstance(found, type)
    return named and callable(getattr(found, "ask", None))


def read_engine(
    engine: str | Mapping[str, object] | Engine, *, budget: int | None = None
) -> tuple[Engine, dict[str, object]]:
    """Return the engine that an argument gives, and the section that stands for it in the ledger.

    Raises:
        SpecError: It is none, or one with a mistake.
    """
    if isinstance(engine, str | Mapping):
        section: dict[str, object] = {"use": engine} if isinstance(engine, str) else dict(engine)
        try:
            return build_engine(section, budget=budget), section
        except SpecError as error:
            path = error.path if isinstance(engine, Mapping) else ()
            raise SpecError(error.message, path=("engine", *path), hint=error.hint) from None
    if not _is_engine(engine):
        raise SpecError(
            f"engine must be a name, a mapping or an engine, found {shown(engine)}",
            hint=f"allowed names: {', '.join(ENGINES.names())}; an engine has a name and a method ask",
        )
    if isinstance(engine, DeferredEngine):
        return engine, engine.section
    kind = type(engine)
    return engine, {"use": engine.name, GIVEN: f"{kind.__module__}.{kind.__qualname__}"}


class MissingEngine(QuestionEngine):
    """A stand-in for the engine of a stored study that is not installed here: measurements can be read.

    Args:
        name: Its name.
        error: Reason why it cannot be had.
    """

    def __init__(self, name: str, error: AutotuneError) -> None:
        self.name, self._error = name, error

    def answer(self, question: Question, n: int) -> list[Suggestion]:
        """Refuse to propose anything.

        Raises:
            EnvironmentProblem: Always; it says what is missing.
        """
        raise EnvironmentProblem(
            f"the engine of the study cannot be had here: {self._error.message}",
            hint="install the package that brings it (`autotune list plugins` shows those that are here), or "
            "open the study with another one: Study.open(path, engine=...)",
        )


class DeferredEngine(QuestionEngine):
    """An engine whose module is chosen by whoever wrote a ledger: none of it runs before it is asked.

    Args:
        section: Its section.
    """

    def __init__(self, section: Mapping[str, object]) -> None:
        self.section = dict(section)
        self.name = str(section["use"])
        self._made: Engine | None = None

    def answer(self, question: Question, n: int) -> list[Suggestion]:
        """Return what the engine proposes, which is made now."""
        self._made = self._made or build_engine(self.section)
        asked, pending = question, list(question.pending)
        return self._made.ask(asked.space, asked.objective, asked.history, pending, n, asked.seed)


def deferred(engine: str | Mapping[str, object] | Engine) -> str | Mapping[str, object] | Engine:
    """Return an engine as it is given, but what stands for one whose module its name chooses.

    Raises:
        SpecError: There is no such module here, or no such class in its source.
    """
    if not isinstance(engine, str | Mapping):
        return engine
    section = {"use": engine} if isinstance(engine, str) else engine
    use = section.get("use")
    if not isinstance(use, str) or not names_code(use):
        return engine
    refuse_absent_sampler(use, here=True)
    return DeferredEngine(section)


def engine_or_missing(section: dict[str, object]) -> str | Mapping[str, object] | Engine:
    """Return the section of a stored study's engine, or what stands for an engine that is not had yet."""
    try:
        engine = deferred(section)
        if engine is section and GIVEN not in section:  # else its caller has to give it
            build_engine(section)
    except (SpecError, EnvironmentProblem) as error:
        return MissingEngine(str(section.get("use", "gp")), error)
    return engine


def stored_engine(section: Mapping[str, object]) -> Engine | None:
    """Return the engine of a section of a ledger whose results are read.

    ``None`` for one that only its caller has, and for one of ``optuna:MODULE:CLASS``: it has no model to ask,
    and a ledger that somebody else made would run code.
    """
    known = GIVEN not in section and not names_code(str(section.get("use", "gp")))
    return build_engine(section) if known else None


def _kind(name: str) -> Any:
    """Return what builds the engine of a name; ``optuna:MODULE:CLASS`` is any sampler of Optuna's."""
    if names_sampler(name):
        need(["optuna"])
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
