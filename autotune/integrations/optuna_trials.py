"""What trials of Optuna's tried, and what became of it, as ours say it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, PartialFixedSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from autotune.core.objective import Goal, Limit, Objective
from autotune.core.space import Space
from autotune.core.table import expansion_order
from autotune.core.trial import Config
from autotune.engine.optuna_space import Params
from autotune.errors import SpecError
from autotune.integrations.optuna_parameters import ParameterOfOptuna, is_rounded, nearest

PROPOSAL = "autotune:proposal"
"""System attribute of a trial: what was proposed for it, by name, as Optuna stores values."""

FIXED = "fixed_params"
"""System attribute of an enqueued trial, by Optuna."""


def last_distributions(trials: Sequence[FrozenTrial]) -> dict[str, BaseDistribution]:
    """Return the last distribution of each parameter."""
    return {name: d for t in trials for name, d in t.distributions.items()}


def waits(trial: FrozenTrial) -> bool:
    """Return whether a trial is under way or enqueued."""
    return trial.state in (TrialState.RUNNING, TrialState.WAITING)


def fixed_around(sampler: BaseSampler) -> Params:
    """Return the parameters that samplers around ours fix."""
    found: Params = {}
    while isinstance(sampler, PartialFixedSampler):
        found = {**sampler._fixed_params, **found}
        sampler = sampler._base_sampler
    return found


def our_values(params: Mapping[str, Any], coordinates: Mapping[str, ParameterOfOptuna]) -> Config:
    """Return the values of ours that parameters of Optuna's stand for, without those that cannot be."""
    return {
        one.parameter.name: one.ours(params[name])
        for name, one in coordinates.items()
        if name in params and one.holds(params[name])
    }


def tried(trial: FrozenTrial, coordinates: Mapping[str, ParameterOfOptuna], space: Space) -> Config:
    """Return what a finished trial tried; empty where it was asked for nothing that is known.

    So is one that was given a value that its distribution cannot hold. One that ended early gets the values
    that were proposed for the rest, or drawn: no choice of them helps.
    """
    config = our_values(trial.params, coordinates)
    if len(config) < len(coordinates.keys() & trial.params.keys()):
        return {}
    if trial.state is TrialState.COMPLETE or not config:
        return config
    wished = proposed(trial, coordinates, space)
    rng = np.random.default_rng(trial.number)
    for p in expansion_order(space.parameters):
        if p.name not in config and (p.condition is None or p.condition.holds(config)):
            try:
                config[p.name] = p.coerce(wished[p.name])
            except (KeyError, SpecError):  # nothing was proposed, or of another range
                config[p.name] = p.levels[int(rng.integers(len(p.levels)))]
    return config


def proposed(trial: FrozenTrial, coordinates: Mapping[str, ParameterOfOptuna], space: Space) -> Config:
    """Return what a trial under way, or one that is enqueued, is known to try."""
    stored = trial.system_attrs.get(PROPOSAL, {})
    params = {
        name: one.distribution.to_external_repr(stored[name])
        for name, one in coordinates.items()
        if name in stored
    }
    config = our_values(params | trial.system_attrs.get(FIXED, {}) | trial.params, coordinates)
    try:
        return space.validate(config)
    except SpecError:  # of another range, or some values are not known yet
        return config


def move_to_new(
    found: Params,
    others: Sequence[FrozenTrial],
    known: Mapping[str, BaseDistribution],
    fixed: Mapping[str, Any],
) -> None:
    """Move a stepped value that was searched as a real number, where rounding made it one that was tried."""
    name = next((each for each in found if each not in fixed and is_rounded(known[each])), None)
    if name is None:
        return
    past = [t.params for t in others]
    past += [
        {
            each: known[each].to_external_repr(v)
            for each, v in t.system_attrs[PROPOSAL].items()
            if each in known
        }
        for t in others
        if waits(t) and PROPOSAL in t.system_attrs
    ]
    rest = {each: value for each, value in found.items() if each != name}
    taken = {params[name] for params in past if name in params and params == {**rest, name: params[name]}}
    if found[name] in taken:
        found[name] = next((v for v in nearest(known[name], found[name]) if v not in taken), found[name])


def objective_of(study: Study, trials: Sequence[FrozenTrial]) -> Objective:
    """Return the goals of a study and the limits that its trials name."""
    goals = [Goal(f"v{i}", d is StudyDirection.MAXIMIZE) for i, d in enumerate(study.directions)]
    names = {name for t in trials for name in constraints_of(t)}
    return Objective(tuple(goals), tuple(Limit(name, True, 0.0) for name in sorted(names)))


def constraints_of(trial: FrozenTrial) -> dict[str, float]:
    """Return the constraints of a trial by a name of ours."""
    old = trial.system_attrs.get("constraints") or ()
    new = {key: v for key, v in trial.system_attrs.items() if key.startswith("constraints:")}
    named = {f"c{i}": value for i, value in enumerate(old)}
    return named | {f"c{zlib.crc32(key.encode()):08x}": value for key, value in new.items()}


def values_of(trial: FrozenTrial, study: Study, trials: Sequence[FrozenTrial]) -> dict[str, float]:
    """Return the goals and constraints of a trial; empty where it has none.

    One that was pruned was not better than half of the others, and is taken to be as bad as its last report.
    """
    values = trial.values if trial.state is TrialState.COMPLETE else None
    if trial.state is TrialState.PRUNED and trial.intermediate_values and len(study.directions) == 1:
        last = trial.intermediate_values[max(trial.intermediate_values)]
        complete = [t.values[0] for t in trials if t.state is TrialState.COMPLETE]
        worse = min if study.direction is StudyDirection.MAXIMIZE else max
        values = [worse(last, median(complete)) if complete else last]
    goals = {f"v{i}": value for i, value in enumerate(values or ())}
    return goals and goals | constraints_of(trial)
