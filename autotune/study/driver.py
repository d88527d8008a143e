"""The loop of a study: ask, place, measure, commit, until the budget is spent.

Whatever is waited for has a deadline: an attempt by the limits of its phases, a node that went away, and
the study itself by its time budget. Results may come twice, late, in any order or not at all; each attempt
enters the history once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from autotune.core.failpoint import failpoint
from autotune.core.measurement import EXPIRED, Cause, Failure, Measurement
from autotune.core.mistake import complete, mistake_error
from autotune.core.trial import Reason, Suggestion, Trial, TrialState, config_key
from autotune.errors import EnvironmentProblem, LedgerError, SpecError
from autotune.executor.attempt_files import mask_later
from autotune.executor.base import AttemptResult, Executor, Shared
from autotune.executor.retries import Retries
from autotune.report.view import StudyView, View
from autotune.study.confirm import next_confirmation
from autotune.study.jobs import any_fits, awaits_default, make_job, resources_of
from autotune.study.mistakes import acquit, judge
from autotune.study.remeasure import next_remeasure
from autotune.study.stopping import Stopping
from autotune.study.study import Study, state_of
from autotune.study.study_file import StudyFile
from autotune.study.watch import next_watch
from autotune.systems.base import System
from autotune.tracking.base import Mirror

TOGETHER_S = 0.03
"""Longest time in which trials are asked for before the first of them starts: a commit costs milliseconds."""

POLL_S = 0.25
"""Longest time between two looks at signals, deadlines and the screen."""

SAID_S = 3.0
"""Wait for room after which it is said what is waited for."""

HELD_S = 86400.0
"""Longest wait for room on nodes that other jobs hold: a queue of a day is an ordinary one."""

AWAY_S = 600.0
"""Longest wait for room on a node, while nothing else can run: the reboot of one that left takes minutes."""

_log = logging.getLogger("autotune.study")


@dataclass
class Loop:
    """State of the loop from one turn to the next."""

    spec: StudyFile
    study: Study
    system: System
    executor: Executor
    mirror: Mirror | None
    screen: View
    store: Path
    stop: threading.Event
    resumed: bool
    named: Collection[str] = ()
    running: dict[tuple[int, int], int] = field(default_factory=dict)
    retries: Retries = field(default_factory=Retries)
    exhausted: bool = False

    def __post_init__(self) -> None:
        budget = self.spec.budget
        self.stopping = Stopping(self.study, budget.stop_when, budget.trials)
        self.started_ns = time.time_ns()
        notes = self.study.ledger.study_notes(self.study.name)
        self.spent_before_s = float(notes.get("spent_s", 0.0))
        self.began = self._idle_since = time.monotonic()
        self._said_waiting = False
        self._limits: dict[tuple[int, int], float] = {}
        self._first_open = self._counted = self._planned = 0
        self._ask_s = TOGETHER_S  # that the last ask took: not known yet
        self._starting: list[tuple[Trial, int, Path, dict[str, float]]] = []  # not submitted yet
        self._mistake: tuple[int, Failure] | None = None  # of the owner's: trial and failure
        self._mirror_outdated = False  # something was entered of which the mirror was not told
        self._usual = resources_of(self.spec, self.system, self.study.space.default_config)
        for trial in self.study.trials:
            if trial.state is TrialState.RUNNING:  # in flight when an earlier run was killed
                self.study.requeue(trial.number)
                for folder in self._folder(trial).glob("attempt-*"):
                    mask_later(folder)  # its worker was killed before it could
        self.study.reopen_mistakes()

    @property
    def spent_s(self) -> float:
        """Seconds spent on the study, earlier runs included."""
        return self.spent_before_s + time.monotonic() - self.began

    @property
    def out_of_time(self) -> bool:
        """Whether the study's time budget is spent."""
        limit = self.spec.budget.time_s
        return limit is not None and self.spent_s >= limit

    def view(self, state: str = "running") -> StudyView:
        """Return what is known of the study now."""
        return StudyView(
            name=self.study.name,
            space=self.study.space,
            objective=self.study.anchored,
            trials=tuple(self.study.trials),
            state=state,
            budget_trials=self.spec.budget.trials,
            budget_seconds=self.spec.budget.time_s,
            confirm=self.spec.budget.confirm,
            predictions=None if state == "running" else self.study.predictions,
            started_ns=self.started_ns,
            now_ns=time.time_ns(),
            running=tuple((number, attempt, start) for (number, attempt), start in self.running.items()),
            ledger=str(self.study.path),
            tracking=self.spec.tracking.mlflow or "" if self.mirror is not None else "",
            resumed=self.resumed,
            stopped=self.stopping.reason,
        )

    def run(self) -> str:
        """Run until the budget is spent, nothing is left to gain or try, time is up or somebody stops it.

        Returns:
            The state of the study: ``completed``, ``converged``, ``exhausted``, ``interrupted`` or
            ``out of time``.

        Raises:
            EnvironmentProblem: The machines fail attempt after attempt, or are gone, or lack what every trial
                needs; the same command goes on with the study.
            SpecError: The study's owner made a mistake that fails every trial, such as a misspelt function.
        """
        self.study.ledger.set_study_state(self.study.name, "RUNNING")
        try:
            return self._run()
        except (EnvironmentProblem, SpecError) as error:
            self._put_back()
            self.executor.cancel()
            if self.stop.is_set() and isinstance(error, EnvironmentProblem):
                return "interrupted"  # the same signal ended what we run on
            raise
        except KeyboardInterrupt:  # asked a second time: what runs is not waited for
            self._put_back()
            raise

    def _run(self) -> str:
        while not self.stop.is_set():
            if self.out_of_time:
                self._give_up()
                return "out of time"
            self._fill()
            self._stop_at_mistake()
            if not self.running and not self._waiting():
                if self.stopping.reason:
                    return "converged"
                return "exhausted" if self.exhausted else "completed"
            self._look_for_idleness()
            self._commit(self.executor.wait(POLL_S))
            self._expire()
            self.screen.update(self.view())
        self._put_back()
        self.executor.cancel()
        return "interrupted"

    # -- starting --------------------------------------------------------------------------------------

    def _waiting(self) -> list[Trial]:
        trials = self.study.trials
        while self._first_open < len(trials) and trials[self._first_open].state.finished:
            self._first_open += 1  # what is finished stays so: a long study is not read again every turn
        return [trial for trial in trials[self._first_open :] if trial.state is TrialState.WAITING]

    def _fill(self) -> None:
        """Start trials while there is room, budget and time; each is committed before it is submitted."""
        while not self.stop.is_set() and not self.out_of_time:
            # a slow ask stands alone: the transaction that another has begun keeps other writers out
            until = time.monotonic() + (TOGETHER_S if self._ask_s < TOGETHER_S else 0.0)
            with self.study.ledger.together():
                while (not self._starting or time.monotonic() < until) and (trial := self._next()):
                    scratch = self._folder(trial) / f"attempt-{trial.attempts + 1}"
                    attempt = self.study.start_attempt(
                        trial.number, executor=self.executor.name, scratch=str(scratch)
                    )
                    self._starting.append((trial, attempt, scratch, self._resources(trial)))
            self._tell_mirror()
            starting, self._starting = self._starting, []
            for trial, attempt, scratch, resources in starting:
                self._submit(trial, attempt, scratch, resources)
            if not starting:
                return
            self.screen.update(self.view())

    def _next(self) -> Trial | None:
        """Return a trial that can start now, asking for one when a place is free; ``None`` without any.

        A trial that lacks room keeps later ones back, or a wide one would never find its nodes free. Those
        that rest after a failure of the world, or whose nodes are away, keep only their own place.
        """
        if self._mistake is not None:
            return None
        waiting = self._waiting()
        for trial in list(waiting):
            resources = self._resources(trial)
            short = self.executor.shortage(resources)
            if short:
                self._refuse(trial, short)
                waiting.remove(trial)
            elif self.retries.resting(trial.number) or not self.executor.capacity(resources):
                continue
            elif self._may_start(trial):
                return trial
            else:
                return None
        if not self._place_is_free(len(waiting)):
            return None
        asked = self._ask()
        if asked is None:
            return None
        short = self.executor.shortage(self._resources(asked))
        if short:
            self._refuse(asked, short)
            return self._next()
        return asked if self._may_start(asked) else None

    def _folder(self, trial: Trial) -> Path:
        return self.store / self.study.name / f"trial-{trial.number:04d}"

    def _resources(self, trial: Trial) -> dict[str, float]:
        return resources_of(self.spec, self.system, trial.config)

    def _may_start(self, trial: Trial) -> bool:
        """Return whether a trial may start now; one whose pause is over included."""
        parallel = self.spec.budget.parallel
        if parallel != "auto" and self._busy >= int(parallel):
            return False
        if awaits_default(self.spec, trial.config, self.study.trials):
            return False
        return self._has_room(self._resources(trial))

    @property
    def _busy(self) -> int:
        """Number of attempts that run or are about to."""
        return len(self.running) + len(self._starting)

    def _has_room(self, resources: dict[str, float]) -> bool:
        return self.executor.has_room(resources, [wanted for *_, wanted in self._starting])

    def _place_is_free(self, waiting: int) -> bool:
        """Return whether another trial is worth asking for: the default's resources say what is usual."""
        room = self.executor.capacity(self._usual)
        parallel = self.spec.budget.parallel
        places = max(room, 1) if parallel == "auto" else min(max(room, 1), int(parallel))
        if self._busy + waiting >= places:
            return False
        return not self._busy or self._has_room(self._usual)

    def _ask(self) -> Trial | None:
        """Return the next trial of the search, a repeat, a look at the default or a confirmation."""
        budget, trials = self.spec.budget, self.study.trials
        again = next_remeasure(trials, self.study.anchored)
        if again is None and not self.stopping.reason:
            again = next_watch(trials, self.study.space, budget.watch, budget.trials)
        if again is not None:
            return self.study.suggest(again)
        self._planned += sum(trial.suggestion.reason.of_search for trial in trials[self._counted :])
        self._counted = len(trials)
        if self._planned < budget.trials and not self.exhausted and not self._converged():
            began = time.monotonic()
            asked = self.study.ask(1)
            self._ask_s = time.monotonic() - began
            if asked:
                return asked[0]
            self.exhausted = True
        confirmation = self._confirmation()
        return None if confirmation is None else self.study.suggest(confirmation)

    def _confirmation(self) -> Suggestion | None:
        """Return the next launch that confirms, once the search is over."""
        confirm = self.spec.budget.confirm
        waits = any(
            not t.state.finished and t.suggestion.reason is not Reason.CONFIRM for t in self.study.trials
        )
        if not confirm or waits:
            return None
        return next_confirmation(self.study.decide(confirm), self.study.space, self.study.seed, self.named)

    def _converged(self) -> bool:
        """Return whether the search is over before its budget; say so once."""
        known, now = self.stopping.reason, self.stopping()
        if now and not known:
            self.screen.message(f"no more trials: {self.stopping.reason}")
        return now

    def _refuse(self, trial: Trial, shortage: str) -> None:
        """Close a trial that no node can ever hold, with the numbers.

        Where none can hold any configuration it is the owner's mistake.
        """
        attempt = self.study.start_attempt(trial.number, executor=self.executor.name)
        now = time.time_ns()
        fits = any_fits(self.spec, self.system, self.executor)
        failure = Failure(Cause.REJECTED_FLAGS if fits else Cause.OWNER_MISTAKE, shortage)
        if failure.cause is Cause.OWNER_MISTAKE:
            self._mistake = (trial.number, failure)
        measurement = Measurement(failure=failure, started_ns=now, ended_ns=now)
        self._enter(trial.number, attempt, measurement, state_of(measurement), "")

    def _submit(self, trial: Trial, attempt: int, scratch: Path, resources: dict[str, float]) -> None:
        failpoint("runner.submit")
        job = make_job(
            self.spec, self.study.name, trial.config, resources, scratch, trial=trial.number,
            attempt=attempt, reason=trial.suggestion.reason, history=self.study.trials,
            objective=self.study.anchored,
        )  # fmt: skip
        job = replace(job, avoid=self.retries.avoid(trial.number))
        self.running[trial.number, attempt] = time.time_ns()
        self._limits[trial.number, attempt] = time.monotonic() + job.limit_s
        self.executor.submit(job)
        failpoint("runner.submitted")

    # -- results ---------------------------------------------------------------------------------------

    def _commit(self, results: list[AttemptResult]) -> None:
        """Commit what arrived, all of one turn together; then see whether the machines are ill."""
        if not results:
            return
        failpoint("runner.commit")
        try:
            with self.study.ledger.together():
                for result in results:
                    self._take(result)
                self._keep_time()
            self._tell_mirror()
        except LedgerError:
            if self.study.ledger.make_room():  # kept for what was measured when the disk is full
                with self.study.ledger.together():
                    for result in results:
                        self._take_stray(result)
            raise
        self._stop_at_mistake()
        why = self.retries.open(self.executor.nodes())
        if why:
            raise EnvironmentProblem(
                why,
                hint=f"see the logs under {self.store / self.study.name}; running the same command goes on",
            )

    def _take(self, result: AttemptResult) -> None:
        """Enter one result; a trial whose attempt the world failed goes back to the queue a few times."""
        study, number, attempt = result.key
        if self.running.pop((number, attempt), None) is None or study != self.study.name:
            self._take_stray(result)
            return
        self._limits.pop((number, attempt))
        measurement = complete(self.study.checked(result.measurement), self.study.objective)
        failure = measurement.failure
        if failure is not None:
            failure = self._judged(number, failure, result.node)
            measurement = replace(measurement, failure=failure)
        state = state_of(measurement)
        if failure is not None and failure.cause is Cause.OWNER_MISTAKE:
            self._mistake = self._mistake or (number, failure)
        elif state is not TrialState.FAILED or failure is None:
            self.retries.answered(number)
        elif self.retries.failed(number, result.node, failure):
            state = TrialState.WAITING
        self._enter(number, attempt, measurement, state, result.node)

    def _judged(self, number: int, failure: Failure, node: str) -> Failure:
        """Return a failure with its true cause.

        What one of several nodes lacks is that node's illness until another one lacks it too.
        """
        if self._mistake is not None:  # the run ends; those that failed alike are acquitted
            return failure
        judged = judge(self.study, number, failure)
        nodes = self.executor.nodes()
        elsewhere = [name for name in self.retries.avoid(number) if name != node]
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
        number, failure = self._mistake
        with self.study.ledger.together():
            others = acquit(self.study, failure)
        self.screen.update(self.view())
        default = self.study.trials[number].key == config_key(self.study.space.default_config)
        where = f"trial {number}, the default configuration" if default else f"trial {number}"
        if others and not default:
            where = f"{others + 1} configurations fail alike, and none was measured; {where}"
        raise mistake_error(failure, where, alike=bool(others) and not default)

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

    def _expire(self) -> None:
        """Give up attempts whose result has not come in time; a late one is kept, not told."""
        now = time.monotonic()
        expired = [key for key, limit in self._limits.items() if now > limit]
        for number, attempt in expired:
            node = self.executor.drop((self.study.name, number, attempt))
            waited = (time.time_ns() - self.running[number, attempt]) / 1e9
            failure = Failure(Cause.WORKER_LOST, f"no result within {waited:.0f} s")
            measurement = Measurement(
                failure=failure,
                facts={EXPIRED: True},
                started_ns=self.running[number, attempt],
                ended_ns=time.time_ns(),
            )
            self._commit([AttemptResult((self.study.name, number, attempt), measurement, node)])

    def _enter(
        self, number: int, attempt: int, measurement: Measurement, state: TrialState, node: str
    ) -> None:
        self.study.finish_attempt(number, attempt, measurement, state=state, node=node)
        self._mirror_outdated = True
        failure = measurement.failure
        if failure is not None:
            again = ", will be tried again" if state is TrialState.WAITING else ""
            self.screen.message(f"trial {number}: {failure.cause.value}: {failure.message}{again}")

    def _tell_mirror(self) -> None:
        """Wake the mirror for what was entered.

        Outside the commit: a mirror that looks before its end would find nothing, and sleep until the next.
        """
        if self._mirror_outdated and self.mirror is not None:
            self.mirror.notify()
        self._mirror_outdated = False

    def _keep_time(self) -> None:
        self.study.ledger.set_study_note(self.study.name, "spent_s", self.spent_s)

    # -- stopping --------------------------------------------------------------------------------------

    def _look_for_idleness(self) -> None:
        """Say what is waited for when nothing runs; stop the study when room does not come."""
        now = time.monotonic()
        waiting = [] if self.running else self._waiting()
        if not waiting or any(self.retries.resting(trial.number) for trial in waiting):
            self._idle_since, self._said_waiting = now, False
            return
        waited, needed = now - self._idle_since, self._resources(waiting[0])
        held = self.executor.held(needed) if isinstance(self.executor, Shared) else ""
        wanted = f"trial {waiting[0].number} needs {' and '.join(f'{n:g} {k}' for k, n in needed.items())}"
        if waited > SAID_S and not self._said_waiting:
            self._said_waiting = True
            self.screen.message(f"waiting for room: {wanted}; {held or 'no node that lives can hold it'}")
        if waited > (HELD_S if held else AWAY_S):
            raise EnvironmentProblem(
                f"{wanted}; for {waited:.0f} s none of {len(self.executor.nodes())} nodes has had room for "
                f"it, and nothing else runs{': ' if held else ''}{held}",
                hint="free or bring back nodes; running the same command goes on",
            )

    def _put_back(self) -> None:
        """Put what runs back to the queue, for whoever resumes the study.

        Before it is stopped: that takes as long as a server's grace, and may be cut short.
        """
        with self.study.ledger.together():
            self.study.put_back()
            self._keep_time()
            self.study.ledger.set_study_state(self.study.name, "INTERRUPTED")
        self.running.clear()
        self._limits.clear()

    def _give_up(self) -> None:
        """Stop what runs: the study's time is over."""
        self.executor.cancel()
        for trial in self.study.trials:
            if not trial.state.finished:
                self.study.abandon(trial.number)
        self.running.clear()
        self._limits.clear()
        self._keep_time()
