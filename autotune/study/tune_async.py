"""``Study.tune_async``: the loop of ``tune`` for whoever has an event loop; its engine works in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import copy_context
from inspect import isawaitable, iscoroutinefunction
from typing import cast

from autotune.core.start import named_start
from autotune.core.trial import Trial
from autotune.errors import SpecError
from autotune.executor.function import (
    IS_ASYNC,
    AsyncFunction,
    AsyncFunctionExecutor,
    Function,
    FunctionExecutor,
)
from autotune.ledger import study_lock
from autotune.spec.stored import StoredSpec
from autotune.study.driver import Callback
from autotune.study.hooks import read_argument
from autotune.study.study import Study, find_study
from autotune.study.tune import Search, check_call, read_callbacks, read_mlflow, read_progress, read_timeout


async def tune_async(
    study: Study,
    function: Function | AsyncFunction,
    *,
    trials: int,
    parallel: int,
    stop_when: str,
    ray: bool,
    timeout: float | str | None,
    start: Sequence[Mapping[str, object]],
    callbacks: Sequence[Callback],
    progress: bool | None,
    mlflow: bool | str | Mapping[str, object] | None,
    on: Mapping[str, object] | None,
) -> Study:
    """Tune a function from an event loop; see :meth:`autotune.Study.tune_async`."""
    check_call(function, trials, parallel)
    if ray and iscoroutinefunction(function):
        raise SpecError(IS_ASYNC, hint="without ray=True it runs in this event loop")
    loop = asyncio.get_running_loop()
    search = Search(
        time_s=read_timeout(timeout),
        start=named_start(study.space, start, trials),
        callbacks=tuple(_in_loop(loop, each) for each in read_callbacks(callbacks, may_wait=True)),
        tracking=read_mlflow(mlflow, study.path),
        screen=read_progress(progress),
        hooks=read_argument(on),
    )
    units = study.objective.units
    executor: FunctionExecutor
    tasks: set[asyncio.Task[object]] = set()
    if ray:
        executor = FunctionExecutor(cast("Function", function), units, parallel, on_ray=True)
    else:
        executor = AsyncFunctionExecutor(function, units, parallel, loop)
        tasks = executor.tasks
    stop = threading.Event()

    def work() -> None:
        with ExitStack() as stack:
            if study.path is not None:
                stack.enter_context(study_lock(study.path, study.name))
            stack.enter_context(study.driven())
            if search.spec is not None:
                stored = StoredSpec(find_study(study.ledger, study.name).spec)
                study.ledger.set_study_spec(study.name, stored.with_parts(search.spec))
            search.run(study, trials, stop_when, executor, stop)

    threads = ThreadPoolExecutor(1)
    ended = loop.run_in_executor(threads, copy_context().run, work)
    cancelled: asyncio.CancelledError | None = None
    try:
        while not ended.done() or tasks:
            try:
                await asyncio.wait(tasks if ended.done() else [ended])
            except asyncio.CancelledError as error:
                cancelled = error
                stop.set()
    finally:
        stop.set()
        threads.shutdown(wait=False)
    if cancelled is not None:
        ended.exception()  # the cancellation is what is told
        raise cancelled
    ended.result()
    return study


def _in_loop(loop: asyncio.AbstractEventLoop, callback: Callback) -> Callback:
    """Return a callback that is called by an event loop while the caller, in another thread, waits."""

    async def called(study: Study, trial: Trial) -> object:
        found = callback(study, trial)
        return await found if isawaitable(found) else found

    return lambda study, trial: asyncio.run_coroutine_threadsafe(called(study, trial), loop).result()
