"""What every executor must keep; inherit it to test one of your own.

.. code-block:: python

    class TestMyExecutor(ExecutorContract):
        @pytest.fixture
        def executor(self):
            executor = MyExecutor()
            executor.start()
            yield executor
            executor.close()
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import psutil
import pytest

from autotune.core.deadlines import Deadlines
from autotune.core.measurement import Cause
from autotune.executor.base import AttemptResult, Executor, Job

ONE: Mapping[str, float] = {"cpus": 1.0}
"""Resources of an attempt."""

# The program says who it is before it does what its argument says.
_PROGRAM = """
import os, sys, time
with open("pid.new", "w") as file: file.write(str(os.getpid()))
os.replace("pid.new", "pid")
if sys.argv[1] == "hangs": time.sleep(600)
if sys.argv[1] == "fails": sys.exit(3)
print('{"speed": 2.0}')
"""
_PATIENCE_S = 150.0  # a cluster of a busy machine takes a minute to begin


class ExecutorContract:
    """Contract suite of an executor; a subclass gives one that is started, as the fixture ``executor``.

    Attributes:
        impossible: Resources that it can never place; empty where it knows of none.
        worker: Part of the command line of the process below this one that runs an attempt; empty where none
            does, and nothing ends a call that is given up.
    """

    impossible: ClassVar[Mapping[str, float]] = {"gpus": 1000.0}
    worker: ClassVar[str] = "autotune.executor.worker"

    @pytest.fixture
    def executor(self) -> Iterator[Executor]:
        """Give the executor under test, started."""
        raise NotImplementedError

    def job(self, folder: Path, what: str = "works", trial: int = 0) -> Job:
        """Return an attempt that ``works`` and measures a ``speed`` of 2, ``fails``, or ``hangs``.

        Args:
            folder: Folder where it writes its process id into the file ``pid`` once it runs.
            what: Word that says what it does.
            trial: Number of its trial.
        """
        (folder / "program.py").write_text(_PROGRAM, encoding="utf-8")
        argv = [sys.executable, "program.py", "{what}"]
        return Job(
            study="s", trial=trial, attempt=1, config={"what": what}, workload={}, goal="speed",
            system={"use": "command", "argv": argv, "folder": str(folder)}, resources=dict(ONE),
            scratch=str(folder / "store" / "s" / f"trial-{trial:04d}" / "attempt-1"),
            deadlines=Deadlines(startup_s=60, measure_s=120, stop_s=0.5),
        )  # fmt: skip

    def started(self, executor: Executor, folder: Path, what: str) -> Job:
        """Submit an attempt and wait until it runs."""
        job = self.job(folder, what)
        wait_until(lambda: executor.has_room(ONE))  # a cluster counts what ran before for a while
        executor.submit(job)
        wait_until((folder / "pid").exists)
        return job

    def results(self, executor: Executor) -> list[AttemptResult]:
        """Return the next results."""
        found: list[AttemptResult] = []

        def arrived() -> bool:
            found.extend(executor.wait(0.5))
            return bool(found)

        wait_until(arrived)
        return found

    def assert_ended(self, folder: Path) -> None:
        """Wait until the program of an attempt has ended."""
        if self.worker:
            pid = int((folder / "pid").read_text(encoding="utf-8"))
            wait_until(lambda: not _is_alive(pid))

    def test_a_result_has_its_key_its_metrics_and_a_node(self, executor: Executor, tmp_path: Path) -> None:
        executor.submit(self.job(tmp_path, trial=7))
        (found,) = self.results(executor)
        assert found.key == ("s", 7, 1)
        assert found.measurement.failure is None
        assert found.measurement.metrics["speed"].value == 2.0
        assert found.node in ("", *executor.nodes())
        assert AttemptResult.from_dict(found.to_dict()) == found
        assert executor.wait(0.0) == []

    def test_a_failure_is_a_result(self, executor: Executor, tmp_path: Path) -> None:
        wait_until(lambda: executor.has_room(ONE))
        executor.submit(self.job(tmp_path, "fails"))
        (found,) = self.results(executor)
        assert found.measurement.failure is not None
        assert found.measurement.failure.cause.configuration_at_fault
        assert not found.measurement.metrics

    def test_room_is_what_neither_runs_nor_is_about_to(self, executor: Executor, tmp_path: Path) -> None:
        wait_until(lambda: executor.has_room(ONE))
        room = executor.capacity(ONE)
        assert room >= 1
        assert executor.has_room(ONE, [ONE] * (room - 1))
        assert not executor.has_room(ONE, [ONE] * room)
        executor.submit(self.job(tmp_path))
        assert not executor.has_room(ONE, [ONE] * (room - 1))
        assert len(self.results(executor)) == 1
        wait_until(lambda: executor.has_room(ONE, [ONE] * (room - 1)))

    def test_what_can_never_be_placed_is_said_with_its_number(self, executor: Executor) -> None:
        assert executor.shortage(ONE) == ""
        if self.impossible:
            (amount,) = self.impossible.values()
            assert f"{amount:g}" in executor.shortage(self.impossible)
            assert executor.capacity(self.impossible) == 0
            assert not executor.has_room(self.impossible)

    def test_one_that_is_given_up_ends_frees_its_place_and_tells_nothing(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        job = self.started(executor, tmp_path, "hangs")
        assert executor.drop(job.key) in ("", *executor.nodes())
        wait_until(lambda: executor.wait(0.1) == [] and executor.has_room(ONE))
        self.assert_ended(tmp_path)
        assert executor.wait(1.0) == []

    def test_cancelling_drops_what_runs_and_closing_twice_is_closing_once(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        self.started(executor, tmp_path, "hangs")
        executor.cancel()
        self.assert_ended(tmp_path)
        assert executor.wait(0.1) == []
        executor.close()
        executor.close()

    def test_a_worker_that_is_lost_is_a_result_and_what_it_launched_ends(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        if not self.worker:
            return
        job = self.started(executor, tmp_path, "hangs")
        below = psutil.Process().children(recursive=True)
        (worker,) = [process for process in below if self.worker in _command_line(process)]
        os.kill(worker.pid, signal.SIGKILL)
        (found,) = self.results(executor)
        assert found.key == job.key
        assert found.measurement.failure is not None
        assert found.measurement.failure.cause is Cause.WORKER_LOST
        self.assert_ended(tmp_path)


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for a condition.

    Raises:
        AssertionError: It does not come true.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it ended just now
        return ""


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
