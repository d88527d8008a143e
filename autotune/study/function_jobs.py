"""The trials of a Python function as jobs, for the driver of a study."""

from __future__ import annotations

import math
from collections.abc import Mapping

from autotune.core.deadlines import Deadlines
from autotune.core.trial import Config, Trial
from autotune.errors import SpecError
from autotune.executor.base import Executor, Job
from autotune.study.mistakes import Mistake
from autotune.study.study import Study


class FunctionJobs:
    """The trials of a Python function as jobs."""

    def resources(self, config: Config) -> dict[str, float]:
        """Return nothing: what a function needs is not known."""
        return {}

    def any_fits(self, executor: Executor) -> bool:
        """Return that any configuration can be placed."""
        return True

    def scratch(self, trial: int, attempt: int) -> str:
        """Return nothing: a call leaves no files."""
        return ""

    def job(self, trial: Trial, attempt: int, resources: Mapping[str, float], study: Study) -> Job:
        """Return the job of a call, which may take as long as it likes."""
        return Job(
            study=study.name,
            trial=trial.number,
            attempt=attempt,
            config=trial.config,
            system={},
            workload={},
            goal=study.objective.goals[0].metric,
            scratch="",
            deadlines=Deadlines(startup_s=math.inf),
        )

    def error(self, mistake: Mistake) -> Exception:
        """Return the function's own exception, or what is wrong with its result."""
        if mistake.error is not None:
            return mistake.error
        return SpecError(f"the function failed for {mistake.trial.config}: {mistake.failure.message}")
