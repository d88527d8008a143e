"""Our engines as a sampler of Optuna.

A program of Optuna's defines its space while it runs. What its trials were asked for is such a space:
each parameter with its last distribution, under the condition that the trials show, and wherever ranges moved
over all values seen, of which only those of the last range are proposed. Choices that are numbers have an
order, as a list of sizes or bits has.

A proposal stands in its trial's system attributes before the trial's parameters do, so that workers of one
storage, in threads, processes or on other machines, see what the others are about to try.
"""

from __future__ import annotations

import math
import secrets
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler
from optuna.samplers._base import _process_constraints_after_trial
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from autotune.core import trial as ours
from autotune.core.arguments import check_class, read_count, read_entries
from autotune.core.inferred_conditions import infer_conditions
from autotune.core.measurement import LARGEST, Estimate, Failure, Measurement
from autotune.core.registry import shown
from autotune.core.space import Space
from autotune.core.trial import Config, Reason, Suggestion
from autotune.engine.optuna_space import Params, coordinate
from autotune.engine.question import Question
from autotune.engine.registry import ENGINES, read_engine, suggestions
from autotune.errors import SpecError
from autotune.integrations.optuna_parameters import (
    ParameterOfOptuna,
    cause_of,
    declared,
    parameter_of,
    suggest,
    under,
)
from autotune.integrations.optuna_trials import (
    FIXED,
    PROPOSAL,
    fixed_around,
    last_distributions,
    move_to_new,
    objective_of,
    our_values,
    proposed,
    tried,
    values_of,
    waits,
)
from autotune.study.study import SpaceLike, read_space

_MOST_PARENT_LEVELS = 64  # of a parameter that a condition may mention
_CLASHES = 5  # proposals that another worker made at the same time


