"""Attempts as a study file describes them: jobs, resources, what they run on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autotune.core.objective import Objective
from autotune.core.trial import Config, Reason, Trial, config_key
from autotune.errors import SpecError
from autotune.executor.base import Executor, Job
from autotune.study.mistakes import Mistake
from autotune.study.scheduler import answers_of
from autotune.study.study import Study
from autotune.study.study_file import StudyFile
from autotune.systems.base import System, launched_config
from autotune.systems.registry import SYSTEMS, SystemConfig

PLACED_SAMPLES = 256
"""Configurations that are tried in thought before a machine is said to have no room for any of them."""

_COMPARED = (Reason.REPEAT, Reason.CONFIRM, Reason.WATCH, Reason.REMEASURE)


@dataclass(frozen=True)
class StudyJobs:
    """The trials of a study file as jobs.

    Args:
        spec: Study file.
        system: System that it names.
        folder: Folder of what the attempts leave.
    """

    spec: StudyFile
    system: System
    folder: Path

    @property
    def logs(self) -> str:
        """Place of the attempts' logs."""
        return str(self.folder)

    def resources(self, config: Config) -> dict[str, float]:
        """Return the resources that a configuration needs."""
        return resources_of(self.spec, self.system, config)

    def any_fits(self, executor: Executor) -> bool:
        """Return whether an executor could ever place some configuration."""
        return any_fits(self.spec, self.system, executor)

    def scratch(self, trial: int, attempt: int) -> str:
        """Return the folder of an attempt."""
        return str(self.folder_of(trial) / f"attempt-{attempt}")

    def folder_of(self, trial: int) -> Path:
        """Return the folder of a trial's attempts."""
        return self.folder / f"trial-{trial:04d}"

    def job(self, trial: Trial, attempt: int, resources: Mapping[str, float], study: Study) -> Job:
        """Return the job of an attempt."""
        return make_job(
            self.spec, study.name, trial.config, resources, Path(self.scratch(trial.number, attempt)),
            trial=trial.number, attempt=attempt, reason=trial.suggestion.reason, history=study.trials,
            objective=study.anchored,
        )  # fmt: skip

    def error(self, mistake: Mistake) -> Exception:
        """Return the error that ends a study whose owner made a mistake."""
        return mistake.told(self.spec.space.default_config)


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
        workload=spec.stated_load,
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


def limits_data(objective: Objective) -> list[list[object]]:
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


def quality_wanted(spec: StudyFile, config: Config, history: Sequence[Trial]) -> dict[str, object]:
    """Return what of the answers' quality an attempt checks; empty where the file has no such section.

    The answers of the default configuration travel with it: they are in the ledger with the trial that
    measured them first.
    """
    if spec.quality is None:
        return {}
    default = config_key(spec.space.default_config)
    answers = (found for trial in history if trial.key == default and (found := answers_of(trial)))
    is_default = config_key(config) == default
    return {**spec.quality.loaded(), "is_default": is_default, "reference": next(answers, None)}


def compares_answers(spec: StudyFile) -> bool:
    """Return whether answers are compared with those of the default configuration."""
    return spec.quality is not None and spec.quality.agreement


def build_executor(spec: StudyFile, local: bool) -> Executor:
    """Return the executor that a study runs on: Ray, or child processes of this one."""
    parallel = None if spec.budget.parallel == "auto" else int(spec.budget.parallel)
    if local:
        from autotune.executor.local import LocalExecutor

        return LocalExecutor(parallel=parallel or 1)
    from autotune.executor.ray import RayExecutor

    return RayExecutor(rules=spec.resources if parallel is None else spec.resources.shared())
