"""What ``autotune run`` does around its driver: open the study, start what it needs, end it in order."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType

from autotune.analysis.study_view import StudyView
from autotune.core.dependencies import need
from autotune.core.file_names import LEDGER_NAME
from autotune.core.input_file import resolved
from autotune.core.scalar import reads_as
from autotune.core.space_change import as_stored
from autotune.core.trial import TrialState
from autotune.core.units import counted
from autotune.engine.base import libraries
from autotune.engine.registry import build_engine
from autotune.errors import StudyError
from autotune.executor.attempt_files import mask_later
from autotune.executor.base import Executor
from autotune.ledger import made_ledger, study_lock
from autotune.ledger.rows import OWNER
from autotune.report.view import Kind, View
from autotune.spec.stored import StoredSpec
from autotune.study.carried import keep_deployment
from autotune.study.driver import Driver
from autotune.study.hooks import Told, start_hooks
from autotune.study.jobs import StudyJobs, build_executor, compares_answers, system_of
from autotune.study.mirroring import MIRROR_FLUSH_S, MIRROR_START_S, MIRROR_STOPPED_S, start_mirror
from autotune.study.readiness import announce, refuse_unplaceable
from autotune.study.reading import STARTED_WITH, STUDY_FILE, file_note
from autotune.study.report import REPORT_STOPPED_S, write_at_end
from autotune.study.scheduler import Settings
from autotune.study.stored_spec import read_stored_spec
from autotune.study.study import Study, ledger_path
from autotune.study.study_file import StudyFile
from autotune.systems.base import System
from autotune.systems.registry import SystemConfig
from autotune.tracking.base import Mirror, MirrorReport

SAME_SIGNAL_S = 1.0
"""Longest time in which a second SIGTERM counts as the first: `timeout` sends it to us and to our group."""


class StopRequest(threading.Event):
    """An event that the first signal sets.

    Attributes:
        at_once: Whether a signal raises KeyboardInterrupt besides: nothing is measured that must be put back.
    """

    at_once = True

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let a signal cut short what runs inside, and no more than that."""
        try:
            self.at_once = True
            yield
        except KeyboardInterrupt:
            self.set()
        finally:
            self.at_once = False


@dataclass(frozen=True)
class RunSummary:
    """The end of a run.

    Args:
        view: Last state of the study.
        state: ``completed``, ``converged``, ``exhausted``, ``interrupted`` or ``out of time``.
        mirror_pending: Items that the tracking store does not have yet.
        mirror_errors: Reasons why it does not have them, where they are known.
        report: The report that was written beside the ledger; ``None`` where it could not be.
    """

    view: StudyView
    state: str
    mirror_pending: int = 0
    mirror_errors: tuple[str, ...] = ()
    report: Path | None = None


def run_study(
    spec: StudyFile,
    *,
    store: Path,
    view: View,
    new: bool = False,
    widen: bool = False,
    local: bool = False,
    tracking: bool = True,
    named: Collection[int] = (),
    options: Sequence[str] = (),
    owner: str = "",
    file: Path | None = None,
    stop: StopRequest | None = None,
    prepared: bool = False,
    make_executor: Callable[[StudyFile, bool], Executor] | None = None,
) -> RunSummary:
    """Create or resume the study of a file and run it to the end of its budget.

    Args:
        spec: The study file.
        store: Folder of the ledger and of what the trials leave.
        view: View on which progress is shown.
        new: Whether to start another study beside one of the same name.
        widen: Whether to go on with a study over another space if all it measured belongs to this one too.
        local: Whether to run attempts in child processes instead of on Ray.
        tracking: Whether to mirror the ledger to MLflow.
        named: Numbers of trials whose configurations are to be confirmed, in place of the best.
        options: Options of the command, for those that other commands print to go on with the study.
        owner: Name of whoever submitted the study; empty where nobody did.
        file: File that the study was read from, where it was.
        stop: Request that signals set, of whoever has something to say after the run; else its own.
        prepared: Whether the caller has prepared the system and said what it should know.
        make_executor: Function that builds the executor; for tests.

    Raises:
        AutotuneError: The study cannot start, or the machine fails attempt after attempt.
    """
    store = ledger_path(resolved(store) / LEDGER_NAME).parent
    with ExitStack() as stack:
        name = _name(spec, store, new)
        # before the study is opened: whoever comes second must not have changed anything
        stack.enter_context(study_lock(store / LEDGER_NAME, name, again=False))
        spec = as_measured(spec, store / LEDGER_NAME, name)
        system = system_of(spec).built
        if not prepared:
            refuse_unplaceable(spec, local=local)
            prepare(spec, system, view)
        study, resumed = open_study(spec, store, name, widen)
        stack.callback(study.close)
        _note_start(study, options, owner, file)
        keys = _keys(study, named, spec.budget.confirm, view.message)
        told = stack.enter_context(start_hooks(spec.hooks, study, partial(view.message, kind=Kind.LOSS)))
        stop = stop or stack.enter_context(stop_signals())
        mirror = start_mirror(spec.tracking, study) if tracking else None
        if mirror is not None:
            stack.callback(lambda: mirror.close(0.0))
        executor = stack.enter_context(closing((make_executor or build_executor)(spec, local)))
        _mask_leftovers(study, jobs := StudyJobs(spec, system, store / study.name))
        driver = Driver(
            study, settings_of(spec, study, keys, jobs.logs), jobs, executor, stop_when=spec.budget.stop_when,
            mirror=mirror, screen=view, stop=stop, resumed=resumed, callbacks=told.callbacks,
            tracking=spec.tracking.mlflow or "" if mirror is not None else "", start=spec.start,
        )  # fmt: skip
        driver.start_executor()
        if mirror is not None:
            mirror.ready.wait(MIRROR_START_S)
        if study.rescored:
            view.message(study.rescored)
        view.start(driver.view())
        stop.at_once = False
        state = driver.run()
        if state != "interrupted":  # that the driver has said itself
            study.ledger.set_study_state(study.name, "COMPLETED")
        executor.close()
        return _finished(driver, state, system, mirror, stop, told)


