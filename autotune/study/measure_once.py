"""A single attempt of one configuration, without a study: `autotune measure`."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from autotune.core.file_names import LEDGER_NAME
from autotune.core.input_file import resolved
from autotune.core.mistake import blamed, comparable, complete
from autotune.core.objective import Objective
from autotune.errors import AutotuneError
from autotune.executor.base import AttemptResult
from autotune.study.jobs import build_executor, make_job, resources_of, system_of
from autotune.study.study import ledger_path
from autotune.study.study_file import StudyFile

_POLL_S = 0.25
_log = logging.getLogger("autotune.study")


def _judged(result: AttemptResult, objective: Objective) -> AttemptResult:
    """Return the result of a single attempt as a study would take that of its first trial."""
    measurement = complete(comparable(result.measurement, objective.in_units), objective)
    if measurement.failure is not None:
        failure = blamed(measurement.failure, is_default=True, measured=False)
        measurement = replace(measurement, failure=failure)
    return replace(result, measurement=measurement)


def measure_once(
    spec: StudyFile, config: Mapping[str, object], *, store: Path, local: bool = True
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
    store = ledger_path(resolved(store) / LEDGER_NAME).parent
    scratch = store / spec.name / "measure" / time.strftime("%Y%m%d-%H%M%S")
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
