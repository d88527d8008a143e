"""Attempts in child processes of this machine, without Ray."""

from __future__ import annotations

import contextlib
import ctypes
import json
import platform
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune.core.environment import own_environment, own_module
from autotune.core.file_names import JOB_NAME, RESULT_NAME, WORKER_LOG
from autotune.core.measurement import Cause, Failure, Measurement
from autotune.core.redact import redact
from autotune.errors import EnvironmentProblem
from autotune.executor.attempt_files import log_tail, mask_later, wait_for_masks, write_json
from autotune.executor.base import AttemptResult, Job

_POLL_S = 0.02
_SLACK_S = 10.0  # beyond the grace of the server, for the worker's own end
_PR_SET_PDEATHSIG = 1


@dataclass
class _Worker:
    """A worker process and its job.

    Args:
        process: Worker process.
        job: Job that it runs now.
        stays: Whether it takes jobs one after the other, and keeps what they launched.
        killed_at: Time of its kill, having been told to end; ``None`` while it has not.
    """

    process: subprocess.Popen[bytes]
    job: Job
    stays: bool
    killed_at: float | None = None

    @property
    def result(self) -> Path:
        """File of the job's result."""
        return _files(self.job)[1]

    @property
    def is_done(self) -> bool:
        """Whether the job is over: the process has ended, or stays and has written a result."""
        return self.process.poll() is not None or (self.stays and self.result.exists())


