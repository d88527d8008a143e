"""The loop behind ``autotune run``: ask, place, measure, commit, until the budget is spent."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from autotune.attempts import awaits_default, build_executor, make_job, resources_of
from autotune.confirm import next_confirmation
from autotune.core.failpoint import failpoint
from autotune.core.measurement import Cause, Failure, Measurement
from autotune.core.trial import Reason, Trial, TrialState
from autotune.errors import EnvironmentProblem, StudyError
from autotune.executor.base import AttemptResult, Executor
from autotune.report.view import StudyView, View
from autotune.spec.study_file import StudySpec
from autotune.stopping import Stopping
from autotune.study import LEDGER_NAME, Study, state_of
from autotune.systems.base import System
from autotune.systems.registry import build_system
from autotune.tracking.base import Mirror
from autotune.watch import next_watch

MAX_ATTEMPTS = 3
"""Attempts of a trial that the world, not the configuration, keeps failing."""

BREAKER = 5
"""Attempts in a row lost to the world before the study stops: the machine is ill, not the trials."""

POLL_S = 0.25
"""Longest time between two looks at signals, deadlines and the screen."""

MIRROR_START_S = 20.0
"""Longest wait for the tracking library to finish loading, which would disturb the first measurement."""

MIRROR_FLUSH_S = 15.0
"""Longest wait for the mirror at the end; ``autotune sync`` does what is left."""

_log = logging.getLogger("autotune.runner")


@dataclass(frozen=True)
class RunSummary:
    """Say how a run ended.

    Args:
        view: Last state of the study.
        state: ``completed``, ``converged``, ``exhausted``, ``interrupted`` or ``out of time``.
        mirror_pending: Items that the tracking store does not have yet.
    """

    view: StudyView
    state: str
    mirror_pending: int = 0


def run_study(
    spec: StudySpec,
    *,
    store: Path,
    view: View,
    new: bool = False,
    widen: bool = False,
    local: bool = False,
    tracking: bool = True,
    make_executor: Callable[[StudySpec, bool], Executor] | None = None,
) -> RunSummary:
    """Create or resume the study of a file and run it to the end of its budget.

    Args:
        spec: The study file.
        store: Folder of the ledger and of what the trials leave.
        view: Where progress is shown.
        new: Start another study beside one of the same name.
        widen: Go on with a study over another space if all it measured belongs to this one too.
        local: Run attempts in child processes instead of on Ray.
        tracking: Mirror the ledger to MLflow.
        make_executor: Builds the executor; for tests.

    Raises:
        AutotuneError: The study cannot start, or the machine fails attempt after attempt.
    """
    store = store.resolve()
    store.mkdir(parents=True, exist_ok=True)
    system = build_system(spec.system)
    with ExitStack() as stack:
        study, resumed = _open_study(spec, store, new, widen)
        stack.callback(study.close)
        stack.enter_context(study.ledger.lock_study(study.name))
        stop = stack.enter_context(_signals())
        mirror = _start_mirror(spec, study) if tracking and spec.tracking.mlflow else None
        if mirror is not None:
            stack.callback(lambda: mirror.close(0.0))
        system.prepare(log=view.message)
        executor = (make_executor or build_executor)(spec, local)
        stack.callback(executor.close)
        executor.start()
        loop = _Loop(spec, study, system, executor, mirror, view, store, stop, resumed)
        if mirror is not None:
            mirror.ready.wait(MIRROR_START_S)
        view.start(loop.view())
        state = loop.run()
        executor.close()
        study.ledger.set_study_state(study.name, "INTERRUPTED" if state == "interrupted" else "COMPLETED")
        pending = 0 if mirror is None else mirror.close(MIRROR_FLUSH_S).pending
        return RunSummary(loop.view(state), state, pending)


def _open_study(spec: StudySpec, store: Path, new: bool, widen: bool) -> tuple[Study, bool]:
    path = store / LEDGER_NAME
    name = spec.name
    engine = dict(spec.engine)
    seed = int(engine.pop("seed", 0))
    if new and path.exists():
        from autotune.ledger import Ledger

        with Ledger.open(path, read_only=True) as ledger:
            name = ledger.unused_name(name)
    study = Study(
        spec.space,
        spec.objective,
        engine=engine,
        seed=seed,
        name=name,
        path=path,
        budget=spec.budget.trials,
        spec=spec.to_dict(),
        widen=widen,
    )
    row = study.ledger.study(name)
    assert row is not None  # noqa: S101 - Study created it
    stored, now = row.spec, spec.to_dict()
    for section in ("system", "workload", "quality"):
        if (stored.get(section) or {}) != (now.get(section) or {}):
            study.close()
            raise StudyError(
                f"study {name!r} was measured with another {section}: "
                f"{stored.get(section)} -> {now.get(section)}",
                hint="use another name, or --new to start another study beside it",
            )
    if stored != now:  # another budget, objective or engine over the same measurements
        study.ledger.set_study_spec(name, now)
    return study, bool(study.trials)


def _start_mirror(spec: StudySpec, study: Study) -> Mirror:
    from autotune.tracking.mlflow import MlflowMirror

    assert study.path is not None and spec.tracking.mlflow is not None  # noqa: S101, PT018 - as called
    mirror = MlflowMirror(
        study.path,
        study.name,
        tracking_uri=spec.tracking.mlflow,
        experiment=spec.tracking.experiment or study.name,
    )
    mirror.start()
    return mirror


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """Turn SIGINT, SIGTERM and SIGHUP into an event; a second SIGINT raises KeyboardInterrupt."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handler(number: int, _frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, handler) for number in numbers]
    try:
        yield stop
    finally:
        for number, old in zip(numbers, before, strict=True):
            signal.signal(number, old)


