"""The Ray executor on a real local cluster."""

import os
import signal

import pytest

from autotune.core.measurement import Cause
from autotune.core.placement import Rules
from autotune.executor.ray import RayExecutor, function_calls
from tests_jobs import job_of, results_of
from tests_shared import descendants, name_of, wait_until, works_in

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def executor(ray_cluster):
    executor = RayExecutor()
    executor.start()
    yield executor
    executor.close()


def test_results_come_back_and_capacity_follows_resources(executor, ray_cluster, tmp_path):
    assert executor.capacity({"cpus": 1}) == 1  # a node without accelerators has one measurement at a time
    assert executor.capacity({"cpus": 1000}) == 0
    assert executor.capacity({"cpus": 1, "gpus": 1}) == 0
    assert "needs 1000 CPUs on one node; the largest of 1 nodes" in executor.shortage({"cpus": 1000})
    assert executor.shortage({"cpus": 1}) == ""
    executor.submit(job_of(tmp_path, resources={"cpus": 1.0}))
    assert not executor.has_room({"cpus": 1})  # it has the node to itself
    (result,) = results_of(executor)
    assert result.measurement.failure is None
    assert result.key == ("s", 0, 1)
    found = dict(result.measurement.facts["priority"])  # not that of Ray's workers, as far as rights go
    if os.geteuid() == 0:
        assert found == {
            "nice": 0,
            "oom_score_adj": 0,
            "inherited": {"nice": ray_cluster, "oom_score_adj": 1000},
        }
    else:
        assert found["nice"] == ray_cluster
    assert [result.node] == executor.nodes()
    wait_until(lambda: executor.has_room({"cpus": 1}), 20)


def test_nodes_are_shared_where_the_study_says_so(ray_cluster, tmp_path):
    executor = RayExecutor(rules=Rules(exclusive="none"))
    executor.start()
    assert executor.capacity({"cpus": 1}) == 2
    for trial in range(2):
        wait_until(lambda: executor.has_room({"cpus": 1}), 20)  # Ray counts what ran before for a while
        executor.submit(job_of(tmp_path / str(trial), trial=trial, resources={"cpus": 1.0}))
    assert not executor.has_room({"cpus": 1})
    results = results_of(executor)
    while len(results) < 2:
        results += results_of(executor)
    assert [r.measurement.failure for r in results] == [None, None]
    executor.close()


def test_a_killed_worker_is_a_result_and_its_server_ends(executor, tmp_path):
    executor.submit(job_of(tmp_path, {"mode": "hangs"}, resources={"cpus": 1.0}))
    wait_until(lambda: list(tmp_path.rglob("engine.sock")), 60)
    workers = [pid for pid in descendants(os.getpid()) if name_of(pid).startswith("ray::trial 0")]
    assert len(workers) == 1
    os.kill(workers[0], signal.SIGKILL)
    (result,) = results_of(executor)
    assert result.measurement.failure.cause is Cause.WORKER_LOST
    wait_until(lambda: works_in(tmp_path) == [], 20)


def test_cancelling_stops_the_server(executor, tmp_path):
    executor.submit(job_of(tmp_path, {"mode": "hangs"}, resources={"cpus": 1.0}))
    wait_until(lambda: list(tmp_path.rglob("engine.sock")), 60)
    executor.cancel()
    wait_until(lambda: works_in(tmp_path) == [], 20)
    assert executor.wait(0.1) == []


def test_an_attempt_that_is_given_up_ends_and_frees_its_place(executor, tmp_path):
    wait_until(lambda: executor.has_room({"cpus": 1}), 20)
    job = job_of(tmp_path, {"mode": "hangs"}, resources={"cpus": 1.0})
    executor.submit(job)
    wait_until(lambda: list(tmp_path.rglob("engine.sock")), 60)
    assert executor.drop(job.key) in executor.nodes()
    wait_until(lambda: works_in(tmp_path) == [], 20)
    wait_until(lambda: executor.has_room({"cpus": 1}), 20)
    assert executor.wait(5) == []  # a killed worker's end is no second answer
    assert executor.drop(job.key) == ""


def test_an_attempt_without_room_is_a_result_at_once(executor, tmp_path):
    executor.submit(job_of(tmp_path, resources={"cpus": 1000.0}))
    (result,) = executor.wait(5)
    assert result.measurement.failure.cause is Cause.NODE_LOST


def test_a_function_is_measured_at_ordinary_priority(ray_cluster):
    with function_calls() as submit:
        assert submit(os.nice, 0).result() == (0 if os.geteuid() == 0 else ray_cluster)
