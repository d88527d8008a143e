"""One trial on one node: launch under the supervisor, wait until ready, measure, stop, report.

Whatever a configuration or its environment can do comes back as a :class:`Failure` with its cause; nothing is
raised. ``python -m autotune.executor.worker JOB.json RESULT.json`` runs one job in a process of its own;
without arguments it takes one after the other, and what they launched may stay (:mod:`.kept`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import re
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from autotune.core.environment import server_environment
from autotune.core.failpoint import failpoint
from autotune.core.file_names import (
    COMMAND_NAME,
    CONFIG_NAME,
    FIRST_LOG,
    LOG_NAME,
    PROCESS_NAME,
    REQUESTS_NAME,
    WORKER_LOG,
)
from autotune.core.json_object import JsonObject
from autotune.core.measurement import Cause, Estimate, Failure, Measurement, in_unit_of
from autotune.core.metric import METRIC_PLUGINS
from autotune.core.mistake import NOT_FINITE, missing_metrics
from autotune.core.redact import redact, redact_words, redacted
from autotune.core.room import FULL, full_places, give_room, keep_room
from autotune.errors import Ended, EnvironmentProblem, SpecError, UnitError, words_of
from autotune.executor.attempt_files import (
    artifacts_of,
    last_lines,
    log_tail,
    mask_files,
    write_json,
)
from autotune.executor.base import AttemptResult, Job
from autotune.executor.kept import Kept, Shelf
from autotune.executor.priority import priority_facts
from autotune.executor.process import SupervisedProcess, SupervisorLost
from autotune.executor.supervisor import sweep_leftovers
from autotune.measure.watch.hardware import hardware_facts
from autotune.measure.watch.machine_watch import MachineWatch, facts_with_machine, with_machine
from autotune.measure.workload import Workload
from autotune.systems.base import (
    MOST_WRITTEN,
    SOLE,
    AttemptFailed,
    BatchDriver,
    Command,
    Driver,
    NotReady,
    OwnDriver,
    Reusable,
    ServedDriver,
    System,
)
from autotune.systems.diagnosis import is_out_of_memory
from autotune.systems.registry import SYSTEMS, build_system
from autotune.systems.shortfall import shortfall

if TYPE_CHECKING:
    from autotune.measure.statistics.validity import Measured

_ROOM = 1 << 18  # bytes kept for the result
_DIAGNOSED_LINES = 1000  # looked at for the cause: servers of several processes bury it under tracebacks
_NUMBER = re.compile(r"0x[0-9a-f]+|\d+")
_BY_SIGNAL = re.compile(r"ended by SIG")
_READY_POLL_S = 0.1
_DEATH_POLL_S = 5.0  # a server that stopped answering gets this long to be seen dead


def run_attempt(
    job: Job,
    build: Callable[[JsonObject], System] = build_system,
    shelf: Shelf | None = None,
) -> AttemptResult:
    """Measure one configuration.

    Args:
        job: Job to run; its scratch folder is created.
        build: Function that builds the system from its section.
        shelf: Shelf of launched processes for later attempts; ``None`` to stop them.
    """
    started = time.time_ns()
    scratch = Path(job.scratch)
    facts: dict[str, Any] = {}
    metrics: dict[str, Estimate] = {}
    failure: Failure | None = None
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        metrics = _Attempt(job, build(job.system), scratch, facts, shelf).run()
    except AttemptFailed as error:
        failure = error.failure
    except UnitError as error:
        failure = Failure(Cause.OWNER_MISTAKE, error.line)
    except SupervisorLost as error:
        failure = Failure(Cause.WORKER_LOST, str(error))
    except (EnvironmentProblem, SpecError) as error:
        cause = Cause.OWNER_MISTAKE
        if isinstance(error.__cause__, OSError):  # an environment fault, met by a plug-in
            cause = Cause.DISK_FULL if error.__cause__.errno in FULL else Cause.WORKER_LOST
        failure = Failure(cause, str(error))
    except OSError as error:
        full = error.errno in FULL
        failure = Failure(Cause.DISK_FULL if full else Cause.WORKER_LOST, str(error), traceback.format_exc())
    except Exception as error:  # noqa: BLE001 - a bug of ours must never be taken for the configuration's fault
        failure = Failure(Cause.WORKER_LOST, words_of(error), traceback.format_exc())
    except (KeyboardInterrupt, Ended):
        raise
    except BaseException as error:  # noqa: BLE001 - nothing of ours exits or raises such here: a plug-in does
        broken = SYSTEMS.broken(str(job.system.get("use")), f"failed: {words_of(error)}")
        failure = Failure(Cause.OWNER_MISTAKE, str(broken), traceback.format_exc())
    if failure is not None:
        failure = _with_full_places(failure, scratch)
    if failure is not None:
        tail = last_lines(failure.log_tail) or log_tail(scratch / LOG_NAME)
        failure = replace(failure, message=redact(failure.message), log_tail=redact(tail))
    written = [WORKER_LOG, *([LOG_NAME] if shelf is not None and shelf.holds(scratch / LOG_NAME) else [])]
    mask_files(scratch, written)
    measurement = Measurement(
        metrics=metrics if failure is None else {},
        failure=failure,
        facts=redacted(facts),
        started_ns=started,
        ended_ns=time.time_ns(),
        artifacts=artifacts_of(scratch),
    )
    return AttemptResult(job.key, measurement, platform.node())


def _with_full_places(failure: Failure, scratch: Path) -> Failure:
    """Return a failure with the places that are full; on a full disk no log tells whose fault it was."""
    places = full_places([scratch])
    if str(scratch) in places and failure.cause is Cause.CRASHED_UNDER_LOAD:
        failure = replace(failure, cause=Cause.DISK_FULL)
    if not places or failure.cause is not Cause.DISK_FULL:
        return failure
    return replace(failure, message=f"{failure.message} (full: {', '.join(places)})")


class _Unexplained(AttemptFailed):
    """The death of a process before it was ready, with words that nobody recognizes."""


class _Attempt:
    """State that the phases of one attempt share."""

    def __init__(
        self, job: Job, system: System, scratch: Path, facts: dict[str, Any], shelf: Shelf | None = None
    ) -> None:
        self.job = job
        self.system = system
        self.scratch = scratch
        self.facts = facts
        self.shelf = shelf if job.launch_key and isinstance(system, Reusable) else None
        self.log = scratch / LOG_NAME
        self.phases: dict[str, float] = {}
        facts["phases_s"] = self.phases
        families = (family for name in job.judged for family in (name, name.rpartition(".")[0]))
        plugins = SYSTEMS.versions(str(job.system.get("use"))) | METRIC_PLUGINS.versions(*families)
        if plugins:
            facts["plugins"] = plugins

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.phases[name] = round(time.monotonic() - began, 3)

    def run(self) -> dict[str, Estimate]:
        job, system = self.job, self.system
        prefix = mark_prefix(job)
        swept = sweep_leftovers(prefix)
        if swept:
            self.facts["swept_processes"] = len(swept)
        refused = system.check(job.config)
        if refused is not None:
            raise AttemptFailed(refused)
        workload = Workload.from_dict(job.workload)
        running = self.kept() or self.launched(prefix)
        keep = False
        try:
            found = self.measure(running.process, running.driver, workload)
            keep = self.shelf is not None and running.process is not None
        except AttemptFailed as error:
            raise self.doubted(error) from error
        finally:
            if keep and self.shelf is not None:
                self.shelf.put(running)
            else:
                with self.phase("stop"):
                    running.stop()
        return found

    def kept(self) -> Kept | None:
        """Return a process that runs already and was made ready for this configuration."""
        job = self.job
        found = None if self.shelf is None else self.shelf.take("" if job.fresh else job.launch_key)
        if found is None:
            return None
        try:
            with self.phase("startup"):
                found.ready_for(self.system, job.config, time.monotonic() + job.deadlines.startup_s)
        except (NotReady, AttemptFailed):  # one that starts afresh tells whose fault it is
            found.stop()
            return None
        self.log = found.log
        self.facts |= {"argv": found.argv, "launched_by": found.began, "hardware": hardware_facts()}
        if found.process is not None:
            self.facts["priority"] = priority_facts(found.process.pid)
        return found

    def launched(self, prefix: str) -> Kept:
        """Launch what the configuration needs and wait until it is ready.

        A process that dies before it is ready, with words that nobody recognizes, is launched once more: if
        it dies with the same words again, they are what it says to these flags; if not, it was no refusal.
        """
        deadline = time.monotonic() + self.job.deadlines.startup_s
        try:
            return self._launched(prefix, deadline)
        except _Unexplained as error:
            first, left_s = error.failure, deadline - time.monotonic()
            if left_s < self.job.deadlines.startup_s / 2:  # there is no time for another
                raise
        self.facts["first_launch"] = first.message
        self.log.replace(self.log.with_name(FIRST_LOG))
        try:
            return self._launched(prefix, deadline)
        except _Unexplained as error:
            raise AttemptFailed(_repeated(first, error.failure)) from error

    def _launched(self, prefix: str, deadline: float) -> Kept:
        job, system = self.job, self.system
        system.prepare_node()
        own = {"config": dict(job.config), "trial": job.trial, "attempt": job.attempt}
        write_json(self.scratch / CONFIG_NAME, own)
        command = system.command(job.config, self.scratch)
        with self.phase("hardware"):
            self.facts["hardware"] = hardware_facts()
        process = None if command is None else self.launch(command, f"{prefix}{job.trial}/{job.attempt}")
        try:
            with self.phase("startup"):
                driver = self.connect(process, deadline)
        except BaseException:
            if process is not None:
                with self.phase("stop"):
                    process.stop()
            raise
        began = {"trial": job.trial, "attempt": job.attempt}
        return Kept(job.launch_key, process, driver, self.log, self.facts.get("argv", []), began)

    def doubted(self, error: AttemptFailed) -> AttemptFailed:
        """Reclassify as an environment fault if the process was reused; the retry starts a fresh one."""
        if not ("launched_by" in self.facts and error.failure.cause.configuration_at_fault):
            return error
        text = f"on a process that other trials had used: {error.failure.message}"
        return AttemptFailed(replace(error.failure, cause=Cause.INVALID_MEASUREMENT, message=text))

    def launch(self, command: Command, mark: str) -> SupervisedProcess:
        """Start the configuration's process under the supervisor."""
        (self.scratch / COMMAND_NAME).write_text(
            shlex.join(redact_words(list(command.argv))) + "\n", encoding="utf-8"
        )
        self.facts["argv"] = list(command.argv)
        failpoint("worker.launch")
        process = SupervisedProcess(
            command.argv,
            env=server_environment(command.env),
            log=self.scratch / LOG_NAME,
            cwd=self.scratch,
            mark=mark,
            grace_s=self.job.deadlines.stop_s,
        )
        write_json(self.scratch / PROCESS_NAME, {"pid": process.pid, "supervisor": process.supervisor_pid})
        self.facts["priority"] = priority_facts(process.pid)
        failpoint("worker.launched")
        return process

    def connect(self, process: SupervisedProcess | None, deadline: float) -> Driver:
        """Wait for the launched process, noticing its death and the start-up deadline."""
        limit = self.job.deadlines.startup_s
        while True:
            code = None if process is None else process.poll()
            if code is not None:
                failure = self.system.diagnose(code, log_tail(self.log, _DIAGNOSED_LINES))
                unexplained = failure.cause is Cause.CRASHED_UNDER_LOAD
                raise (_Unexplained if unexplained else AttemptFailed)(failure)
            if self.log.exists() and self.log.stat().st_size > MOST_WRITTEN:
                text = f"it wrote more than {MOST_WRITTEN >> 30} GiB to its log before it was ready"
                raise AttemptFailed(Failure(Cause.WRONG_OUTPUT, text))
            try:
                return self.system.connect(self.scratch, deadline)
            except NotReady as reason:
                if time.monotonic() > deadline:
                    text = f"not ready after {limit:g} s" + (f": {reason}" if str(reason) else "")
                    # One that nobody launched does not depend on the configuration.
                    cause = Cause.OWNER_MISTAKE if process is None else Cause.STARTUP_TIMEOUT
                    raise AttemptFailed(Failure(cause, text)) from None
                time.sleep(_READY_POLL_S)

    def measure(
        self, process: SupervisedProcess | None, driver: Driver, workload: Workload
    ) -> dict[str, Estimate]:
        """Load the system and return every metric."""
        job = self.job
        self.facts["system"] = dict(driver.facts())
        failpoint("worker.measure")
        deadline = time.monotonic() + job.deadlines.measure_s
        try:
            with self.phase("measure"):
                found = self.load(driver, workload, deadline, process)
            with self.phase("system_metrics"):
                own = driver.metrics(deadline)
            quality = self.quality(driver)
        except AttemptFailed as error:
            raise self.blame(process, error, isinstance(driver, OwnDriver)) from error
        failpoint("worker.measured")
        if job.price is None:
            return {**found, **own, **quality}
        from autotune.measure.metrics.cost import cost

        return {**found, **own, **quality, **cost(job.price, found)}

    def quality(self, driver: Driver) -> dict[str, Estimate]:
        """Check the answers, where the study file says so; the load is over by now."""
        job = self.job
        if not job.quality or isinstance(driver, OwnDriver):
            return {}
        from autotune.executor.quality import quality_of

        with self.phase("quality"):
            metrics, self.facts["quality"] = quality_of(
                driver,
                job.quality,
                batch_size=self.system.batch_size(job.config),
                folder=self.scratch,
                mark=f"{mark_prefix(job)}{job.trial}/{job.attempt}",
                deadline=time.monotonic() + job.deadlines.measure_s,
            )
        return metrics

    def load(
        self, driver: Driver, workload: Workload, deadline: float, process: SupervisedProcess | None
    ) -> dict[str, Estimate]:
        """Measure the way that this kind of driver is measured."""
        own = () if process is None else (process.pid, process.supervisor_pid)
        if isinstance(driver, OwnDriver):
            machine, began = MachineWatch(own), time.monotonic_ns()
            machine.look()
            found = driver.measure(deadline)
            self.facts["system"] = dict(driver.facts())  # what was left out is known by now
            self.facts["measured"] = facts_with_machine({}, machine, began, time.monotonic_ns())
            return self.own_metrics(found)
        # what loads and judges takes half of a worker's start; a system that measures itself needs none of it
        from autotune.measure.metrics import plugin_metrics
        from autotune.measure.statistics.doubt import judged

        if isinstance(driver, ServedDriver):
            from autotune.measure.endpoint.serving import build_generator, measure_endpoint

            fresh = process is not None and "launched_by" not in self.facts
            measured = measure_endpoint(
                build_generator(workload, "" if fresh else f"{self.job.trial}/{self.job.attempt}"),
                driver.endpoint(),
                workload,
                goal=self.job.goal,
                limits=[(str(metric), str(sense), float(bound)) for metric, sense, bound in self.job.limits],
                deadline=deadline,
                own=own,
                plugins=plugin_metrics(self.job.judged),
            )
        elif isinstance(driver, BatchDriver):
            from autotune.measure.batches.session import measure

            machine = MachineWatch(own)
            measured = measure(
                driver,
                batch_size=self.system.batch_size(self.job.config),
                workload=workload,
                goal=self.job.goal,
                deadline=deadline,
                watches=(machine,),
                plugins=plugin_metrics(self.job.judged),
            )
            measured = with_machine(measured, machine, *measured.facts["measured_ns"])
        else:
            raise TypeError(f"{type(driver).__name__} is no driver that can be measured")
        self.keep(measured)
        self.facts |= judged(
            measured.facts, measured.metrics, self.job.goal, workload.precision, self.job.judged
        )
        return dict(measured.metrics)

    def own_metrics(self, found: Mapping[str, Estimate]) -> dict[str, Estimate]:
        """Return what a system measured itself; raise where a goal or a limit's metric is not among it.

        Raises:
            AttemptFailed: ``wrong_output``: a needed metric is absent, or no finite number.
        """
        goal = self.job.goal
        metrics = {goal if name == SOLE else name: estimate for name, estimate in found.items()}
        if SOLE in found:
            unit = getattr(self.system, "units", {}).get(goal, "")
            metrics[goal] = in_unit_of(goal, found[SOLE], unit)
        odd = dict(self.facts["system"].pop(NOT_FINITE, {}))
        if odd:
            odd = {goal if name == SOLE else name: text for name, text in odd.items()}
            self.facts[NOT_FINITE] = odd
        limits = [str(metric) for metric, *_ in self.job.limits]
        said = missing_metrics([goal], limits, Measurement(metrics, facts={NOT_FINITE: odd}))
        if said:
            raise AttemptFailed(Failure(Cause.WRONG_OUTPUT, said))
        return metrics

    def keep(self, measured: Measured) -> None:
        """Write the per-request table; raise for a measurement that must not be believed."""
        from autotune.measure.endpoint.token_counts import uncounted
        from autotune.measure.metrics.quantiles import latency_quantiles

        table = self.scratch / REQUESTS_NAME
        try:
            with table.open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(record.to_dict()) + "\n" for record in measured.records)
        except OSError as error:  # what was measured holds without its table
            if error.errno not in FULL:
                raise
            table.unlink(missing_ok=True)
            self.facts["not_kept"] = f"{table}: {error.strerror}"
        self.facts["measured"] = {
            **measured.facts,
            "latency_quantiles": latency_quantiles(measured.records),
        }
        if measured.invalid:
            reasons, cause = "; ".join(measured.invalid), measured.cause
            if measured.facts.get("stopped_by") == "deadline" and cause is Cause.INVALID_MEASUREMENT:
                cause = Cause.TIME_LIMIT
            if cause is Cause.TIME_LIMIT:
                reasons += f" within {self.job.deadlines.measure_s:g} s"
            errors = "\n".join({reasons, *(record.error for record in measured.records if record.error)})
            if cause is Cause.CRASHED_UNDER_LOAD and is_out_of_memory(errors):
                raise AttemptFailed(Failure(Cause.OUT_OF_MEMORY, reasons, shortfall=shortfall(errors)))
            raise AttemptFailed(Failure(cause, reasons))
        judged = self.job.judged or [self.job.goal]
        if reason := uncounted(
            measured.facts, judged, self.job.config, Workload.from_dict(self.job.workload)
        ):
            raise AttemptFailed(Failure(Cause.OWNER_MISTAKE, reason))

    def blame(self, process: SupervisedProcess | None, error: AttemptFailed, own: bool) -> AttemptFailed:
        """Return the failure with the better explanation: a dead process's own, where it died.

        One that measures itself is never up before its end: it may have refused its flags still.
        """
        if process is None or error.failure.cause is not Cause.CRASHED_UNDER_LOAD:
            return error
        deadline = time.monotonic() + _DEATH_POLL_S
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(_READY_POLL_S)
        code = process.poll()
        if code is None:
            return error
        failure = self.system.diagnose(code, log_tail(self.log, _DIAGNOSED_LINES))
        if failure.cause is Cause.REJECTED_FLAGS and not own:  # it had come up with them
            failure = replace(failure, cause=Cause.CRASHED_UNDER_LOAD)
        return AttemptFailed(failure)