@dataclass
class _Loop:
    """Hold what the loop needs from one turn to the next."""

    spec: StudySpec
    study: Study
    system: System
    executor: Executor
    mirror: Mirror | None
    screen: View
    store: Path
    stop: threading.Event
    resumed: bool
    running: dict[tuple[int, int], int] = field(default_factory=dict)
    lost_in_a_row: int = 0
    exhausted: bool = False

    def __post_init__(self) -> None:
        budget = self.spec.budget
        self.stopping = Stopping(self.study, budget.stop_when, budget.trials)
        self.started_ns = time.time_ns()
        notes = self.study.ledger.study_notes(self.study.name)
        self.spent_before_s = float(notes.get("spent_s", 0.0))
        self.began = time.monotonic()
        for trial in self.study.trials:
            if trial.state is TrialState.RUNNING:  # in flight when an earlier run was killed
                self.study.requeue(trial.number)
        self.study.ledger.set_study_state(self.study.name, "RUNNING")

    @property
    def spent_s(self) -> float:
        """Seconds spent on the study, earlier runs included."""
        return self.spent_before_s + time.monotonic() - self.began

    @property
    def out_of_time(self) -> bool:
        limit = self.spec.budget.time_s
        return limit is not None and self.spent_s >= limit

    def view(self, state: str = "running") -> StudyView:
        return StudyView(
            name=self.study.name,
            space=self.study.space,
            objective=self.study.anchored,
            trials=tuple(self.study.trials),
            state=state,
            budget_trials=self.spec.budget.trials,
            budget_seconds=self.spec.budget.time_s,
            confirm=self.spec.budget.confirm,
            started_ns=self.started_ns,
            now_ns=time.time_ns(),
            running=tuple((number, attempt, start) for (number, attempt), start in self.running.items()),
            ledger=str(self.study.path),
            tracking=self.spec.tracking.mlflow or "" if self.mirror is not None else "",
            resumed=self.resumed,
            stopped=self.stopping.reason,
        )

    def run(self) -> str:
        """Run until the budget is spent, nothing is left to gain or try, time is up or somebody stops it."""
        while not self.stop.is_set():
            if self.out_of_time:
                self._give_up()
                return "out of time"
            self._fill()
            if not self.running:
                if self.stopping.reason:
                    return "converged"
                return "exhausted" if self.exhausted else "completed"
            for result in self.executor.wait(POLL_S):
                self._commit(result)
            self.screen.update(self.view())
        self._put_back()
        return "interrupted"

    def _fill(self) -> None:
        """Start trials while there is room and budget."""
        while not self.stop.is_set():
            trial = self._next()
            if trial is None:
                return
            if awaits_default(self.spec, trial.config, self.study.trials):
                return
            resources = resources_of(self.spec, self.system, trial.config)
            room = self._room(resources)
            if room == 0 and not self.running:
                self._refuse(trial, resources)
                continue
            if len(self.running) >= room:
                return
            self._submit(trial, resources)

    def _room(self, resources: Mapping[str, float]) -> int:
        room = self.executor.capacity(resources)
        wanted = self.spec.budget.parallel
        return room if wanted == "auto" else min(room, int(wanted))

    def _next(self) -> Trial | None:
        """Return a waiting trial, or ask for one when a place is free for it."""
        waiting = [t for t in self.study.trials if t.state is TrialState.WAITING]
        if waiting:
            return waiting[0]
        if self.running and len(self.running) >= self._room({}):
            return None
        budget = self.spec.budget
        again = next_watch(self.study.trials, self.study.space, budget.watch, budget.trials)
        if again is not None and not self.stopping.reason:
            return self.study.suggest(again)
        extra = (Reason.CONFIRM, Reason.WATCH)
        planned = [t for t in self.study.trials if t.suggestion.reason not in extra]
        if len(planned) < budget.trials and not self.exhausted and not self._converged():
            asked = self.study.ask(1)
            if asked:
                return asked[0]
            self.exhausted = True
        if self.running and len(self.running) >= self._room({}):
            return None
        confirmation = next_confirmation(
            self.study.trials,
            self.study.anchored,
            self.study.space,
            self.spec.budget.confirm,
            self.study.seed,
            self.study.to_confirm,
        )
        return None if confirmation is None else self.study.suggest(confirmation)

    def _converged(self) -> bool:
        """Return whether the search is over before its budget; say so once."""
        known, now = self.stopping.reason, self.stopping()
        if now and not known:
            self.screen.message(f"no more trials: {self.stopping.reason}")
        return now

    def _refuse(self, trial: Trial, resources: Mapping[str, float]) -> None:
        """Close a trial that no node can ever hold, with the numbers."""
        attempt = self.study.start_attempt(trial.number, executor=self.executor.name)
        message = f"needs {dict(resources)}, which no node of this cluster has"
        failure = Measurement(
            failure=Failure(Cause.REJECTED_FLAGS, message), started_ns=time.time_ns(), ended_ns=time.time_ns()
        )
        self._enter(trial.number, attempt, failure, TrialState.INFEASIBLE, "")

    def _submit(self, trial: Trial, resources: Mapping[str, float]) -> None:
        attempt_no = trial.attempts + 1
        scratch = self.store / self.study.name / f"trial-{trial.number:04d}" / f"attempt-{attempt_no}"
        attempt = self.study.start_attempt(trial.number, executor=self.executor.name, scratch=str(scratch))
        failpoint("runner.submit")
        job = make_job(
            self.spec, self.study.name, trial.config, resources, scratch, trial=trial.number, attempt=attempt,
            history=self.study.trials, objective=self.study.anchored,
        )  # fmt: skip
        self.running[trial.number, attempt] = time.time_ns()
        self.executor.submit(job)
        self.screen.update(self.view())

    def _commit(self, result: AttemptResult) -> None:
        """Commit a result; a trial whose attempt the world failed goes back to the queue a few times."""
        _, number, attempt = result.key
        self.running.pop((number, attempt), None)
        state = state_of(result.measurement)
        if state is TrialState.FAILED:
            self.lost_in_a_row += 1
            if self.study.trials[number].attempts < MAX_ATTEMPTS and self.lost_in_a_row < BREAKER:
                state = TrialState.WAITING
        else:
            self.lost_in_a_row = 0
        failpoint("runner.commit")
        self._enter(number, attempt, result.measurement, state, result.node)
        if self.lost_in_a_row >= BREAKER:
            failure = result.measurement.failure
            self._put_back()
            raise EnvironmentProblem(
                f"{BREAKER} attempts in a row failed through no fault of their configuration; "
                f"the last: {failure.cause.value if failure else ''}: {failure.message if failure else ''}",
                hint=f"see the logs under {self.store / self.study.name}; running the same command goes on",
            )

    def _enter(
        self, number: int, attempt: int, measurement: Measurement, state: TrialState, node: str
    ) -> None:
        self.study.finish_attempt(number, attempt, measurement, state=state, node=node)
        self.study.ledger.set_study_note(self.study.name, "spent_s", self.spent_s)
        if self.mirror is not None:
            self.mirror.notify()
        failure = measurement.failure
        if failure is not None:
            again = ", will be tried again" if state is TrialState.WAITING else ""
            self.screen.message(f"trial {number}: {failure.cause.value}: {failure.message}{again}")

    def _put_back(self) -> None:
        """Stop what runs and put its trials back to the queue, for whoever resumes the study."""
        self.executor.cancel()
        for number, _ in list(self.running):
            self.study.requeue(number)
        self.running.clear()
        self.study.ledger.set_study_note(self.study.name, "spent_s", self.spent_s)

    def _give_up(self) -> None:
        self.executor.cancel()
        for trial in self.study.trials:
            if not trial.state.finished:
                self.study.abandon(trial.number)
        self.running.clear()
