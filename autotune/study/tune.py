"""``tune``: the whole loop over a Python function in one call."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from inspect import iscoroutinefunction
from pathlib import Path

from autotune.core.deadlines import Deadlines
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Config, Trial, TrialState
from autotune.core.units import counted
from autotune.errors import LedgerError, SpecError
from autotune.executor.base import Executor, Job
from autotune.executor.function import ASYNC_HINT, IS_ASYNC, Function, FunctionExecutor
from autotune.ledger import study_lock
from autotune.study.driver import Driver
from autotune.study.mistakes import Mistake
from autotune.study.report import write_at_end
from autotune.study.scheduler import Settings
from autotune.study.study import Study, ledger_path, read_count


def tune(
    space: Space,
    function: Function,
    objective: Objective | Mapping[str, object],
    *,
    trials: int = 40,
    parallel: int = 1,
    stop_when: str = "budget",
    engine: str | Mapping[str, object] = "gp",
    seed: int = 0,
    name: str = "study",
    path: str | Path | None = None,
    ray: bool = False,
) -> Study:
    """Find the best configuration of a Python function.

    A new trial starts as soon as a place is free; trials still running are taken into account when the
    next one is proposed. ``MemoryError`` (or a library's own error for it) means ``out_of_memory``, an
    :class:`~autotune.core.measurement.Infeasible` what it says, any other exception ``crashed_under_load``,
    with its traceback kept; all teach the engine to stay away. A result without a goal or the metric of a
    limit, or with NaN there, is ``wrong_output``.

    An exception of the first trial, the default configuration, is a mistake in the function rather than the
    configuration's: it is raised as it is, and no trial is charged. The same holds for a message with which
    the first three configurations fail, and for a result without metrics. Whatever interrupts the search
    carries the study with all that was measured as its attribute ``study``.

    Args:
        space: Search space.
        function: Takes a configuration, returns its metrics; a single number stands for the first goal.
        objective: Objective; a mapping is read by :meth:`Objective.from_dict`.
        trials: Budget; trials that ``path`` already holds count.
        parallel: Calls at once: threads of this process, or tasks on a Ray cluster.
        stop_when: ``budget``, or ``converged``: as soon as one more trial is not worth it;
            :attr:`Study.stopped` then says why. A larger budget, or ``budget``, goes on.
        engine: Name of the engine or its section of a study file.
        seed: Seed of the engine.
        name: Name of the study within its ledger.
        path: Ledger that makes the study durable, with a report beside it; the same one again goes on.
        ray: Run the calls on Ray: the cluster of ``RAY_ADDRESS``, or a local one.

    Returns:
        The study, with :attr:`Study.best` and all trials.

    Raises:
        SpecError: An argument is wrong, or a result has no metric, or one in a unit of another dimension.
        KeyboardInterrupt: Ctrl-C; what was measured is in its ``study``, and in ``path``.
    """
    read_count(trials, "trials", 1)
    read_count(parallel, "parallel", 1)
    if not callable(function):
        raise SpecError(f"function must be callable, found {function!r}")
    if iscoroutinefunction(function):
        raise SpecError(IS_ASYNC, hint=ASYNC_HINT)
    file = None if path is None else ledger_path(path)
    with ExitStack() as stack:
        if file is not None:  # before the study is read: what another one writes until then would be missed
            stack.enter_context(study_lock(file, name))
        study = Study(space, objective, engine=engine, seed=seed, name=name, path=file, budget=trials)
        settings = Settings(study.space, study.objective, trials, parallel=parallel, seed=study.seed)
        executor = FunctionExecutor(function, study.objective.units, parallel, on_ray=ray)
        driver = Driver(study, settings, _FunctionJobs(), executor, stop_when=stop_when)
        stack.callback(executor.close)
        executor.start()
        try:
            driver.run()
            study.ledger.set_study_state(name, "COMPLETED")
            study.ledger.ensure_kept()
            write_at_end(study)
        except BaseException as error:
            with suppress(LedgerError):  # what is raised says what became of it
                study.put_back()
            error.study = study  # type: ignore[attr-defined]
            measured = sum(trial.state is TrialState.COMPLETED for trial in study.trials)
            if measured or file is not None:
                where = f", as has {study.ledger.path}" if file is not None else ""
                kept = counted(measured, "measured trial")
                error.add_note(f"the `study` of this exception has {kept}{where}")
            raise
    return study


class _FunctionJobs:
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
