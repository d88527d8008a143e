"""The Ray executor on a real local cluster."""

import os

import pytest

from autotune.core.measurement import Cause
from autotune.core.placement import Rules
from autotune.executor.ray import RayExecutor, function_calls
from autotune.testing.executor_contract import ExecutorContract
from tests_jobs import job_of, results_of
from tests_shared import wait_until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def executor(ray_cluster):
    executor = RayExecutor()
    executor.start()
    yield executor
    executor.close()


class TestRay(ExecutorContract):
    impossible = {"cpus": 1000.0}  # noqa: RUF012 - the contract declares the class variable
    worker = "ray::trial"

    @pytest.fixture
    def executor(self, executor):
        return executor


def test_an_attempt_has_a_node_to_itself_at_ordinary_priority(executor, ray_cluster, tmp_path):
    assert executor.capacity({"cpus": 1}) == 1  # a node without accelerators has one measurement at a time
    assert executor.capacity({"cpus": 1, "gpus": 1}) == 0
    assert "needs 1000 CPUs on one node; the largest of 1 nodes" in executor.shortage({"cpus": 1000})
    executor.submit(job_of(tmp_path, resources={"cpus": 1.0}))
    (result,) = results_of(executor)
    found = dict(result.measurement.facts["priority"])  # not that of Ray's workers, as far as rights go
    if os.geteuid() == 0:
        assert found == {
            "nice": 0,
            "oom_score_adj": 0,
            "inherited": {"nice": ray_cluster, "oom_score_adj": 1000},
        }
    else:
        assert found["nice"] == ray_cluster


def test_nodes_are_shared_where_the_study_says_so(ray_cluster, tmp_path):
    executor = RayExecutor(rules=Rules(exclusive="none"))
    executor.start()
    assert executor.capacity({"cpus": 1}) == 2
    for trial in range(2):
        wait_until(lambda: executor.has_room({"cpus": 1}), 90)  # Ray counts what ran before for a while
        executor.submit(job_of(tmp_path / str(trial), trial=trial, resources={"cpus": 1.0}))
    assert not executor.has_room({"cpus": 1})
    results = results_of(executor)
    while len(results) < 2:
        results += results_of(executor)
    assert [r.measurement.failure for r in results] == [None, None]
    executor.close()


def test_an_attempt_without_room_is_a_result_at_once(executor, tmp_path):
    executor.submit(job_of(tmp_path, resources={"cpus": 1000.0}))
    (result,) = executor.wait(5)
    assert result.measurement.failure.cause is Cause.NODE_LOST


def test_a_function_is_measured_at_ordinary_priority(ray_cluster):
    with function_calls() as submit:
        assert submit(os.nice, 0).result() == (0 if os.geteuid() == 0 else ray_cluster)
