"""Attempts in child processes of this machine, without Ray."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from autotune.core.measurement import Cause, Failure, Measurement
from autotune.executor.base import AttemptResult, Job
from autotune.executor.worker import log_tail, write_json

_POLL_S = 0.02
_SLACK_S = 10.0  # beyond the grace of the server, for the worker's own end
_PR_SET_PDEATHSIG = 1


class LocalExecutor:
    """Run each attempt as ``python -m autotune.executor.worker``.

    Args:
        parallel: Attempts at once. More than one disturb each other on a machine without accelerators.
    """

    name = "local"

    def __init__(self, parallel: int = 1) -> None:
        self.parallel = parallel
        self._running: dict[tuple[str, int, int], tuple[Job, subprocess.Popen[bytes]]] = {}
        self._dropped: dict[tuple[str, int, int], float] = {}  # when each is killed

    def start(self) -> None:
        """Do nothing: the machine is already there."""

    def capacity(self, resources: Mapping[str, float]) -> int:
        """Return the number of attempts at once, 0 for what this machine does not have."""
        return 0 if self.shortage(resources) else self.parallel

    def has_room(self, resources: Mapping[str, float], beside: Sequence[Mapping[str, float]] = ()) -> bool:
        """Return whether fewer attempts run, or are about to, than may run at once."""
        return len(self._running) - len(self._dropped) + len(beside) < self.capacity(resources)

    def shortage(self, resources: Mapping[str, float]) -> str:
        """Return what this machine lacks; its processors are shared by as many threads as there are."""
        wanted, there = resources.get("gpus", 0), _gpu_count()
        return f"needs {wanted:g} GPUs; this machine has {there}" if wanted > there else ""

    def nodes(self) -> list[str]:
        """Return this machine."""
        return [platform.node()]

    def submit(self, job: Job) -> None:
        """Start a worker for the job."""
        scratch = Path(job.scratch)
        scratch.mkdir(parents=True, exist_ok=True)
        (scratch / "result.json").unlink(missing_ok=True)
        write_json(scratch / "job.json", job.to_dict())
        libc = ctypes.CDLL(None)

        def die_with_parent() -> None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

        package = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
        with (scratch / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    sys.executable, "-m", "autotune.executor.worker",
                    str(scratch / "job.json"), str(scratch / "result.json"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C reaches the study alone, which then decides
                preexec_fn=die_with_parent,  # noqa: PLW1509 - the kernel's own parent-death signal needs it
            )  # fmt: skip
        self._running[job.key] = (job, process)

    def wait(self, timeout: float) -> list[AttemptResult]:
        """Return the results of workers that ended."""
        deadline = time.monotonic() + timeout
        while True:
            self._kill_dropped()
            ended = [key for key, (_, process) in self._running.items() if process.poll() is not None]
            if ended or not self._running or time.monotonic() >= deadline:
                break
            time.sleep(_POLL_S)
        if not self._running and not ended:
            time.sleep(max(0.0, deadline - time.monotonic()))
        results = [self._collect(key) for key in ended]
        return [result for result in results if result is not None]

    def _collect(self, key: tuple[str, int, int]) -> AttemptResult | None:
        job, process = self._running.pop(key)
        dropped = self._dropped.pop(key, None) is not None
        path = Path(job.scratch) / "result.json"
        if path.exists():
            return AttemptResult.from_dict(json.loads(path.read_text(encoding="utf-8")))
        if dropped:  # it was given up and has told nothing since
            return None
        failure = Failure(
            Cause.WORKER_LOST,
            f"the worker process ended with {process.returncode} and left no result",
            log_tail(Path(job.scratch) / "worker.log"),
        )
        now = time.time_ns()
        return AttemptResult(key, Measurement(failure=failure, started_ns=now, ended_ns=now), platform.node())

    def drop(self, key: tuple[str, int, int]) -> str:
        """End one worker, which stops what it launched; it is killed if it takes too long."""
        job, process = self._running[key]
        process.terminate()
        self._dropped[key] = time.monotonic() + job.deadlines.stop_s + _SLACK_S
        return platform.node()

    def _kill_dropped(self) -> None:
        for key, limit in self._dropped.items():
            if time.monotonic() > limit:
                self._running[key][1].kill()

    def cancel(self) -> None:
        """End every worker, which stops what it launched; kill those that take too long."""
        for _, process in self._running.values():
            process.terminate()
        began = time.monotonic()
        try:
            for job, process in self._running.values():
                limit = began + job.deadlines.stop_s + _SLACK_S
                try:
                    process.wait(max(0.0, limit - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        except KeyboardInterrupt:  # asked a second time: their supervisors end what they launched, without us
            for _, process in self._running.values():
                process.kill()
            raise
        finally:
            self._running.clear()
            self._dropped.clear()

    def close(self) -> None:
        """Cancel what runs. Idempotent."""
        self.cancel()


def _gpu_count() -> int:
    return sum(1 for _ in Path("/proc/driver/nvidia/gpus").glob("*"))
