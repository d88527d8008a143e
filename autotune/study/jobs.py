"""Attempts as a study file describes them: jobs, resources, what they run on; and a single one."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from autotune.core.mistake import blamed, comparable, complete
from autotune.core.objective import Objective
from autotune.core.trial import Config, Reason, Trial, TrialState, config_key
from autotune.errors import AutotuneError, SpecError
from autotune.executor.base import AttemptResult, Executor, Job
from autotune.study.study_file import StudyFile
from autotune.systems.base import System, launched_config
from autotune.systems.registry import SYSTEMS, SystemConfig

PLACED_SAMPLES = 256
"""Configurations that are tried in thought before a machine is said to have no room for any of them."""

_POLL_S = 0.25
_COMPARED = (Reason.REPEAT, Reason.CONFIRM, Reason.WATCH, Reason.REMEASURE)
_log = logging.getLogger("autotune.study")


def system_of(spec: StudyFile) -> SystemConfig:
    """Return the system of a study.

    Raises:
        SpecError: It has none: there is nothing to launch.
    """
    if spec.system is None:
        text = f"a study needs a system to run; allowed: {', '.join(SYSTEMS.names())}"
        raise SpecError(text, path=("system",), hint="`system: {use: NAME, ...}`")
    return spec.system


def resources_of(spec: StudyFile, system: System, config: Config) -> dict[str, float]:
    """Return what a configuration needs: what the file says, else what the system says."""
    return {**system.resources(config), **spec.resources.needed(config)}


def any_fits(spec: StudyFile, system: System, executor: Executor) -> bool:
    """Return whether an executor could ever place some configuration: the default or one of a sample."""
    sampled = spec.space.sample(PLACED_SAMPLES, np.random.default_rng(0))
    configs = (spec.space.default_config, *sampled)
    return any(not executor.shortage(resources_of(spec, system, config)) for config in configs)


def make_job(
    spec: StudyFile,
    study: str,
    config: Config,
    resources: Mapping[str, float],
    scratch: Path,
    *,
    trial: int,
    attempt: int,
    reason: Reason | None = None,
    history: Sequence[Trial] = (),
    objective: Objective | None = None,
) -> Job:
    """Return the job of one attempt; ``study`` may differ from the file's name (``--new``).

    What is measured to be compared, and whatever failed once, starts afresh: a process that others have used
    is warm, and the spread between starts is part of the noise.
    """
    system = system_of(spec)
    given = launched_config(system.built, config, spec.space.derived)
    return Job(
        study=study,
        trial=trial,
        attempt=attempt,
        config=given,
        system=system.to_dict(),
        workload=spec.workload.to_dict(),
        goal=spec.objective.goals[0].metric,
        scratch=str(scratch),
        deadlines=spec.deadlines,
        resources=resources,
        price=spec.resources.price_of(config),
        limits=limits_data(objective or spec.objective),
        judged=judged_metrics(objective or spec.objective),
        quality=quality_wanted(spec, config, history),
        launch_key=system.launch_key(given),
        fresh=attempt > 1 or reason in _COMPARED,
    )


def limits_data(objective: Objective) -> list[list[Any]]:
    """Return the limits as plain data; those relative to a default that was not measured bound nothing."""
    return [
        [limit.metric, "<=" if limit.upper else ">=", limit.bound]
        for limit in objective.limits
        if not limit.relative
    ]


def judged_metrics(objective: Objective) -> list[str]:
    """Return the metrics that decide: of the goals and of the limits."""
    every = [*(goal.metric for goal in objective.goals), *(limit.metric for limit in objective.limits)]
    return list(dict.fromkeys(every))


def quality_wanted(spec: StudyFile, config: Config, history: Sequence[Trial]) -> dict[str, Any]:
    """Return what of the answers' quality an attempt checks; empty where the file has no such section.

    The answers of the default configuration travel with it: they are in the ledger with the trial that
    measured them first.
    """
    if spec.quality is None:
        return {}
    default = config_key(config) == config_key(spec.space.default_config)
    answers = (found for trial in history if (found := _default_answers(spec, trial)))
    return {**spec.quality.loaded(), "is_default": default, "reference": next(answers, None)}


def _default_answers(spec: StudyFile, trial: Trial) -> list[Any] | None:
    """Return the answers that a trial of the default configuration gave; ``None`` from any other."""
    measured = trial.measurement if trial.state is TrialState.COMPLETED else None
    if measured is None or trial.key != config_key(spec.space.default_config):
        return None
    answers: list[Any] | None = dict(measured.facts.get("quality") or {}).get("answers")
    return answers


def awaits_default(spec: StudyFile, config: Config, trials: Sequence[Trial]) -> bool:
    """Return whether a trial must wait for the default's, whose answers it is compared with."""
    default = config_key(spec.space.default_config)
    if spec.quality is None or not spec.quality.agreement or config_key(config) == default:
        return False
    own = [trial for trial in trials if trial.key == default]
    return any(t.state is TrialState.RUNNING for t in own) and not any(_default_answers(spec, t) for t in own)


def build_executor(spec: StudyFile, local: bool) -> Executor:
    """Return the executor that a study runs on: Ray, or child processes of this one."""
    parallel = None if spec.budget.parallel == "auto" else int(spec.budget.parallel)
    if local:
        from autotune.executor.local import LocalExecutor

        return LocalExecutor(parallel=parallel or 1)
    from autotune.executor.ray import RayExecutor

    return RayExecutor(rules=spec.resources if parallel is None else spec.resources.shared())


def _judged(result: AttemptResult, objective: Objective) -> AttemptResult:
    """Return the result of a single attempt as a study would take that of its first trial."""
    measurement = complete(comparable(result.measurement, objective.in_units), objective)
    if measurement.failure is not None:
        failure = blamed(measurement.failure, is_default=True, measured=False)
        measurement = replace(measurement, failure=failure)
    return replace(result, measurement=measurement)


def measure_once(
    spec: StudyFile, config: Mapping[str, Any], *, store: Path, local: bool = True
) -> AttemptResult:
    """Measure one configuration of a study file; nothing enters a ledger.

    Raises:
        SpecError: The configuration is not in the space.
        UnitError: A metric came in a unit of another dimension.
    """
    from autotune.executor.local import LocalExecutor

    system = system_of(spec).built
    values = spec.space.validate(config)
    system.prepare(log=_log.info)
    executor = LocalExecutor(parallel=1) if local else build_executor(spec, local=False)
    executor.start()
    scratch = store.resolve() / spec.name / "measure" / time.strftime("%Y%m%d-%H%M%S")
    job = make_job(spec, spec.name, values, resources_of(spec, system, values), scratch, trial=0, attempt=1)
    try:
        executor.submit(job)
        deadlines = spec.deadlines
        limit = time.monotonic() + deadlines.startup_s + deadlines.measure_s + 10 * deadlines.stop_s
        while time.monotonic() < limit:
            for result in executor.wait(_POLL_S):
                return _judged(result, spec.objective)
        raise AutotuneError("the attempt outlived its deadlines", hint=f"see {scratch}")
    finally:
        executor.close()
