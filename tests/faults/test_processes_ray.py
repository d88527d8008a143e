"""Processes on Ray: driver, worker and raylet of a real cluster killed, and nothing of the trial is left."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from autotune.executor.worker import mark_prefix
from tests_jobs import job_of
from tests_shared import descendants, is_alive, name_of, wait_until, works_in

pytestmark = [pytest.mark.timeout(280), pytest.mark.slow]

DRIVER = """
import json, sys, time
from autotune.executor.base import Job
from autotune.executor.ray import RayExecutor
executor = RayExecutor()
executor.start()
executor.submit(Job.from_dict(json.loads(sys.argv[1])))
print("submitted", flush=True)
while True:
    for result in executor.wait(0.5):
        failure = result.measurement.failure
        print(failure.cause.value if failure else "ok", flush=True)
"""


def environment_of(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read()
    except OSError:
        return b""


@pytest.fixture
def cluster(tmp_path):
    """A driver with a cluster of its own that runs a stubborn server; all of it ends with the test."""
    job = job_of(tmp_path, {"mode": "stubborn"}, resources={"cpus": 1}, workload={
        "prompt_tokens": "4", "output_tokens": "4", "time": "300 s", "precision": "0.01 %", "warmup": "1",
    })  # fmt: skip
    job = type(job).from_dict(
        {**job.to_dict(), "deadlines": {"startup_s": 60, "measure_s": 300, "stop_s": 0.5}}
    )
    env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, json.dumps(job.to_dict())], cwd=tmp_path, env=env,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    ) as driver:  # fmt: skip
        assert driver.stdout.readline() == "submitted\n"
        mark = mark_prefix(job).encode()
        wait_until(lambda: len(ours(mark)) >= 4, 120)  # guard, supervisor, server, and what left its session
        everything = descendants(driver.pid) | {driver.pid}
        yield driver, mark, tmp_path
        for pid in everything | descendants(driver.pid):
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)


def ours(mark):
    """Return the living processes that carry the mark of the attempt."""
    return [
        int(entry) for entry in os.listdir("/proc")
        if entry.isdigit() and mark in environment_of(int(entry)) and is_alive(int(entry))
    ]  # fmt: skip


def one(driver, text):
    (found,) = [pid for pid in descendants(driver.pid) if text in name_of(pid)][:1]
    return found


@pytest.mark.parametrize("victim", ["driver", "worker", "raylet", "raylet of a stopped worker"])
def test_a_part_of_the_cluster_is_killed(cluster, record, victim):
    driver, mark, folder = cluster
    worker = one(driver, "ray::trial 0")
    if "stopped" in victim:
        os.kill(worker, signal.SIGSTOP)
    pid = {"driver": driver.pid, "worker": worker}.get(victim) or one(driver, "raylet/raylet")
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not ours(mark), 60)
    seconds = time.monotonic() - began
    if victim != "driver":
        wait_until(lambda: not is_alive(worker), 60)
    assert [pid for pid in works_in(folder / "store") if pid != worker] == []
    if victim == "worker":
        said = (line for line in driver.stdout if "ray" not in line)  # Ray talks in between
        assert next(said) == "worker_lost\n"
    record(f"SIGKILL of the {victim}, Ray cluster with a stubborn server", "P5: no process of the trial left",
           f"0 left after {seconds:.1f} s")  # fmt: skip
