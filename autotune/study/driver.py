"""The driver of a study: carries out what the scheduler decides, and commits what comes of it.

It alone talks to the ledger, the executor, the clock and the screen: `autotune run`, a sweep and `tune`
differ in their executor and in the jobs they give it. Whatever is waited for has a deadline: an attempt by
the limits of its phases, a node that went away, and the study itself by its time budget. Results may come
twice, late, in any order or not at all; each attempt enters the history once.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from inspect import isasyncgen, iscoroutine, isgenerator
from typing import Protocol, TypeAlias

from autotune.analysis.study_view import TIME_IS_OVER, StudyView
from autotune.core.failpoint import failpoint
from autotune.core.measurement import EXPIRED, Cause, Failure, Measurement
from autotune.core.mistake import complete
from autotune.core.registry import shown
from autotune.core.trial import Config, Reason, Suggestion, Trial, TrialState, config_key
from autotune.errors import EnvironmentProblem, LedgerError, SpecError, StopStudy
from autotune.executor.base import AttemptResult, Executor, FairlyShared, Job, Shared
from autotune.report.text import show_seconds
from autotune.report.view import View
from autotune.spec.stored import StoredSpec
from autotune.study import scheduler
from autotune.study.mistakes import Mistake, acquit, judge
from autotune.study.reading import options_of
from autotune.study.retries import Retries
from autotune.study.scheduler import Running, Settings, State
from autotune.study.share_note import SHARE
from autotune.study.stopping import Stopping
from autotune.study.study import CALLED_BACK, Study, state_of
from autotune.tracking.base import Mirror

TOGETHER_S = 0.03
"""Time window in which suggestions are collected into one commit, which costs milliseconds."""

POLL_S = 0.25
"""Longest time between two looks at signals, deadlines and the screen."""

SHARED_S = 5.0
"""Least time between two notes in the ledger of what share of the nodes the study has."""

SIGNALLED_S = 0.3
"""Longest wait for a signal of our own after a failure that one to every process at once may have caused."""

_BY_SIGNAL = re.compile(r"\bSIG(TERM|INT|HUP)\b")

_log = logging.getLogger("autotune.study")

Callback: TypeAlias = Callable[[Study, Trial], object]
"""What is called with the study and a trial that is over; what it returns is ignored."""


def _refuse_unrun(found: object, callback: Callback) -> None:
    """Refuse what a callback returned where nobody runs it: a coroutine or a generator.

    Raises:
        SpecError: It is one.
    """
    if not (iscoroutine(found) or isgenerator(found) or isasyncgen(found)):
        return
    if iscoroutine(found):
        found.close()  # or Python warns that it was never awaited
    raise SpecError(
        f"the callback {shown(callback)} returned a {type(found).__name__}, which nobody runs",
        hint="a callback is a plain function of (study, trial); tune_async awaits async ones",
    )


def _may_be_signalled(result: AttemptResult) -> bool:
    """Return whether a failure may come of a signal that ends the run, and of no configuration."""
    failure = result.measurement.failure
    if failure is None:
        return False
    by_signal = _BY_SIGNAL.search(failure.message) is not None
    return by_signal or state_of(result.measurement) is not TrialState.INFEASIBLE


class Jobs(Protocol):
    """The jobs of a study's trials: they measure a system of a study file, or a Python function."""

    def resources(self, config: Config) -> dict[str, float]:
        """Return the resources that a configuration needs."""

    def any_fits(self, executor: Executor) -> bool:
        """Return whether an executor could ever place some configuration."""

    def scratch(self, trial: int, attempt: int) -> str:
        """Return the folder of an attempt; empty where it needs none."""

    def job(self, trial: Trial, attempt: int, resources: Mapping[str, float], study: Study) -> Job:
        """Return the job of an attempt."""

    def error(self, mistake: Mistake) -> Exception:
        """Return the error that ends a study whose owner made a mistake."""


