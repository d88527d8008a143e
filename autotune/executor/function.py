"""Calls of a Python function as attempts: in threads of this process, or as Ray tasks."""

from __future__ import annotations

import asyncio
import platform
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from contextvars import copy_context
from copy import deepcopy
from inspect import isawaitable, iscoroutine, iscoroutinefunction
from typing import TypeAlias, cast

from autotune.core.dependencies import need
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

Result: TypeAlias = Mapping[str, Estimate | float | int | list[float]] | float
"""Metrics of a configuration; a single number stands for the first goal."""

Function: TypeAlias = Callable[[Config], Result]
"""Takes a configuration, returns its metrics."""

AsyncFunction: TypeAlias = Callable[[Config], Awaitable[Result]]
"""The same, for whoever awaits them."""

IS_ASYNC = "function is async, and tune calls it from threads"
ASYNC_HINT = (
    "await study.tune_async(function) takes it, and lambda config: asyncio.run(function(config)) runs it here"
)

_Called: TypeAlias = tuple[Measurement, Exception | None]


class FunctionExecutor:
    """Executor whose attempts are calls of a Python function.

    What is neither a result nor an ``Exception``, such as Ctrl-C inside the function, is raised by
    :meth:`wait`, after every result that has come.

    Args:
        function: Function that is measured.
        units: Unit by metric of numbers that come without one.
        parallel: Number of calls at once.
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
            need(["ray"])
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
    try:
        found: object = function(config)
        if isawaitable(found):
            if iscoroutine(found):
                found.close()
            raise SpecError(IS_ASYNC, hint=ASYNC_HINT)
    except Exception as error:  # noqa: BLE001 - the user's function: whatever it raises is its answer
        return _failed(error, started, portable)
    return _measured(found, goal, units, started), None


def _failed(error: BaseException, started_ns: int, portable: bool = False) -> _Called:
    """Return the failure that an exception of the function stands for, and the exception if it is a crash."""
    raised = None
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, Infeasible):
        failure = error.failure
    elif isinstance(error, MemoryError) or NO_MEMORY.search(said):
        text = str(error) if isinstance(error, MemoryError) else said
        failure = Failure(Cause.OUT_OF_MEMORY, text, traceback.format_exc(), shortfall(said))
    else:
        failure = Failure(Cause.CRASHED_UNDER_LOAD, said, traceback.format_exc())
        if isinstance(error, Exception):
            raised = _portable(error, failure) if portable else error
    return Measurement(failure=failure, started_ns=started_ns, ended_ns=time.time_ns()), raised


def _measured(found: object, goal: str, units: Mapping[str, str], started_ns: int) -> Measurement:
    """Return what the function's result stands for."""
    metrics: dict[str, Estimate] = {}
    failure = None
    finite, odd = finite_metrics(found if isinstance(found, Mapping) else {goal: found})
    try:
        metrics = as_estimates(finite, units)
    except UnitError as error:
        failure = Failure(Cause.OWNER_MISTAKE, error.line)
    except SpecError as error:
        failure = Failure(Cause.WRONG_OUTPUT, str(error))
    facts = {NOT_FINITE: odd} if odd else {}
    return Measurement(metrics, failure, facts, started_ns=started_ns, ended_ns=time.time_ns())


class AsyncFunctionExecutor(FunctionExecutor):
    """Executor whose attempts are calls in an event loop; the driver waits for them in another thread.

    Args:
        function: Function that is measured; what it returns is awaited where it can be.
        units: Unit by metric of numbers that come without one.
        parallel: Number of calls at once.
        loop: Loop that runs them.

    Attributes:
        tasks: Tasks of calls that have not ended, cancelled ones too.
    """

    def __init__(
        self,
        function: Function | AsyncFunction,
        units: Mapping[str, str],
        parallel: int,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(cast("Function", function), units, parallel)
        self.name = "asyncio"
        self.tasks: set[asyncio.Task[object]] = set()
        self._loop = loop

    def submit(self, job: Job) -> None:
        """Start a call."""
        work = self._call(self.function, dict(job.config), job.goal, self.units)
        self._running[asyncio.run_coroutine_threadsafe(work, self._loop)] = job.key

    async def _call(self, function: Function, config: Config, goal: str, units: Mapping[str, str]) -> _Called:
        """Return what a call measured, and the exception that it raised."""
        task = asyncio.current_task()
        assert task is not None and self._submit is not None  # noqa: S101, PT018 - in a task, after start
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        started = time.time_ns()
        try:
            found: object
            if iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
                found = function(config)
            else:
                thread = self._submit(copy_context().run, function, config)
                found = await asyncio.wrap_future(cast("Future[object]", thread))
            if isawaitable(found):
                found = await found
        except asyncio.CancelledError as error:
            if task.cancelling():
                raise
            return _failed(error, started)  # its own doing
        except Exception as error:  # noqa: BLE001 - the user's function: whatever it raises is its answer
            return _failed(error, started)
        return _measured(found, goal, units, started), None


def _portable(error: Exception, failure: Failure) -> Exception:
    """Return an exception that another process can read, with its traceback as a note."""
    try:
        portable = deepcopy(error)  # made as it is read elsewhere: from its arguments
    except Exception:  # noqa: BLE001 - whatever keeps it from travelling
        portable = RuntimeError(failure.message)
    portable.add_note(failure.log_tail)
    return portable