def _finished(
    driver: Driver, state: str, system: System, mirror: Mirror | None, stop: StopRequest, told: Told
) -> RunSummary:
    """Write what a run leaves beside its ledger, tell its end, and return how it ended."""
    study = driver.study
    study.keep_predictions()
    keep_deployment(study, system)
    report = _write_report(study, mirror, stop)
    left = MirrorReport(0) if mirror is None else _end_mirror(mirror, stop)
    study.ledger.ensure_kept()
    told.on_end(driver.view, state, report)
    return RunSummary(driver.view(state), state, left.pending, left.errors, report)


def prepare(spec: StudyFile, system: System, view: View) -> None:
    """Check and make what a run needs, before there is a study that nobody runs; say what it should know."""
    need(libraries(build_engine(spec.engine.section)))
    for warning in announce(spec, system):
        view.message(f"warning: {warning}")
    system.prepare(log=view.message)


def _note_start(study: Study, options: Sequence[str], owner: str, file: Path | None) -> None:
    """Note in the ledger how a run was started, and by whom and from which file where that is said."""
    if file is not None:
        study.ledger.set_study_note(study.name, STUDY_FILE, file_note(file))
    study.ledger.set_study_note(study.name, STARTED_WITH, list(options))
    if owner:
        study.ledger.set_study_note(study.name, OWNER, owner)


def _write_report(study: Study, mirror: Mirror | None, stop: StopRequest) -> Path | None:
    """Write the report; a signal cuts that short, and then there is none."""
    with stop.interrupting():
        return write_at_end(study, mirror, REPORT_STOPPED_S if stop.is_set() else None)
    return None


def _end_mirror(mirror: Mirror, stop: StopRequest) -> MirrorReport:
    """Let the mirror copy what is left; a signal cuts that short."""
    with stop.interrupting():
        return mirror.close(MIRROR_STOPPED_S if stop.is_set() else MIRROR_FLUSH_S)
    return mirror.close(0.0)


def settings_of(spec: StudyFile, study: Study, named: Collection[str] = (), logs: str = "") -> Settings:
    """Return what a study file asks of its study.

    Args:
        spec: Study file.
        study: Study, open.
        named: Keys of configurations to confirm in place of the best.
        logs: Place of the attempts' logs.
    """
    budget = spec.budget
    return Settings(
        space=study.space,
        objective=study.objective,
        trials=budget.trials,
        time_s=budget.time_s,
        parallel=None if budget.parallel == "auto" else int(budget.parallel),
        confirm=budget.confirm,
        watch=budget.watch,
        seed=study.seed,
        named=frozenset(named),
        compares_answers=compares_answers(spec),
        logs=logs,
    )


def _mask_leftovers(study: Study, jobs: StudyJobs) -> None:
    """Mask the files of attempts whose workers were killed before they could."""
    for trial in study.unfinished:
        if trial.state is TrialState.RUNNING:
            for folder in jobs.folder_of(trial.number).glob("attempt-*"):
                mask_later(folder)


