"""``tune``: the whole loop over a Python function in one call."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from autotune.core.measurement import Cause, Estimate, Failure, Measurement, as_estimates
from autotune.core.objective import Objective
from autotune.core.space import Space
from autotune.core.trial import Config
from autotune.errors import SpecError
from autotune.ledger import study_lock
from autotune.stopping import Stopping
from autotune.study import Study, state_of

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
    next one is proposed. A function that raises ``MemoryError`` reports ``out_of_memory``; any other
    exception means ``crashed_under_load``, with its traceback kept. Both teach the engine to stay away.

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
        SpecError: An argument is wrong, or the function returned something that is not metrics.
    """
    if trials < 1 or parallel < 1:
        raise SpecError(f"trials and parallel must be at least 1, found {trials!r} and {parallel!r}")
    with ExitStack() as stack:
        if path is not None:  # before the study is read: what another one writes until then would be missed
            stack.enter_context(study_lock(Path(path), name))
        study = Study(space, objective, engine=engine, seed=seed, name=name, path=path, budget=trials)
        stopping = Stopping(study, stop_when, trials)
        goal = study.objective.goals[0].metric
        submit = stack.enter_context(_ray_calls() if ray else _ThreadCalls(parallel))
        running: dict[Future[Measurement], tuple[int, int]] = {}
        for trial in study.trials:  # in flight when an earlier call was killed
            if not trial.state.finished and trial.attempts:
                study.requeue(trial.number)
        waiting = [t for t in study.trials if not t.state.finished]
        while True:
            while len(running) < parallel:
                asked = waiting[:1]
                if not asked and len(study.trials) < trials and not stopping():
                    asked = study.ask(1)
                if not asked:
                    break
                waiting = waiting[1:]
                number = asked[0].number
                attempt = study.start_attempt(number, executor="ray" if ray else "threads")
                running[submit(_call, function, dict(asked[0].config), goal)] = (number, attempt)
            if not running:
                return study
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                number, attempt = running.pop(done)
                measurement = done.result()
                study.finish_attempt(number, attempt, measurement, state=state_of(measurement))


def _call(function: Function, config: Config, goal: str) -> Measurement:
    started = time.time_ns()
    failure = None
    metrics: dict[str, Estimate] = {}
    try:
        found = function(config)
    except MemoryError as error:
        failure = Failure(Cause.OUT_OF_MEMORY, str(error), traceback.format_exc())
    except Exception as error:  # noqa: BLE001 - the user's function: whatever it raises is its answer
        failure = Failure(
            Cause.CRASHED_UNDER_LOAD, f"{type(error).__name__}: {error}", traceback.format_exc()
        )
    else:
        metrics = as_estimates(found if isinstance(found, Mapping) else {goal: found})
    return Measurement(metrics=metrics, failure=failure, started_ns=started, ended_ns=time.time_ns())


class _ThreadCalls(ThreadPoolExecutor):
    """Threads, called like a function."""

    def __enter__(self) -> Callable[..., Future[Measurement]]:  # type: ignore[override]
        super().__enter__()
        return self.submit


def _ray_calls() -> Any:
    from autotune.executor.ray import function_calls

    return function_calls()
