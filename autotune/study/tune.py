"""``tune``: the whole loop over a Python function in one call.

A new trial starts as soon as a place is free; trials still running are taken into account when the next one
is proposed. ``MemoryError`` (or a library's own error for it) means ``out_of_memory``, an
:class:`~autotune.core.measurement.Infeasible` what it says, any other exception ``crashed_under_load``,
with its traceback kept; all teach the engine to stay away. A result without a goal or the metric of a
limit, or with NaN there, is ``wrong_output``.

An exception of the first trial, the default configuration, is a mistake in the function rather than the
configuration's: it is raised as it is, and no trial is charged. The same holds for a message with which the
first three configurations fail, and for a result without metrics. Whatever interrupts the search carries
the study with all that was measured as its attribute ``study``.

A callback is told of a trial after its commit, so nothing that it does can lose a measurement.
``StopStudy``, or ``study.stop()``, ends the search: what runs is measured to its end, what waits stays for
the next call. Any other exception ends it at once and is raised as it is; what runs is put back.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, signature
from pathlib import Path

from autotune.core.arguments import check_arguments, read_count
from autotune.core.dependencies import need
from autotune.core.kinds import Number
from autotune.core.objective import Objective
from autotune.core.redact import redact
from autotune.core.start import named_start
from autotune.core.trial import Config, TrialState
from autotune.core.units import counted
from autotune.engine.base import Engine, libraries
from autotune.errors import LedgerError, SpecError
from autotune.executor.function import (
    ASYNC_HINT,
    IS_ASYNC,
    Function,
    FunctionExecutor,
)
from autotune.ledger import study_lock
from autotune.report.notebook import choose_progress
from autotune.report.view import Kind, View
from autotune.spec.hooks import Hooks
from autotune.spec.sections import Tracking, read_tracking
from autotune.study.driver import Callback, Driver
from autotune.study.function_jobs import FunctionJobs
from autotune.study.hooks import read_argument, start_hooks
from autotune.study.mirroring import MIRROR_FLUSH_S, MIRROR_START_S, start_mirror
from autotune.study.report import write_at_end
from autotune.study.scheduler import Settings
from autotune.study.study import SpaceLike, Study, ledger_path, read_space
from autotune.tracking.base import Mirror

_log = logging.getLogger("autotune.study")


@check_arguments(
    "space",
    "function",
    "objective",
    "trials",
    "parallel",
    "stop_when",
    "engine",
    "seed",
    "name",
    "path",
    "timeout",
    "start",
    "callbacks",
    "progress",
    "mlflow",
    "on",
)
def tune(
    space: SpaceLike,
    function: Function,
    objective: Objective | Mapping[str, object],
    *,
    trials: int = 40,
    parallel: int = 1,
    stop_when: str = "budget",
    engine: str | Mapping[str, object] | Engine = "gp",
    seed: int = 0,
    name: str = "study",
    path: str | Path | None = None,
    ray: bool = False,
    timeout: float | str | None = None,
    start: Sequence[Mapping[str, object]] = (),
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
    mlflow: bool | str | Mapping[str, object] | None = None,
    on: Mapping[str, object] | None = None,
) -> Study:
    """Find the best configuration of a Python function; the module says how what it raises is judged.

    Args:
        space: Search space; a name of the catalogue, a file, a mapping or a list of parameters is read.
        function: Function that takes a configuration and returns its metrics; a single number stands for the
            first goal.
        objective: Objective; a mapping is read by :meth:`Objective.from_dict`.
        trials: Budget; trials that ``path`` already holds count.
        parallel: Number of calls at once: threads of this process, or tasks on a Ray cluster.
        stop_when: ``budget``, or ``converged``: as soon as one more trial is not worth it;
            :attr:`Study.stopped` then says why. A larger budget, or ``budget``, goes on.
        engine: Name of the engine, its section of a study file, or an engine itself.
        seed: Seed of the engine.
        name: Name of the study within its ledger.
        path: Ledger that makes the study durable, with a report beside it; the same one again goes on.
        ray: Whether to run the calls on Ray: the cluster of ``RAY_ADDRESS``, or a local one.
        timeout: Time budget in seconds, or with its unit (``"2 h"``), that of earlier calls on the same
            ``path`` included. A call that runs when it is over is given up; its thread is not waited for.
        start: Configurations that are measured first, after the default; parameters that one leaves out take
            their defaults. They count as trials.
        callbacks: Functions called as ``callback(study, trial)`` by this thread once a trial is over and
            committed. ``StopStudy``, or ``study.stop()``, ends the search; any other exception is raised.
        progress: Whether to show progress on standard error, or in a notebook's cell: a live view, plain
            lines where nobody sees it change. By default in a terminal and in a notebook only.
        mlflow: Address of an MLflow store to mirror the study to, as `autotune run` does; ``True`` for
            that of ``MLFLOW_TRACKING_URI`` or ``sqlite:///mlflow.db``; or the section ``tracking`` of a study
            file, ``{"mlflow": address, "experiment": name}``. It needs ``path``.
        on: Web hooks that are told of trials and of the end, as the section ``on`` of a study file has them.

    Returns:
        The study, with :attr:`Study.result`, :attr:`Study.best` and all trials.

    Raises:
        SpecError: An argument is wrong, or a result has no metric, or one in a unit of another dimension.
        KeyboardInterrupt: Ctrl-C; what was measured is in its ``study``, and in ``path``.
    """
    check_call(function, trials, parallel)
    if iscoroutinefunction(function):
        raise SpecError(IS_ASYNC, hint=ASYNC_HINT)
    space = read_space(space)
    search = Search(
        time_s=read_timeout(timeout),
        start=named_start(space, start, trials),
        callbacks=read_callbacks(callbacks),
        tracking=read_mlflow(mlflow, path),
        screen=read_progress(progress),
        hooks=read_argument(on),
    )
    file = None if path is None else ledger_path(path)
    with ExitStack() as stack:
        if file is not None:  # before the study is read: what another one writes until then would be missed
            stack.enter_context(study_lock(file, name, again=False))
        study = Study(
            space, objective, engine=engine, seed=seed, name=name, path=file, budget=trials, spec=search.spec
        )
        executor = FunctionExecutor(function, study.objective.units, parallel, on_ray=ray)
        search.run(study, trials, stop_when, executor)
    return study


def check_call(function: object, trials: int, parallel: int) -> None:
    """Refuse what cannot be called, and numbers that are none."""
    read_count(trials, "trials", 1)
    read_count(parallel, "parallel", 1)
    if not callable(function):
        raise SpecError(f"function must be callable, found {function!r}")


def read_timeout(timeout: float | str | None) -> float | None:
    """Return the time budget in seconds."""
    return None if timeout is None else Number("s", above=0.0, example="2 h").read(timeout, "timeout")


@dataclass(frozen=True)
class Search:
    """A search as its caller wants it.

    Args:
        time_s: Budget of time in seconds; ``None`` without a limit.
        start: Configurations that are measured first.
        callbacks: Functions that are told of each trial.
        tracking: The mirror; ``None`` without one.
        screen: View on which progress is shown; ``None`` for none.
        hooks: Receivers of its events.
    """

    time_s: float | None
    start: tuple[Config, ...]
    callbacks: tuple[Callback, ...]
    tracking: Tracking | None
    screen: View | None
    hooks: Hooks

    @property
    def spec(self) -> dict[str, object] | None:
        """Whatever the ledger keeps of it."""
        return None if self.tracking is None else {"tracking": self.tracking.to_dict()}

    def run(
        self,
        study: Study,
        trials: int,
        stop_when: str,
        executor: FunctionExecutor,
        stop: threading.Event | None = None,
    ) -> None:
        """Run a study to the end of its budget, or until somebody sets ``stop``.

        Raises:
            EnvironmentProblem: A library that the engine needs is not installed here.
        """
        need(libraries(study.engine))
        settings = Settings(
            study.space, study.objective, trials, self.time_s, parallel=executor.parallel, seed=study.seed
        )
        store = "" if self.tracking is None else self.tracking.mlflow or ""
        screen = self.screen
        with ExitStack() as stack:
            stack.callback(executor.close)
            told = start_hooks(self.hooks, study, _log.warning if screen is None else screen.message)
            stack.enter_context(told)
            driver = Driver(
                study, settings, FunctionJobs(), executor, stop_when=stop_when, screen=screen,
                resumed=bool(study.trials), tracking=store, start=self.start,
                callbacks=(*self.callbacks, *told.callbacks), stop=stop or threading.Event(),
            )  # fmt: skip
            if self.tracking is not None:
                driver.mirror = start_mirror(self.tracking, study)
            if driver.mirror is not None:
                stack.callback(_end_mirror, driver.mirror, study, screen)
                driver.mirror.ready.wait(MIRROR_START_S)
            try:
                driver.start_executor()
                if screen is not None:
                    stack.callback(screen.close)
                    screen.start(driver.view())
                state = driver.run()
                if state == "interrupted":
                    return
                study.ledger.set_study_state(study.name, "COMPLETED")
                study.ledger.ensure_kept()
                report = write_at_end(study, driver.mirror)
                told.on_end(driver.view, state, report)
                if screen is not None:
                    screen.finish(driver.view("completed"), str(study.result))
            except BaseException as error:
                _keep(study, error)
                raise


def _keep(study: Study, error: BaseException) -> None:
    """Put back what ran when a search was interrupted, and attach the study to what interrupted it."""
    with suppress(LedgerError):  # what is raised says what became of it
        study.put_back()
    error.study = study  # type: ignore[attr-defined]
    measured = sum(trial.state is TrialState.COMPLETED for trial in study.trials)
    if measured or study.path is not None:
        where = f", as has {study.ledger.path}" if study.path is not None else ""
        kept = counted(measured, "measured trial")
        error.add_note(f"the `study` of this exception has {kept}{where}")


def _end_mirror(mirror: Mirror, study: Study, screen: View | None) -> None:
    """Wait for the mirror, and say what it lacks."""
    left = mirror.close(MIRROR_FLUSH_S)
    if not left.pending and not left.errors:
        return
    why = f" ({redact('; '.join(left.errors))})" if left.errors else ""
    text = f"{left.pending or 'some'} items of study {study.name!r} are not in MLflow yet{why}"
    if screen is not None:
        screen.message(text, Kind.LOSS)
    else:
        _log.warning("%s", text)


def read_callbacks(callbacks: Sequence[Callback], *, may_wait: bool = False) -> tuple[Callback, ...]:
    """Return the callbacks that an argument gives; only an event loop waits for one."""
    if callable(callbacks) or isinstance(callbacks, str) or not isinstance(callbacks, Sequence):
        raise SpecError(f"callbacks must be a list of functions, found {callbacks!r}")
    for i, callback in enumerate(callbacks):
        unrun = iscoroutinefunction(callback) and not may_wait
        unrun |= isgeneratorfunction(callback) or isasyncgenfunction(callback)
        if not callable(callback) or unrun or not _takes_two(callback):
            raise SpecError(f"callbacks[{i}] must be a function of (study, trial), found {callback!r}")
    return tuple(callbacks)


def _takes_two(callback: Callable[..., object]) -> bool:
    """Return whether a callback may be called with a study and a trial, as far as it says what it takes."""
    try:
        taken = signature(callback, follow_wrapped=False)  # what wraps a function takes what it likes
    except (TypeError, ValueError):  # of compiled code
        return True
    try:
        taken.bind(None, None)
    except TypeError:
        return False
    return True


def read_progress(progress: bool | None) -> View | None:
    """Return the view that an argument asks for; ``None`` for where somebody sees it."""
    if progress is not None and not isinstance(progress, bool):
        raise SpecError(f"progress must be True, False or None, found {progress!r}")
    return choose_progress(sys.stderr, progress)


def read_mlflow(mlflow: object, path: object) -> Tracking | None:
    """Return the mirror that an argument asks for."""
    if mlflow is None or mlflow is False:
        return None
    if not isinstance(mlflow, bool | str | Mapping):
        raise SpecError(
            f"mlflow must be the address of a store, True or a mapping, found {mlflow!r}",
            hint='for example mlflow="sqlite:///mlflow.db" or {"experiment": "chat"}',
        )
    section = {} if mlflow is True else {"mlflow": mlflow} if isinstance(mlflow, str) else mlflow
    try:
        found = read_tracking(section)
    except SpecError as error:
        raise SpecError(f"mlflow: {error.message}", hint=error.hint) from None
    wanted = found.mlflow is not None or bool(found.mirrors)
    if wanted and path is None:
        raise SpecError(
            "mlflow mirrors a ledger, and there is none without path", hint='path="study.sqlite" makes one'
        )
    if found.mlflow is not None:
        need(["mlflow"])
    return found if wanted else None