@dataclass(frozen=True)
class _Room:
    """The room that an executor has now, for what the scheduler asks."""

    jobs: Jobs
    executor: Executor
    starting: Sequence[Mapping[str, float]]

    def needs(self, config: Config) -> Mapping[str, float]:
        return self.jobs.resources(config)

    def shortage(self, config: Config) -> str:
        return self.executor.shortage(self.needs(config))

    def places(self, config: Config) -> int:
        return self.executor.capacity(self.needs(config))

    def free(self, config: Config, beside: Sequence[Config]) -> bool:
        others = [*self.starting, *(self.needs(other) for other in beside)]
        return self.executor.has_room(self.needs(config), others)

    def held(self, config: Config) -> str:
        return self.executor.held(self.needs(config)) if isinstance(self.executor, Shared) else ""

    def waits_elsewhere(self, config: Config, avoid: Sequence[str], beside: Sequence[Config]) -> bool:
        if not avoid or not isinstance(self.executor, Shared):
            return False
        others = [*self.starting, *(self.needs(other) for other in beside)]
        return self.executor.waits_elsewhere(self.needs(config), avoid, others)

    def nodes(self) -> int:
        return len(self.executor.nodes())


@dataclass
class Driver:
    """The driver of one run of a study.

    Args:
        study: Study, which nobody else drives.
        settings: Settings of the study.
        jobs: Its trials as jobs.
        executor: Executor of the jobs.
        stop_when: Condition that may end the search before its budget.
        mirror: Tracking store that is told of results; ``None`` without.
        screen: View on which progress is shown; ``None`` for none.
        stop: Event, set by whoever wants the study to end.
        resumed: Whether earlier runs left trials.
        tracking: Address of the tracking store, for the screen.
        start: Configurations that are measured first, after the default.
        callbacks: Functions called with the study and each trial once it is over and committed; what one
            raises ends the run, and everything measured is kept.
    """

    study: Study
    settings: Settings
    jobs: Jobs
    executor: Executor
    stop_when: str = "budget"
    mirror: Mirror | None = None
    screen: View | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    resumed: bool = False
    tracking: str = ""
    start: Sequence[Config] = ()
    callbacks: Sequence[Callback] = ()

    def __post_init__(self) -> None:
        self.stopping = Stopping(self.study, self.stop_when, self.settings.trials)
        self.started_ns = time.time_ns()
        row = self.study.ledger.study(self.study.name)
        self._spec = StoredSpec() if row is None else StoredSpec(row.spec)
        self._identity = ("", "") if row is None else (row.uid, row.label)
        self._shared: tuple[float, object] = (0.0, None)  # when its share was noted, and what that was
        notes = self.study.ledger.study_notes(self.study.name)
        self.spent_before_s = float(notes.get("spent_s", 0.0))
        self._options = () if row is None else tuple(options_of(row))
        self.began = time.monotonic()
        self._running: dict[tuple[int, int], tuple[int, float]] = {}  # when it began (ns), when it ends (s)
        self._arrived: list[AttemptResult] = []  # not committed yet
        self._starting: list[tuple[Trial, int, Mapping[str, float]]] = []  # committed, not submitted yet
        self._retries = Retries()
        self._nodes: tuple[str, ...] = ()
        self._exhausted = self._is_complete = False
        self._idle_since: float | None = None
        self._said = False
        self._ask_s = TOGETHER_S  # that the last ask took: not known yet
        self._mistake: Mistake | None = None
        self._over: list[int] = []  # trials that are over, and of which the callbacks were not told
        self._mirror_outdated = False  # something was entered of which the mirror was not told
        self.study.put_back()  # what was in flight when an earlier run was killed
        self.study.reopen_mistakes()

    @property
    def spent_s(self) -> float:
        """Seconds spent on the study, earlier runs included."""
        return self.spent_before_s + time.monotonic() - self.began

    def view(self, state: str = "running") -> StudyView:
        """Return what is known of the study now."""
        return StudyView(
            name=self.study.name,
            space=self.study.space,
            objective=self.study.anchored,
            trials=tuple(self.study.trials),
            state=state,
            budget_trials=self.settings.trials,
            budget_seconds=self.settings.time_s,
            confirm=self.settings.confirm,
            predictions=None if state == "running" else self.study.predictions,
            started_ns=self.started_ns,
            now_ns=time.time_ns(),
            running=tuple((number, attempt, ns) for (number, attempt), (ns, _) in self._running.items()),
            ledger="" if self.study.path is None else str(self.study.path),
            options=self._options,
            tracking=self.tracking,
            resumed=self.resumed,
            stopped=self.stopping.reason,
            spec=self._spec,
        )

    def run(self) -> str:
        """Run until the budget is spent, nothing is left to gain or try, time is up or somebody stops it.

        Its executor runs: :meth:`start_executor` comes first.

        Returns:
            The state of the study: ``completed``, ``converged``, ``exhausted``, ``interrupted`` or
            ``out of time``.

        Raises:
            EnvironmentProblem: The machines fail attempt after attempt, or are gone, or lack what every trial
                needs; the same command goes on with the study.
            SpecError: The study's owner made a mistake that fails every trial, such as a misspelt function.
        """
        try:
            self.study.ledger.set_study_state(self.study.name, "RUNNING")
            self._suggest_start()
            if not self._is_complete:
                self._share_nodes()
            while (end := self._carry_out()) is None:
                self._share_nodes()
                results = self._results()
                if self.stop.is_set():
                    self._arrived += results  # the next turn ends the run, which looks at them
                else:
                    self._commit(results)
                self._show()
            return self._finish(end)
        except (EnvironmentProblem, SpecError) as error:
            if isinstance(error, EnvironmentProblem) and not self.stop.is_set():
                threading.Event().wait(SIGNALLED_S)  # no wait for ours: a handler of this thread may set it
            self._put_back()
            self.executor.cancel()
            if self.stop.is_set() and isinstance(error, EnvironmentProblem):
                return "interrupted"  # the same signal ended what we run on
            raise
        except LedgerError:  # it is another one by now, or has room again for what was measured
            self.study.ledger.make_room()
            with suppress(LedgerError):  # nothing can be written: what is raised says so
                self._put_back()
            raise
        except BaseException:  # asked a second time, or a callback failed: what runs is not waited for
            self._put_back()
            raise

    def start_executor(self) -> None:
        """Start the executor, unless the study has ended: its cluster may be gone.

        Raises:
            EnvironmentProblem: The executor cannot be started or reached.
        """
        self._is_complete = self._is_over()
        if not self._is_complete:
            self.executor.start()

    def _is_over(self) -> bool:
        """Return whether nothing is left to be done, however much room there were.

        Where only the engine can tell it is asked: what it proposes waits for the executor.
        """
        left = scheduler.left(self._state(), self.settings)
        if isinstance(left, scheduler.Ask) and not self._untried_start():
            with self.study.ledger.together():
                self._do(left)
            left = scheduler.left(self._state(), self.settings)
        return left is None and not self._untried_start()

    def _results(self) -> list[AttemptResult]:
        """Wait for results; for a moment more where a signal to every process may come to us last."""
        results = self.executor.wait(POLL_S)
        until = time.monotonic() + SIGNALLED_S
        if any(_may_be_signalled(result) for result in results):
            while not self.stop.is_set() and time.monotonic() < until:
                results = [*results, *self.executor.wait(SIGNALLED_S)]
        return results

    def _suggest_start(self) -> None:
        """Commit the configurations to start with that were not tried, after the default."""
        with self.study.ledger.together():
            for config in self._untried_start():
                reason = Reason.DEFAULT if config_key(config) == self.settings.default_key else Reason.START
                self.study.suggest(Suggestion(config, reason, engine="start"))

    def _untried_start(self) -> list[Config]:
        """Return the configurations to start with that were not tried and that the budget holds."""
        wanted = {config_key(c): c for c in ((self.settings.default, *self.start) if self.start else ())}
        known = {trial.key for trial in self.study.trials} if wanted else set()
        late = self.settings.time_is_over(self.spent_s)
        left = 0 if late else max(0, self.settings.trials - self.study.searched)
        return [config for key, config in wanted.items() if key not in known][:left]

    # -- what the scheduler sees -----------------------------------------------------------------------

    def _state(self) -> State:
        now = time.monotonic()
        starting = [Running(trial.number, attempt, float("inf")) for trial, attempt, _ in self._starting]
        running = [Running(*key, ends) for key, (_, ends) in self._running.items()]
        return State(
            trials=self.study.trials,
            unfinished=self._unfinished(),
            searched=self.study.searched,
            room=_Room(self.jobs, self.executor, [needed for *_, needed in self._starting]),
            decide=lambda: self.study.decide(self.settings.confirm),
            now=now,
            spent_s=self.spent_s,
            running=(*running, *starting),
            retries=self._retries,
            nodes=self._nodes,
            converged=bool(self.stopping.reason),
            exhausted=self._exhausted,
            interrupted=self.stop.is_set(),
            idle_s=0.0 if self._idle_since is None else now - self._idle_since,
            said=self._said,
        )

    def _unfinished(self) -> list[Trial]:
        """Return the trials that are not over; where somebody ended the search, without those that wait."""
        found = self.study.unfinished
        if not self.study.stop_asked:
            return found
        return [t for t in found if t.state is TrialState.RUNNING or not t.suggestion.reason.of_search]

    # -- what it decides -------------------------------------------------------------------------------

    def _carry_out(self) -> scheduler.End | None:
        """Carry out actions until nothing but waiting, which gives ``None``, or the end is left."""
        while True:
            # a slow ask stands alone: the transaction that another has begun keeps other writers out
            until = time.monotonic() + (TOGETHER_S if self._ask_s < TOGETHER_S else 0.0)
            with self.study.ledger.together():
                last = self._decide(until)
            self._tell_mirror()
            self._stop_at_mistake()
            self._call_back()
            starting, self._starting = self._starting, []
            for trial, attempt, resources in starting:
                self._submit(trial, attempt, resources)
            if starting:
                self._show()
                continue
            match last:
                case scheduler.End():
                    return last
                case scheduler.GiveUp(late):
                    self._give_up(late)
                case scheduler.Wait(for_room):
                    self._note_idleness(for_room)
                    return None

    def _decide(self, until: float) -> scheduler.Action | None:
        """Carry out what is committed together; return the action that comes after the commit, if any."""
        while True:
            for action in scheduler.schedule(self._state(), self.settings):
                if isinstance(action, scheduler.GiveUp | scheduler.Wait | scheduler.End):
                    return action
                if self._starting and time.monotonic() >= until:
                    return None
                self._do(action)
                if self._mistake is not None:
                    return None

    def _do(self, action: scheduler.Action) -> None:
        match action:
            case scheduler.Start(trial):
                self._start(trial)
            case scheduler.Ask():
                self._ask()
            case scheduler.Replicate(suggestion):
                self.study.suggest(suggestion)
            case scheduler.Refuse(trial, shortage):
                self._refuse(trial, shortage)
            case scheduler.Say(text):
                self._said = True
                self._tell(text)

    def _start(self, trial: Trial) -> None:
        """Commit that the next attempt of a trial begins; it is submitted once that is durable."""
        scratch = self.jobs.scratch(trial.number, trial.attempts + 1)
        attempt = self.study.start_attempt(trial.number, executor=self.executor.name, scratch=scratch)
        self._starting.append((trial, attempt, self.jobs.resources(trial.config)))

    def _submit(self, trial: Trial, attempt: int, resources: Mapping[str, float]) -> None:
        failpoint("runner.submit")
        job = self.jobs.job(trial, attempt, resources, self.study)
        job = replace(job, avoid=self._retries.avoid(trial.number))
        self._running[trial.number, attempt] = time.time_ns(), time.monotonic() + job.limit_s
        self.executor.submit(job)
        failpoint("runner.submitted")

    def _ask(self) -> None:
        """Ask the engine for the next trial of the search, unless it finds that the search is over."""
        if not self.study.queued and self.stopping():
            self._tell(f"no more trials: {self.stopping.reason}")
            return
        began = time.monotonic()
        self._exhausted = not self.study.ask(1)
        self._ask_s = time.monotonic() - began

    def _refuse(self, trial: Trial, shortage: str) -> None:
        """Close a trial that no node can ever hold, with the numbers.

        Where none can hold any configuration it is the owner's mistake.
        """
        attempt = self.study.start_attempt(trial.number, executor=self.executor.name)
        now = time.time_ns()
        fits = self.jobs.any_fits(self.executor)
        failure = Failure(Cause.REJECTED_FLAGS if fits else Cause.OWNER_MISTAKE, shortage)
        if failure.cause is Cause.OWNER_MISTAKE:
            self._mistake = Mistake(trial, failure)
        measurement = Measurement(failure=failure, started_ns=now, ended_ns=now)
        self._enter(trial.number, attempt, measurement, state_of(measurement), "")

    def _give_up(self, late: Running) -> None:
        """Give up an attempt whose result has not come in time; a late one is kept, not told."""
        key = (self.study.name, late.trial, late.attempt)
        began, _ = self._running[late.trial, late.attempt]
        node = self.executor.drop(key)
        now = time.time_ns()
        failure = Failure(Cause.WORKER_LOST, f"no result within {(now - began) / 1e9:.0f} s")
        measurement = Measurement(failure=failure, facts={EXPIRED: True}, started_ns=began, ended_ns=now)
        self._commit([AttemptResult(key, measurement, node)])

    # -- results ---------------------------------------------------------------------------------------

    def _commit(self, results: list[AttemptResult]) -> None:
        """Commit what arrived, all of one turn together; then look which machines there are."""
        if not results:
            return
        failpoint("runner.commit")
        self._arrived += results
        running = dict(self._running)
        try:
            with self.study.ledger.together():
                for result in self._arrived:
                    self._take(result)
                self._keep_time()
        except BaseException:
            self._running = running
            raise
        self._arrived = []
        self._tell_mirror()
        self._stop_at_mistake()
        self._call_back()
        self._nodes = tuple(self.executor.nodes())

    def _take(self, result: AttemptResult) -> None:
        """Enter one result; a trial goes back to the queue after an environment fault, a few times."""
        study, number, attempt = result.key
        if self._running.pop((number, attempt), None) is None or study != self.study.name:
            self._take_stray(result)
            return
        measurement = complete(self.study.checked(result.measurement), self.study.objective)
        failure = measurement.failure
        if failure is not None:
            failure = self._judged(result, failure)
            measurement = replace(measurement, failure=failure)
        state = state_of(measurement)
        if failure is not None and failure.cause is Cause.OWNER_MISTAKE:
            self._mistake = self._mistake or Mistake(self.study.trials[number], failure, result.error)
        else:
            state, self._retries = scheduler.settle(
                self._retries, number, state, failure, result.node, time.monotonic()
            )
        self._enter(number, attempt, measurement, state, result.node)

    def _judged(self, result: AttemptResult, failure: Failure) -> Failure:
        """Return a failure with its true cause.

        What one of several nodes lacks is that node's illness until another one lacks it too.
        """
        if self._mistake is not None:  # the run ends; those that failed alike are acquitted
            return failure
        number = result.key[1]
        raised = result.error is not None and failure.cause is Cause.CRASHED_UNDER_LOAD
        judged = judge(self.study, number, failure, raised=raised)
        nodes = self.executor.nodes()
        elsewhere = [name for name in self._retries.avoid(number) if name != result.node]
        if failure.cause is Cause.OWNER_MISTAKE and len(nodes) > 1 and not elsewhere:
            return replace(failure, cause=Cause.WORKER_LOST)
        return judged

    def _stop_at_mistake(self) -> None:
        """End the run at a mistake of the owner's; the trials that it failed are measured again later.

        Raises:
            SpecError: The study file or what it names is wrong.
            EnvironmentProblem: The machine lacks something.
        """
        if self._mistake is None:
            return
        with self.study.ledger.together():
            others = acquit(self.study, self._mistake.failure)
        self._show()
        raise self.jobs.error(replace(self._mistake, others=others))

    def _take_stray(self, result: AttemptResult) -> None:
        """Keep the result of an attempt that was given up; a second copy of a result changes nothing."""
        study, number, attempt = result.key
        trials = self.study.trials
        known = (
            study == self.study.name and 0 <= number < len(trials) and 1 <= attempt <= trials[number].attempts
        )
        if not known:
            _log.warning(
                "a result of the unknown attempt %s of trial %s of %s is ignored", attempt, number, study
            )
            return
        measurement = self.study.checked(result.measurement)
        self.study.finish_attempt(number, attempt, measurement, state=state_of(measurement), node=result.node)
        _log.info("trial %s: another result of attempt %s is not told", number, attempt)

    def _enter(
        self, number: int, attempt: int, measurement: Measurement, state: TrialState, node: str
    ) -> None:
        self.study.finish_attempt(number, attempt, measurement, state=state, node=node)
        self._mirror_outdated = True
        self._over += [number] if state.finished else []
        failure = measurement.failure
        if failure is not None:
            again = ", will be tried again" if state is TrialState.WAITING else ""
            self._tell(f"trial {number}: {failure.cause.value}: {failure.message}{again}")

    def _tell_mirror(self) -> None:
        """Wake the mirror for what was entered.

        Outside the commit: a mirror that looks before its end would find nothing, and sleep until the next.
        """
        if self._mirror_outdated and self.mirror is not None:
            self.mirror.notify()
        self._mirror_outdated = False

    def _call_back(self) -> None:
        """Tell the callbacks of each trial that is over; a `StopStudy` ends the search."""
        over, self._over = self._over, []
        for number in over if self.callbacks else ():
            trial = self.study.trials[number]
            for callback in self.callbacks:
                telling = CALLED_BACK.set(self.study)
                try:
                    _refuse_unrun(callback(self.study, trial), callback)
                except StopStudy as asked:
                    self.study.stop(str(asked))
                finally:
                    CALLED_BACK.reset(telling)
        if self.study.stop_asked and not self.stopping.reason:
            self.stopping.stop(self.study.stop_asked)

    def _keep_time(self) -> None:
        self.study.ledger.set_study_note(self.study.name, "spent_s", self.spent_s)

    def _share_nodes(self) -> None:
        """Tell an executor whose nodes are shared what the study could run; note what share it has."""
        if not isinstance(self.executor, FairlyShared):
            return
        over = self._exhausted or bool(self.stopping.reason)
        more = 0 if over else self.settings.trials - self.study.searched
        most = max(1, len(self._unfinished()) + max(0, more))
        if self.settings.parallel is not None:
            most = min(most, self.settings.parallel)
        self.executor.plan(*self._identity, self.jobs.resources(self.settings.default), most)
        share = self.executor.share
        said = None if share is None else share.to_dict()
        when, before = self._shared
        if said != before and time.monotonic() - when > SHARED_S:
            self._shared = time.monotonic(), said
            self.study.ledger.set_study_note(self.study.name, SHARE, said)

    def _note_idleness(self, for_room: bool) -> None:
        """Note since when nothing has run for want of room."""
        if not for_room:
            self._idle_since, self._said = None, False
        elif self._idle_since is None:
            self._idle_since = time.monotonic()

    # -- showing ---------------------------------------------------------------------------------------

    def _show(self) -> None:
        if self.screen is not None:
            self.screen.update(self.view())

    def _tell(self, text: str) -> None:
        if self.screen is not None:
            self.screen.message(text)

    # -- ending ----------------------------------------------------------------------------------------

    def _finish(self, end: scheduler.End) -> str:
        """Leave executor and ledger as the end demands; return its state.

        Raises:
            EnvironmentProblem: The machines cannot go on.
        """
        if end.error:
            raise EnvironmentProblem(end.error, hint=end.hint)
        if end.state == "interrupted":
            self._put_back()
            self.executor.cancel()
        elif end.state == "out of time":
            self._commit(self._ended())
            self._abandon()
            if self.settings.time_s is not None:
                self.stopping.stop(f"{TIME_IS_OVER} {show_seconds(self.settings.time_s)} is over")
        return end.state

    def _put_back(self) -> None:
        """Put what runs back to the queue, for whoever resumes the study.

        What has been measured by now is entered: a commit may have waited long for the ledger. Before it is
        stopped: that takes as long as a server's grace, and may be cut short.
        """
        self._arrived += self._ended()
        with self.study.ledger.together():
            for result in self._arrived:
                measured = result.measurement.failure is None
                if measured or not (_may_be_signalled(result) or self._mistake):
                    self._take(result)
            self.study.put_back()
            self._keep_time()
            self.study.ledger.set_study_state(self.study.name, "INTERRUPTED")
        self._arrived = []
        self._tell_mirror()
        self._running.clear()

    def _ended(self) -> list[AttemptResult]:
        """Return the results that have come; none where the executor or the function cannot say any more."""
        try:
            return self.executor.wait(0.0)
        except BaseException:  # noqa: BLE001 - the run ends already, for a reason that is raised
            return []

    def _abandon(self) -> None:
        """Stop what runs: the study's time is over.

        A proposal of the search is given up: with what is known then, another may be better. All else waits
        for whoever gives the study more time: what had not begun, the default, what somebody asked for, and
        the launches that confirm or control.
        """
        self.executor.cancel()
        for trial in self.study.unfinished:
            reason = trial.suggestion.reason
            asked = trial.key == self.settings.default_key or reason in (Reason.START, Reason.ADDED)
            if trial.state is TrialState.RUNNING and reason.of_search and not asked:
                self.study.abandon(trial.number)
        self.study.put_back()
        self._running.clear()
        self._keep_time()
