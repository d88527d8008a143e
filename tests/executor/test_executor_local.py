"""Attempts in child processes: the contract, what a lost one leaves, one that is paused."""

import os
import signal

import pytest

from autotune.core.measurement import Cause
from autotune.executor.local import LocalExecutor
from autotune.testing.executor_contract import ExecutorContract
from tests_jobs import job_of, results_of
from tests_shared import is_alive, wait_until, works_in


class TestLocal(ExecutorContract):
    @pytest.fixture
    def executor(self):
        executor = LocalExecutor(parallel=2)
        executor.start()
        yield executor
        executor.close()


def test_what_a_killed_worker_leaves_is_masked(tmp_path, monkeypatch):
    monkeypatch.setenv("PLANTED_SECRET", "planted-in-a-log")
    executor = LocalExecutor()
    job = job_of(tmp_path, {"mode": "hangs"})
    executor.submit(job)
    wait_until(lambda: list(tmp_path.rglob("server.sock")), 60)
    log = next(iter(tmp_path.rglob("server.sock"))).with_name("server.log")
    with log.open("a") as file:
        file.write("key: planted-in-a-log\n")
    executor._running[job.key].process.kill()
    (lost,) = results_of(executor)
    assert lost.measurement.failure.cause is Cause.WORKER_LOST
    executor.close()
    assert "[redacted]" in log.read_text()
    assert "planted-in-a-log" not in log.read_text()
    executor.close()


def test_a_worker_that_is_paused_is_killed_after_the_grace(tmp_path, monkeypatch):
    monkeypatch.setattr("autotune.executor.local._SLACK_S", 1.0)
    executor = LocalExecutor()
    job = job_of(tmp_path, {"mode": "hangs"})
    executor.submit(job)
    wait_until(lambda: list(tmp_path.rglob("server.sock")), 60)
    worker = executor._running[job.key].process.pid
    os.kill(worker, signal.SIGSTOP)
    executor.drop(job.key)
    wait_until(lambda: executor.wait(0.1) == [] and not is_alive(worker), 90)
    wait_until(lambda: works_in(tmp_path) == [], 90)
    executor.close()
