"""Calls of a Python function as attempts: in threads of this process, or as Ray tasks."""

from __future__ import annotations

import platform
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from copy import deepcopy
from inspect import isawaitable, iscoroutine
from typing import TypeAlias

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
from autotune.core.mistake import NOT_FINITE
from autotune.core.trial import Config
from autotune.errors import SpecError, UnitError
from autotune.executor.base import AttemptResult, Job
from autotune.systems.shortfall import shortfall

Function: TypeAlias = Callable[[Config], Mapping[str, Estimate | float | int] | float]
"""Takes a configuration, returns its metrics; a single number stands for the first goal."""

IS_ASYNC = "function is async, and tune calls it from threads"
ASYNC_HINT = "give one that runs to its end: lambda config: asyncio.run(function(config))"

_Called: TypeAlias = tuple[Measurement, Exception | None]


class FunctionExecutor:
    """Executor whose attempts are calls of a Python function.

    What is neither a result nor an ``Exception``, such as Ctrl-C inside the function, is raised by
    :meth:`wait`, after every result that has come.

    Args:
        function: Function that is measured.
        units: Unit by metric of numbers that come without one.
        parallel: Calls at once.
        on_ray: Whether calls run as Ray tasks instead of threads of this process.
    """

    def __init__(
        self, function: Function, units: Mapping[str, str], parallel: int = 1, *, on_ray: bool = False
    ) -> None:
        self.name = "ray" if on_ray else "threads"
        self.function, self.units, self.parallel, self.on_ray = function, units, parallel, on_ray
        self._running: dict[Future[_Called], tuple[str, int, int]] = {}
        self._stack = ExitStack()
        self._submit: Callable[..., Future[_Called]] | None = None

    def start(self) -> None:
        """Start the threads, or connect to the cluster of ``RAY_ADDRESS`` or a local one.

        Raises:
            EnvironmentProblem: Ray cannot be started or reached.
        """
        if self.on_ray:
            from autotune.executor.ray import function_calls

            self._submit = self._stack.enter_context(function_calls())
        else:
            threads = ThreadPoolExecutor(self.parallel)
            self._stack.callback(threads.shutdown, wait=False, cancel_futures=True)
            self._submit = threads.submit

    def capacity(self, resources: Mapping[str, float]) -> int:
        """Return the number of calls at once."""
        return self.parallel

    def has_room(self, resources: Mapping[str, float], beside: Sequence[Mapping[str, float]] = ()) -> bool:
        """Return whether fewer calls run, or are about to, than may run at once."""
        return len(self._running) + len(beside) < self.parallel

    def shortage(self, resources: Mapping[str, float]) -> str:
        """Return nothing: a function needs no resources that are known."""
        return ""

    def nodes(self) -> list[str]:
        """Return this machine."""
        return [platform.node()]

    def submit(self, job: Job) -> None:
        """Start a call."""
        assert self._submit is not None, "start() comes first"  # noqa: S101
        future = self._submit(call, self.function, dict(job.config), job.goal, self.units, self.on_ray)
        self._running[future] = job.key

    def wait(self, timeout: float) -> list[AttemptResult]:
        """Return the results of calls that are over, waiting for the first.

        Raises:
            BaseException: The function raised what no measurement can be, or its worker was lost.
        """
        if not self._running:
            time.sleep(timeout)
            return []
        done = wait(self._running, timeout=timeout, return_when=FIRST_COMPLETED).done
        told = [future for future in self._running if future in done and future.exception() is None]
        if done and not told:
            done.pop().result()
        return [self._collect(future) for future in told]

    def _collect(self, future: Future[_Called]) -> AttemptResult:
        measurement, error = future.result()
        return AttemptResult(self._running.pop(future), measurement, error=error)

    def drop(self, key: tuple[str, int, int]) -> str:
        """Forget a call: nothing can stop it."""
        self._running = {future: other for future, other in self._running.items() if other != key}
        return ""

    def cancel(self) -> None:
        """Cancel the calls that have not begun, and forget the others."""
        for future in self._running:
            future.cancel()
        self._running.clear()

    def close(self) -> None:
        """Cancel, then leave the threads or the cluster. Idempotent."""
        self.cancel()
        self._stack.close()


def call(
    function: Function, config: Config, goal: str, units: Mapping[str, str], portable: bool = False
) -> _Called:
    """Return what a call measured, and the exception that it raised.

    Args:
        function: Function that is tuned.
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
        found: object = function(config)
        if isawaitable(found):
            if iscoroutine(found):
                found.close()
            raise SpecError(IS_ASYNC, hint=ASYNC_HINT)
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
