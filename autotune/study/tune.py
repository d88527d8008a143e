"""``tune``: the whole loop over a Python function in one call."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import replace
from inspect import isawaitable, iscoroutine, iscoroutinefunction
from pathlib import Path
from typing import Any

from autotune.core.diagnosis import NO_MEMORY
from autotune.core.measurement import (
    Cause,
    Estimate,
    Failure,
    Infeasible,
    Measurement,
    as_estimates,
    finite_metrics,
)
from autotune.core.mistake import NOT_FINITE, complete
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Config, Trial, TrialState
from autotune.errors import SpecError, UnitError
from autotune.ledger import study_lock
from autotune.study.mistakes import acquit, judge
from autotune.study.stopping import Stopping
from autotune.study.study import Study, ledger_path, read_count, state_of
from autotune.systems.shortfall import shortfall

_Result = tuple[Measurement, Exception | None]
_ASYNC = "function is async, and tune calls it from threads"
_ASYNC_HINT = "give one that runs to its end: lambda config: asyncio.run(function(config))"

Function = Callable[[Config], Mapping[str, Estimate | float | int] | float]


def tune(
    space: Space,
    function: Function,
    objective: Objective | Mapping[str, Any],
    *,
    trials: int = 40,
    parallel: int = 1,
    stop_when: str = "budget",
    engine: str | Mapping[str, Any] = "gp",
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
        space: What may vary.
        function: Takes a configuration, returns its metrics; a single number stands for the first goal.
        objective: What is wanted; a mapping is read by :meth:`Objective.from_dict`.
        trials: Budget; trials that ``path`` already holds count.
        parallel: Calls at once: threads of this process, or tasks on a Ray cluster.
        stop_when: ``budget``, or ``converged``: as soon as one more trial is not worth it;
            :attr:`Study.stopped` then says why. A larger budget, or ``budget``, goes on.
        engine: Name of the engine or its section of a study file.
        seed: Of the engine.
        name: Of the study within its ledger.
        path: Ledger that makes the study durable; calling again with the same one goes on.
        ray: Run the calls on Ray: the cluster of ``RAY_ADDRESS``, or a local one.

    Returns:
        The study, with :attr:`Study.best` and all trials.

    Raises:
        SpecError: An argument is wrong, or the function returns no metrics, or one in a unit of another
            dimension than its own.
        KeyboardInterrupt: Ctrl-C; what was measured is in its ``study``, and in ``path``.
    """
    read_count(trials, "trials", 1)
    read_count(parallel, "parallel", 1)
    if not callable(function):
        raise SpecError(f"function must be callable, found {function!r}")
    if iscoroutinefunction(function):
        raise SpecError(_ASYNC, hint=_ASYNC_HINT)
    file = None if path is None else ledger_path(path)
    with ExitStack() as stack:
        if file is not None:  # before the study is read: what another one writes until then would be missed
            stack.enter_context(study_lock(file, name))
        study = Study(space, objective, engine=engine, seed=seed, name=name, path=file, budget=trials)
        stopping = Stopping(study, stop_when, trials)
        submit = stack.enter_context(_ray_calls() if ray else _ThreadCalls(parallel))
        calls = _Calls(study, function, submit, "ray" if ray else "threads", trials, parallel, stopping)
        try:
            calls.run()
            study.ledger.ensure_kept()
        except BaseException as error:
            calls.put_back()
            error.study = study  # type: ignore[attr-defined]
            measured = sum(trial.state is TrialState.COMPLETED for trial in study.trials)
            if measured or file is not None:
                where = f" and in {study.ledger.path}" if file is not None else ""
                error.add_note(f"{measured} measured trials are in the `study` of this exception{where}")
            raise
    return study