@check_class("seed", "engine", "space")
class AutotuneSampler(BaseSampler):
    """A sampler of Optuna that proposes by one of our engines.

    Args:
        seed: Seed of the engine; drawn anew where it is not given. Workers may share it.
        constraints_func: Function that takes a trial that is over and returns its constraints, each kept
            where it is at most 0; in Optuna 5 ``trial.set_constraint`` does without.
        engine: Name of the engine, or its section of a study file.
        space: Space of ours, or its name such as ``vllm``, where it is known: its conditions, constraints,
            default and what it says of memory then hold from the first trial on. :func:`suggest` gives a
            trial's configuration of it.
        learn_from_failures: Whether a failed trial says that its parameters fail. Not where trials fail for
            reasons that are not theirs, such as lost workers. A trial's user attribute ``failure`` may name
            the cause, such as ``out_of_memory``.

    Raises:
        SpecError: There is no such engine, an option of it is wrong, or an argument is.
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        constraints_func: Callable[[FrozenTrial], Sequence[float]] | None = None,
        engine: str | Mapping[str, object] = "gp",
        space: SpaceLike | None = None,
        learn_from_failures: bool = True,
    ) -> None:
        if not isinstance(engine, str | Mapping):
            raise SpecError(
                f"engine must be a name or a mapping, found {engine!r}",
                path=("engine",),
                hint=f"allowed names: {', '.join(ENGINES.names())}",
            )
        self._engine, section = read_engine(engine)
        self._use = str(section.get("use", "gp"))
        self._constraints_func = constraints_func
        self._learn_from_failures = learn_from_failures
        self._declared = None if space is None else read_space(space)
        self._seed = secrets.randbelow(2**31) if seed is None else read_count(seed, "seed")
        self._lock = threading.Lock()
        self._spaces: dict[str, Space] = {}  # the last one: what it enumerates serves the next ask too

    def __getstate__(self) -> Params:
        return {name: value for name, value in vars(self).items() if name != "_lock"} | {"_spaces": {}}

    def __setstate__(self, state: Params) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def reseed_rng(self) -> None:
        """Draw another seed."""
        self._seed = secrets.randbelow(2**31)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return every parameter that a trial was asked for, with its last distribution."""
        known = {**self._declared_distributions(), **last_distributions(_trials(study, trial))}
        return {name: found for name, found in known.items() if not found.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Params:
        """Return values for all of ``search_space``; those that the trial is not asked for go unused."""
        if not search_space:
            return {}
        fixed = {**fixed_around(study.sampler), **trial.system_attrs.get(FIXED, {}), **trial.params}
        rank = 0  # among the trials that were proposed the same: each takes another of a batch
        with self._lock:
            for _ in range(_CLASHES):
                others = _trials(study, trial)
                found = self._proposal(study, others, search_space, fixed, rank)
                for name, distribution in search_space.items() if not found else ():  # nothing is new
                    found[name] = self.sample_independent(study, trial, name, distribution)
                stored = {name: search_space[name].to_internal_repr(value) for name, value in found.items()}
                study._storage.set_trial_system_attr(trial._trial_id, PROPOSAL, stored)
                over = {t.number for t in others if t.state.is_finished()}  # known to the engine
                since = (t for t in _trials(study, trial) if t.number not in over)
                same = [t.number for t in since if t.system_attrs.get(PROPOSAL) == stored]
                if not same:
                    break
                rank = sum(number < trial.number for number in same)
        return found

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a random value: of a parameter, or of a range, that no trial had yet."""
        words = (self._seed, trial.number, zlib.crc32(param_name.encode()))
        seed = int(np.random.SeedSequence(words).generate_state(1)[0])
        return RandomSampler(seed).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Store what the function of constraints says of a trial."""
        if self._constraints_func is not None:
            _process_constraints_after_trial(self._constraints_of, study, trial, state)

    def _constraints_of(self, trial: FrozenTrial) -> Sequence[float]:
        """Return what the function says, before it is stored: no later trial could read anything else."""
        assert self._constraints_func is not None  # noqa: S101 - it is called where there is one
        found = self._constraints_func(trial)
        listed = read_entries(found)
        if listed is None or not all(isinstance(value, Real) for value in listed):
            raise SpecError(f"constraints_func must return a list of numbers, found {shown(found)}")
        return listed

    def _declared_distributions(self) -> dict[str, BaseDistribution]:
        """Return what Optuna is asked for by :func:`suggest`; nothing without a space of ours."""
        return {p.name: coordinate(p, for_people=True).distribution for p in self._declared or ()}

    def _proposal(
        self,
        study: Study,
        others: Sequence[FrozenTrial],
        search_space: Mapping[str, BaseDistribution],
        fixed: Mapping[str, Any],
        rank: int,
    ) -> Params:
        """Return one of the engine's proposals for active parameters; empty where it has none that is new."""
        known = {**self._declared_distributions(), **last_distributions(others), **search_space}
        coordinates = {
            name: parameter_of(f"p{i}", name, known[name], others, fixed)
            for i, name in enumerate(sorted(known))
            if not known[name].single()
        }
        if self._declared is not None:
            coordinates = {p.name: declared(p, known[p.name], fixed) for p in self._declared}
        try:
            space = self._space(coordinates, others)
            needed = {p.name for p in space if p.condition is None}
            history = [self._trial(t, config, study, others) for t in others if t.state.is_finished()
                       if (config := tried(t, coordinates, space))]  # fmt: skip
            pending = tuple(
                config
                for t in others
                if waits(t) and needed <= (config := proposed(t, coordinates, space)).keys()
            )
            question = Question(space, objective_of(study, others), history, pending, self._seed)
            asked = suggestions(self._use, self._engine, question, rank + 1)
        except SpecError:  # what is fixed leaves nothing
            asked = []
        config = asked[-1].config if asked else {}
        names = {one.parameter.name: name for name, one in coordinates.items()}
        found = {names[key]: coordinates[names[key]].theirs(value) for key, value in config.items()}
        if self._declared is None:
            move_to_new(found, others, known, fixed)
        return {name: value for name, value in found.items() if name in search_space}

    def _space(self, coordinates: Mapping[str, ParameterOfOptuna], others: Sequence[FrozenTrial]) -> Space:
        constraints = tuple(text for one in coordinates.values() for text in one.constraints)
        if self._declared is not None and not constraints:
            return self._declared
        if self._declared is not None:
            parameters = tuple(one.parameter for one in coordinates.values())
            return replace(
                self._declared, parameters=parameters, constraints=self._declared.constraints + constraints
            )
        rows = [
            (our_values(t.params, coordinates), t.state is TrialState.COMPLETE)
            for t in others
            if t.state is not TrialState.WAITING
        ]
        parents = {
            one.parameter.name: one.parameter.ordered
            for one in coordinates.values()
            if one.parameter.discrete and len(one.parameter.levels) <= _MOST_PARENT_LEVELS
        }
        when = infer_conditions(rows, parents)
        parameters = tuple(under(one, when.get(one.parameter.name)) for one in coordinates.values())
        key = repr([(p.to_dict(), hash(p.levels)) for p in parameters]) + repr(constraints)
        if key not in self._spaces:
            self._spaces = {key: Space(parameters, constraints)}
        return self._spaces[key]

    def _trial(
        self, trial: FrozenTrial, config: Config, study: Study, others: Sequence[FrozenTrial]
    ) -> ours.Trial:
        """Return a finished trial of Optuna's as one of ours."""
        values = values_of(trial, study, others)
        failed = not values or not all(math.isfinite(v) and abs(v) < LARGEST for v in values.values())
        state = ours.TrialState.INFEASIBLE if failed else ours.TrialState.COMPLETED
        if trial.state is TrialState.FAIL and not self._learn_from_failures:
            state = ours.TrialState.FAILED
        measurement = (
            Measurement(failure=Failure(cause_of(trial), trial.state.name))
            if failed
            else Measurement(metrics={name: Estimate(float(v)) for name, v in values.items()})
        )
        return ours.Trial(trial.number, Suggestion(config, Reason.ADDED), state, 1, measurement)


def _trials(study: Study, but: FrozenTrial) -> list[FrozenTrial]:
    """Return all trials of a study, from its storage, without one."""
    return [t for t in study.get_trials(deepcopy=False) if t.number != but.number]


__all__ = ["PROPOSAL", "AutotuneSampler", "suggest"]
