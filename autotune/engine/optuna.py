"""Samplers of Optuna as engines: ``optuna:tpe``, ``gp``, ``cmaes``, ``nsga2``, or ``optuna:MODULE:CLASS``.

Every ask builds a study in memory from the history: nothing is kept between asks, and a study that is resumed
proposes what the uninterrupted one would have. TPE and Optuna's GP know all from finished trials. Any other
sampler, which may keep its state in what it proposed, is asked for every trial of the history again, and told
what was measured in place of its own proposal.

A limit is a constraint of Optuna's, a failure a trial told as FAIL, what is pending a trial under way. What a
sampler proposes outside the space, or for the second time, is told as FAIL too; where it insists, the nearest
configuration that was not tried takes the place.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module

import numpy as np
import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.trial import TrialState

from autotune.core.arguments import wanted_instead
from autotune.core.dependencies import need
from autotune.core.scalar import typed_scalar
from autotune.core.table import expansion_order
from autotune.core.trial import Config, Reason, Suggestion, Trial, config_key
from autotune.engine.base import QuestionEngine
from autotune.engine.named_sampler import sampler_place
from autotune.engine.optuna_space import Params, coordinate
from autotune.engine.question import Question
from autotune.engine.untried import random_untried
from autotune.errors import SpecError, did_you_mean

_REFUSALS = 30  # proposals of one ask that are not in the space, or were tried
_REFUSALS_OF_GP = 3  # which takes a second for each
_NEAR = 256  # random configurations among which the nearest is sought
_OURS = ("self", "seed", "constraints_func", "kwargs", "args")
_CONSTRAINTS = "constraints"  # Optuna's system attribute


@dataclass(frozen=True)
class Sampler:
    """A class of samplers under the name of an engine.

    Args:
        name: Name of the engine.
        kind: The class.
        options: Arguments that differ from Optuna's defaults.
    """

    name: str
    kind: type[BaseSampler]
    options: Mapping[str, object] = field(default_factory=dict)

    def from_dict(self, data: Mapping[str, object], *, budget: int | None = None) -> OptunaEngine:
        """Build the engine from a section, whose options are arguments of the class.

        Raises:
            SpecError: The class has no such argument, or refuses its value.
            EnvironmentProblem: A package that the sampler needs is missing.
        """
        allowed = [key for key in inspect.signature(self.kind).parameters if key not in _OURS]
        for key in data:
            if key not in allowed:
                raise SpecError(
                    f"engine {self.name!r} has no option {key!r}; allowed: {', '.join(['seed', *allowed])}",
                    path=(key,),
                    at_key=True,
                    hint=did_you_mean(str(key), allowed),
                )
        if issubclass(self.kind, CmaEsSampler):
            need(["cmaes"])
        options = {key: typed_scalar(v) if isinstance(v, str) else v for key, v in data.items()}
        for key, value in options.items():
            if wanted := wanted_instead(self.kind.__init__, key, value):
                raise SpecError(f"engine {self.name!r}: {key} must be {wanted}, found {value!r}", path=(key,))
        engine = OptunaEngine(self.name, self.kind, {**self.options, **options})
        try:
            engine.sampler(0)
        except (TypeError, ValueError) as error:
            raise SpecError(f"engine {self.name!r}: {error}") from None
        return engine


class OptunaEngine(QuestionEngine):
    """An engine that asks a sampler of Optuna.

    Args:
        name: Name of the engine.
        kind: Class of the sampler.
        options: Arguments of the class.
    """

    def __init__(self, name: str, kind: type[BaseSampler], options: Mapping[str, object]) -> None:
        self.name = f"{name}/1"
        self.kind, self.options = kind, dict(options)
        self.flat = issubclass(kind, GPSampler | CmaEsSampler | NSGAIISampler)  # it knows no conditions
        self.replayed = not issubclass(kind, TPESampler | GPSampler)

    def choices(self) -> Params:
        """Return the arguments of the sampler; see :meth:`autotune.engine.base.Configured.choices`."""
        return {**self.options, "optuna": optuna.__version__}

    def sampler(self, seed: int) -> BaseSampler:
        """Return a new sampler."""
        arguments = inspect.signature(self.kind).parameters
        given = self.options | ({"seed": seed} if "seed" in arguments else {})
        if "warn_independent_sampling" in arguments:
            given.setdefault("warn_independent_sampling", False)
        if "constraints_func" in arguments and not hasattr(optuna.trial.FrozenTrial, "set_constraint"):
            given["constraints_func"] = lambda trial: trial.system_attrs.get(_CONSTRAINTS) or ()
        with quiet():
            return self.kind(**given)

    def answer(self, question: Question, n: int) -> list[Suggestion]:
        """Return up to ``n`` configurations."""
        result: list[Suggestion] = []
        default = question.space.default_config
        if n > 0 and question.is_new(default):
            result.append(Suggestion(default, Reason.DEFAULT, self.name))
            question = question.waiting_for(default)
        if len(result) == n:
            return result
        goals = len(question.objective.goals)
        if issubclass(self.kind, CmaEsSampler) and goals > 1:
            raise SpecError(
                f"engine {self.name.partition('/')[0]!r} searches for one goal, found {goals}",
                hint="optuna:tpe, optuna:nsga2 and gp know several",
            )
        with quiet():
            search = _Search(self, question)
            while len(result) < n and (config := search.next()) is not None:
                result.append(Suggestion(config, Reason.EXPLORE, self.name))
        return result


class _Search:
    """One ask: a study in memory with all that is known.

    Args:
        engine: Engine that is asked.
        question: Question that it answers.
    """

    def __init__(self, engine: OptunaEngine, question: Question) -> None:
        self.engine, self.question, self.space = engine, question, question.space
        self.tried = set(question.tried)
        self.order = [p for p in expansion_order(self.space.parameters) if len(p.levels) > 1]
        self.coordinates = {p.name: coordinate(p, for_people=False) for p in self.order}
        self.refusals = _REFUSALS_OF_GP if issubclass(engine.kind, GPSampler) else _REFUSALS
        known = len(question.history) + len(question.pending)
        words = (question.seed,) if engine.replayed else (question.seed, known)
        self.rng = np.random.default_rng([question.seed, known])
        seed = int(np.random.SeedSequence(words).generate_state(1)[0])
        self.study = optuna.create_study(
            sampler=engine.sampler(seed), directions=["maximize"] * len(question.objective.goals)
        )
        for trial in question.history:
            values, violations = self._outcome(trial)
            self._add(trial.config, TrialState.COMPLETE if values else TrialState.FAIL, values, violations)
        for config in question.pending:
            self._add(config, TrialState.RUNNING)

    def next(self) -> Config | None:
        """Return the next configuration, which is under way from then on; ``None`` where all were tried."""
        last: Config | None = None
        while True:
            trial, config = self._proposal()
            try:
                found = self.space.validate(config)
            except SpecError:
                found = None
            if found is not None and config_key(found) not in self.tried:
                self.tried.add(config_key(found))
                return found
            self.study.tell(trial, state=TrialState.FAIL)
            self.refusals -= 1
            if config == last or self.refusals < 0:  # it insists
                return self._nearest(config)
            last = config

    def _proposal(self) -> tuple[optuna.Trial, Config]:
        trial = self.study.ask()
        config: Config = {p.name: p.levels[0] for p in self.space if len(p.levels) == 1}
        for p in self.order:
            if self.engine.flat or p.condition is None or p.condition.holds(config):
                one = self.coordinates[p.name]
                config[p.name] = one.ours(trial._suggest(p.name, one.distribution))
        return trial, config

    def _nearest(self, wished: Config) -> Config | None:
        """Return the nearest of some random untried configurations, by positions on their scales."""
        found = random_untried(self.space, self.tried, _NEAR, self.rng)

        def distance(config: Config) -> float:
            return sum(
                abs(p.position(config[p.name]) - p.position(wished[p.name]))
                if p.ordered
                else float(config[p.name] != wished[p.name])
                for p in self.order
                if p.name in config and p.name in wished
            )

        config = min(found, key=distance, default=None)
        if config is not None:
            self.tried.add(config_key(config))
            self._add(config, TrialState.RUNNING)
        return config

    def _outcome(self, trial: Trial) -> tuple[list[float], list[float]]:
        """Return the goals, more being better, and the violations of the limits; empty for a failure."""
        objective = self.question.objective
        values = [value for value in objective.score(trial.metrics).values if value is not None]
        bounded = [
            (limit, objective.value_of(limit.metric, trial.metrics[limit.metric]))
            for limit in objective.limits
            if limit.metric in trial.metrics and not limit.relative
        ]
        violations = [limit.violation(value) for limit, value in bounded if value is not None]
        whole = len(values) == len(objective.goals) and len(violations) == len(objective.limits)
        return (values, violations) if whole else ([], [])

    def _add(
        self, config: Config, state: TrialState, values: Sequence[float] = (), limits: Sequence[float] = ()
    ) -> None:
        """Add a trial, by asking for it where the sampler keeps its state in what it proposes."""
        params = self._params(config)
        attributes = {_CONSTRAINTS: list(limits)} if limits else {}
        if not self.engine.replayed:
            made = optuna.trial.create_trial(
                state=state,
                values=list(values) or None,
                params=params,
                distributions={name: self.coordinates[name].distribution for name in params},
                system_attrs=attributes,
            )
            self.study.add_trial(made)
            return
        self.study.enqueue_trial(params)
        trial = self.study.ask()
        frozen = self.study.get_trials(deepcopy=False)[trial.number]
        sampler = self.study.sampler
        sampler.sample_relative(self.study, frozen, sampler.infer_relative_search_space(self.study, frozen))
        for name in params:
            trial._suggest(name, self.coordinates[name].distribution)
        for key, value in attributes.items():
            self.study._storage.set_trial_system_attr(trial._trial_id, key, value)
        if state is not TrialState.RUNNING:
            self.study.tell(trial, list(values) or None, state=state)

    def _params(self, config: Config) -> Params:
        """Return the parameters of a configuration as Optuna has them, all where it knows no conditions."""
        known = {p.name: p.fallback for p in self.order} if self.engine.flat else {}
        known |= config
        return {p.name: self.coordinates[p.name].theirs(known[p.name]) for p in self.order if p.name in known}


def sampler_at(name: str) -> Sampler:
    """Return the sampler of ``optuna:MODULE:CLASS``.

    Raises:
        SpecError: There is no such module or class, or it is no sampler.
    """
    module, attribute = sampler_place(name)
    try:
        found = import_module(module)
    except ImportError as error:
        raise SpecError(
            f"engine {name!r}: {error}", hint="its folder must be in PYTHONPATH, or installed"
        ) from None
    kind = getattr(found, attribute, None)
    if kind is None:
        raise SpecError(
            f"engine {name!r}: module {module!r} has no {attribute!r}",
            hint=did_you_mean(attribute, dir(found)),
        )
    if not (isinstance(kind, type) and issubclass(kind, BaseSampler)):
        raise SpecError(f"engine {name!r}: {attribute!r} is no class of optuna.samplers.BaseSampler")
    return Sampler(name, kind)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's log and its warnings of experimental arguments to itself, for a while."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


TPE = Sampler("optuna:tpe", TPESampler, {"constant_liar": True})
GP = Sampler("optuna:gp", GPSampler)
CMAES = Sampler("optuna:cmaes", CmaEsSampler)
NSGA2 = Sampler("optuna:nsga2", NSGAIISampler)