def _keys(
    study: Study, numbers: Collection[int], confirm: int, tell: Callable[[str], None]
) -> frozenset[str]:
    """Return the configuration keys of trials that somebody named.

    Raises:
        StudyError: A trial is not there or has no measurement, or the study confirms nothing.
    """
    if numbers and not confirm:
        raise StudyError(
            f"study {study.name!r} confirms nothing, trial {min(numbers)} neither",
            hint="say how many fresh launches of each: --confirm 2",
        )
    trials = study.trials
    for number in numbers:
        if number >= len(trials) or not trials[number].metrics:
            measured = ", ".join(str(t.number) for t in trials if t.metrics) or "none"
            raise StudyError(
                f"trial {number} of study {study.name!r} has no measurement; measured: {measured}"
            )
    keys = {number: trials[number].key for number in numbers}
    launched = study.decide(confirm).launched
    for number, key in keys.items():
        made = sum(not t.doubt for t in launched.get(key, ()))
        if made >= confirm:
            often = counted(made, "time")
            tell(f"trial {number} was launched afresh {often}: --confirm {made + 1} adds a launch")
    return frozenset(keys.values())


def _name(spec: StudyFile, store: Path, new: bool) -> str:
    """Return the name under which the study runs."""
    if not new:
        return spec.name
    with made_ledger(store / LEDGER_NAME) as ledger:
        return spec.name if ledger is None else ledger.unused_name(spec.name)


def as_measured(spec: StudyFile, path: Path, name: str) -> StudyFile:
    """Return a study file as the trials that a ledger has of it were measured.

    Before values had types, those of a study were text, in its space and in what it sent to a server: it goes
    on with them where nothing else differs.

    Args:
        spec: The study file.
        path: Path of the ledger; it may not be there.
        name: Name of the study.
    """
    with made_ledger(path) as ledger:
        row = None if ledger is None else ledger.study(name)
    if row is None:
        return spec
    stored = read_stored_spec(path, row)
    system, then = spec.system, {} if stored.system is None else stored.system.section
    if system is not None and then != system.section and reads_as(then, system.section):
        system = SystemConfig.from_dict(then)
    return replace(spec, space=as_stored(spec.space, stored.space_section), system=system)


def open_study(spec: StudyFile, store: Path, name: str, widen: bool) -> tuple[Study, bool]:
    """Open or create the study of a file in a store; return it, and whether something of it ran before.

    Args:
        spec: Study file.
        store: Folder of the ledger.
        name: Name of the study.
        widen: Whether to go on with a study over another space if all it measured belongs to this one too.

    Raises:
        StudyError: The ledger has it over another space, or measured with another system.
    """
    path = store / LEDGER_NAME
    study = Study(
        spec.space,
        spec.objective,
        engine=spec.engine.section,
        seed=spec.engine.seed,
        name=name,
        path=path,
        budget=spec.budget.trials,
        spec=spec.to_dict(),
        widen=widen,
    )
    row = study.ledger.study(name)
    assert row is not None  # noqa: S101 - Study created it
    now, differing = spec.to_dict(), spec.differs_from(row.spec)
    if differing:
        study.close()
        raise StudyError(
            f"study {name!r} was measured with another {differing}: "
            f"{StoredSpec(row.spec).stated(differing)} -> {now.get(differing)}",
            hint="use another name, or --new to start another study beside it",
        )
    if row.spec != now:  # another budget, objective or engine over the same measurements
        study.ledger.set_study_spec(name, now)
    return study, any(trial.attempts or trial.state.finished for trial in study.trials)


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Turn SIGINT, SIGTERM and SIGHUP into an event; a second SIGINT or SIGTERM raises KeyboardInterrupt.

    A SIGTERM that comes at once after another signal is no second one: it went to us and to our group.

    A signal that whoever started us wants ignored stays ignored: so `nohup` outlives its terminal.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    begun = math.inf

    def handler(number: int, _frame: FrameType | None) -> None:
        nonlocal begun
        if not stop.is_set():
            stop.set()
            begun = time.monotonic()
            raised = stop.at_once
        else:
            late = number == signal.SIGTERM and time.monotonic() - begun > SAME_SIGNAL_S
            raised = late or number == signal.SIGINT
        if raised:
            raise KeyboardInterrupt

    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    numbers = [number for number in wanted if signal.getsignal(number) is not signal.SIG_IGN]
    before = [signal.signal(number, handler) for number in numbers]
    try:
        yield stop
    finally:
        for number, old in zip(numbers, before, strict=True):
            signal.signal(number, old)