class _Calls:
    """Calls of the function that run, and the trials they belong to.

    Args:
        study: Of the trials.
        function: What is tuned.
        submit: Starts a call.
        executor: Where calls run, for the ledger.
        trials: Budget.
        parallel: Calls at once.
        stopping: Says whether the search has converged.
    """

    def __init__(
        self,
        study: Study,
        function: Function,
        submit: Callable[..., Future[_Result]],
        executor: str,
        trials: int,
        parallel: int,
        stopping: Stopping,
    ) -> None:
        self.study, self.function, self.submit, self.executor = study, function, submit, executor
        self.trials, self.parallel, self.stopping = trials, parallel, stopping
        self.running: dict[Future[_Result], tuple[int, int]] = {}
        study.reopen_mistakes()
        study.put_back()  # what was in flight when an earlier call was killed
        self.waiting = [trial for trial in study.trials if not trial.state.finished]

    def run(self) -> None:
        """Call the function until the budget is spent."""
        while True:
            while len(self.running) < self.parallel and (trial := self._next()) is not None:
                attempt = self.study.start_attempt(trial.number, executor=self.executor)
                goal = self.study.objective.goals[0].metric
                units = self.study.objective.units
                portable = self.executor == "ray"
                future = self.submit(_call, self.function, dict(trial.config), goal, units, portable)
                self.running[future] = (trial.number, attempt)
            if not self.running:
                return
            for done in wait(self.running, return_when=FIRST_COMPLETED).done:
                measurement, error = done.result()
                number, attempt = self.running.pop(done)
                self._take(
                    number, attempt, complete(self.study.checked(measurement), self.study.objective), error
                )

    def put_back(self) -> None:
        """Leave the trials whose calls were not waited for to a later call of :func:`tune`."""
        for future in self.running:
            future.cancel()
        self.running.clear()
        self.study.put_back()

    def _next(self) -> Trial | None:
        if self.waiting:
            return self.waiting.pop(0)
        if len(self.study.trials) >= self.trials or self.stopping():
            return None
        return next(iter(self.study.ask(1)), None)

    def _take(self, number: int, attempt: int, measurement: Measurement, error: Exception | None) -> None:
        """Enter a result; raise where it is a mistake in the function."""
        study, failure = self.study, measurement.failure
        if failure is not None:
            crashed = error is not None and failure.cause is Cause.CRASHED_UNDER_LOAD
            failure = judge(study, number, failure, raised=crashed)
            measurement = replace(measurement, failure=failure)
        study.finish_attempt(number, attempt, measurement, state=state_of(measurement))
        if failure is None or failure.cause is not Cause.OWNER_MISTAKE:
            return
        acquit(study, failure)
        if error is not None:
            raise error
        raise SpecError(f"the function failed for {study.trials[number].config}: {failure.message}")


def _call(
    function: Function, config: Config, goal: str, units: Mapping[str, str], portable: bool = False
) -> tuple[Measurement, Exception | None]:
    """Return what a call measured, and the exception that it raised.

    Args:
        function: What is tuned.
        config: Its argument.
        goal: Metric that a single number stands for.
        units: Unit by metric of numbers that come without one.
        portable: Whether the exception must cross processes.
    """
    started = time.time_ns()
    metrics: dict[str, Estimate] = {}
    odd: dict[str, str] = {}
    failure, raised = None, None
    try:
        found = function(config)
        if isawaitable(found):
            if iscoroutine(found):
                found.close()
            raise SpecError(_ASYNC, hint=_ASYNC_HINT)
    except Infeasible as error:
        failure = error.failure
    except Exception as error:  # noqa: BLE001 - the user's function: whatever it raises is its answer
        said = f"{type(error).__name__}: {error}"
        if isinstance(error, MemoryError) or NO_MEMORY.search(said):
            text = str(error) if isinstance(error, MemoryError) else said
            failure = Failure(Cause.OUT_OF_MEMORY, text, traceback.format_exc(), shortfall(said))
        else:
            failure = Failure(Cause.CRASHED_UNDER_LOAD, said, traceback.format_exc())
            raised = _portable(error, failure) if portable else error
    else:
        finite, odd = finite_metrics(found if isinstance(found, Mapping) else {goal: found})
        try:
            metrics = as_estimates(finite, units)
        except UnitError as error:
            failure = Failure(Cause.OWNER_MISTAKE, error.line)
        except SpecError as error:
            failure = Failure(Cause.WRONG_OUTPUT, str(error))
    facts = {NOT_FINITE: odd} if odd else {}
    measurement = Measurement(metrics, failure, facts, started_ns=started, ended_ns=time.time_ns())
    return measurement, raised


def _portable(error: Exception, failure: Failure) -> Exception:
    """Return an exception that another process can read, with its traceback as a note."""
    try:
        portable = deepcopy(error)  # made as it is read elsewhere: from its arguments
    except Exception:  # noqa: BLE001 - whatever keeps it from travelling
        portable = RuntimeError(failure.message)
    portable.add_note(failure.log_tail)
    return portable


class _ThreadCalls(ThreadPoolExecutor):
    """Threads, called like a function; one that is interrupted does not wait for the calls that run."""

    def __enter__(self) -> Callable[..., Future[Any]]:  # type: ignore[override]
        super().__enter__()
        return self.submit

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.shutdown(wait=kind is None, cancel_futures=True)


def _ray_calls() -> Any:
    from autotune.executor.ray import function_calls

    return function_calls()