class LocalExecutor:
    """Executor that runs each attempt as ``python -m autotune.executor.worker``.

    Attempts that may share what one of them launches (``launch_key``) go to workers that stay; one that has
    launched the same before is preferred.

    Args:
        parallel: Attempts at once. More than one disturb each other on a machine without accelerators.
    """

    name = "local"

    def __init__(self, parallel: int = 1) -> None:
        self.parallel = parallel
        self._running: dict[tuple[str, int, int], _Worker] = {}
        self._idle: list[_Worker] = []  # with what their last jobs launched

    def start(self) -> None:
        """Do nothing: the machine is already there."""

    def capacity(self, resources: Mapping[str, float]) -> int:
        """Return the number of attempts at once, 0 for what this machine does not have."""
        return 0 if self.shortage(resources) else self.parallel

    def has_room(self, resources: Mapping[str, float], beside: Sequence[Mapping[str, float]] = ()) -> bool:
        """Return whether fewer attempts run, or are about to, than may run at once."""
        busy = sum(worker.killed_at is None for worker in self._running.values())
        return busy + len(beside) < self.capacity(resources)

    def shortage(self, resources: Mapping[str, float]) -> str:
        """Return what this machine lacks; its processors are shared by as many threads as there are."""
        wanted, there = resources.get("gpus", 0), _gpu_count()
        return f"needs {wanted:g} GPUs; this machine has {there}" if wanted > there else ""

    def nodes(self) -> list[str]:
        """Return this machine."""
        return [platform.node()]

    def submit(self, job: Job) -> None:
        """Give the job to a worker."""
        scratch = Path(job.scratch)
        order, result = _files(job)
        try:
            scratch.mkdir(parents=True, exist_ok=True)
            result.unlink(missing_ok=True)
            write_json(order, job.to_dict())
        except OSError as error:
            raise EnvironmentProblem(
                f"cannot write {order}: {error.strerror}",
                hint="nothing that was measured is lost; the same command goes on once it can be written",
            ) from None
        words = [str(order), str(result)]
        if not job.launch_key:
            idle, self._idle = self._idle, []
            self._end(idle)  # what they keep would be in the way
            self._running[job.key] = _Worker(_start(scratch, words), job, stays=False)
            return
        self._idle = [worker for worker in self._idle if worker.process.poll() is None]
        self._idle.sort(key=lambda worker: worker.job.launch_key == job.launch_key)
        worker = self._idle.pop() if self._idle else _Worker(_start(scratch, []), job, stays=True)
        worker.job = job
        self._running[job.key] = worker
        assert worker.process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(BrokenPipeError):  # it died just now, which wait() finds
            worker.process.stdin.write(json.dumps(words).encode() + b"\n")
            worker.process.stdin.flush()

    def wait(self, timeout: float) -> list[AttemptResult]:
        """Return the results of workers that ended."""
        deadline = time.monotonic() + timeout
        while True:
            self._kill_dropped()
            ended = [key for key, worker in self._running.items() if worker.is_done]
            if ended or not self._running or time.monotonic() >= deadline:
                break
            time.sleep(_POLL_S)
        if not self._running and not ended:
            time.sleep(max(0.0, deadline - time.monotonic()))
        results = [self._collect(key) for key in ended]
        return [result for result in results if result is not None]

    def _collect(self, key: tuple[str, int, int]) -> AttemptResult | None:
        worker = self._running.pop(key)
        if worker.process.poll() is None:
            self._idle.append(worker)
        if worker.result.exists():
            return AttemptResult.from_dict(json.loads(worker.result.read_text(encoding="utf-8")))
        if worker.killed_at is not None:  # it was given up and has told nothing since
            return None
        mask_later(Path(worker.job.scratch))
        failure = Failure(
            Cause.WORKER_LOST,
            f"the worker process ended with {worker.process.returncode} and left no result",
            redact(log_tail(Path(worker.job.scratch) / WORKER_LOG)),
        )
        now = time.time_ns()
        return AttemptResult(key, Measurement(failure=failure, started_ns=now, ended_ns=now), platform.node())

    def drop(self, key: tuple[str, int, int]) -> str:
        """End one worker, which stops what it launched; it is killed if it takes too long."""
        worker = self._running[key]
        worker.process.terminate()
        worker.killed_at = time.monotonic() + worker.job.deadlines.stop_s + _SLACK_S
        return platform.node()

    def _kill_dropped(self) -> None:
        for worker in self._running.values():
            if worker.killed_at is not None and time.monotonic() > worker.killed_at:
                worker.process.kill()

    def cancel(self) -> None:
        """End every worker, which stops what it launched; kill those that take too long."""
        workers = [*self._running.values(), *self._idle]
        self._running.clear()
        self._idle.clear()
        self._end(workers)

    @staticmethod
    def _end(workers: Sequence[_Worker]) -> None:
        """End workers; kill those that take too long."""
        for worker in workers:
            worker.process.terminate()
        began = time.monotonic()
        try:
            for worker in workers:
                limit = began + worker.job.deadlines.stop_s + _SLACK_S
                try:
                    worker.process.wait(max(0.0, limit - time.monotonic()))
                except subprocess.TimeoutExpired:
                    worker.process.kill()
                    worker.process.wait()
        except KeyboardInterrupt:  # asked a second time: their supervisors end what they launched, without us
            for worker in workers:
                worker.process.kill()
            raise
        finally:
            for worker in workers:
                if worker.process.stdin is not None:
                    with contextlib.suppress(BrokenPipeError):  # an order that a dead worker never took
                        worker.process.stdin.close()

    def close(self) -> None:
        """Cancel what runs; wait until the files of lost attempts are masked. Idempotent."""
        self.cancel()
        wait_for_masks()


def _files(job: Job) -> tuple[Path, Path]:
    """Return the files of a job and of its result; whoever sees one sees all of it."""
    return Path(job.scratch) / JOB_NAME, Path(job.scratch) / RESULT_NAME


def _start(scratch: Path, words: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a worker that runs what its arguments say, or without any what comes through its pipe."""
    libc = ctypes.CDLL(None)

    def die_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    with (scratch / WORKER_LOG).open("ab") as log:
        return subprocess.Popen(
            own_module("autotune.executor.worker", *words),
            stdin=subprocess.DEVNULL if words else subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=own_environment(),
            start_new_session=True,  # Ctrl-C reaches the study alone, which then decides
            preexec_fn=die_with_parent,  # noqa: PLW1509 - the kernel's own parent-death signal needs it
        )


def _gpu_count() -> int:
    return sum(1 for _ in Path("/proc/driver/nvidia/gpus").glob("*"))