def _repeated(first: Failure, second: Failure) -> Failure:
    """Return what two launches of one configuration mean that died before they were ready."""
    same = _NUMBER.sub("", first.message) == _NUMBER.sub("", second.message)
    if not same or _BY_SIGNAL.match(second.message):
        return replace(second, message=f"{second.message}; the launch before it: {first.message}")
    return replace(second, cause=Cause.REJECTED_FLAGS, message=f"{second.message} (in two launches)")


def mark_prefix(job: Job) -> str:
    """Return the start of the environment mark of everything a study launches from one store."""
    store = str(Path(job.scratch).parents[1]) if len(Path(job.scratch).parents) > 1 else job.scratch
    return f"{hashlib.blake2b(store.encode(), digest_size=6).hexdigest()}/{job.study}/"


def _end(number: int, _frame: FrameType | None) -> None:
    raise Ended(128 + number)  # unwinds, and so cleans up


def main() -> None:
    """Run the job of the file named first; write its result to the file named second.

    Without arguments, run the jobs that come as lines ``["JOB.json", "RESULT.json"]``, and keep what one
    launched for the next.
    """
    signal.signal(signal.SIGTERM, _end)
    if len(sys.argv) > 1:
        _run_file(Path(sys.argv[1]), Path(sys.argv[2]))
        return
    shelf = Shelf()
    try:
        for line in sys.stdin:
            job, result = json.loads(line)
            _run_file(Path(job), Path(result), shelf)
    finally:
        shelf.clear()


def _run_file(path: Path, answer: Path, shelf: Shelf | None = None) -> None:
    room = answer.with_name(".room")
    keep_room(room, _ROOM)
    try:
        result = run_attempt(Job.from_dict(json.loads(path.read_text(encoding="utf-8"))), shelf=shelf)
        failpoint("worker.report")
        try:
            write_json(answer, result.to_dict())
        except OSError as error:
            if error.errno not in FULL or not give_room(room):
                raise
            write_json(answer, result.to_dict())
        failpoint("worker.reported")
    finally:
        give_room(room)


if __name__ == "__main__":
    main()
