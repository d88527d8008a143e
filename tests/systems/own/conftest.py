"""Runs one attempt of a system that measures itself, through the real worker and supervisor."""

import pytest

from autotune.core.deadlines import Deadlines
from autotune.executor.base import Job
from autotune.executor.worker import run_attempt


@pytest.fixture
def attempt(tmp_path):
    """Measure one configuration; the file's folder is that of the test."""

    def run(system, config=None, goal="speed", measure_s=30.0, trial=0):
        job = Job(
            study="own",
            trial=trial,
            attempt=1,
            config=config or {},
            system=system,
            workload={},
            goal=goal,
            scratch=str(tmp_path / "store" / "own" / f"trial-{trial:04d}" / "attempt-1"),
            deadlines=Deadlines(30.0, measure_s, 1.0),
        )
        return run_attempt(job).measurement

    return run
