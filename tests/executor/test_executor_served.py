"""How the worker measures a server: what it hands over, and whose fault it finds a bad measurement to be."""

import json

import pytest

from autotune.core.endpoint import Endpoint
from autotune.core.measurement import Cause, Estimate
from autotune.core.objective import Objective
from autotune.core.request import RequestRecord
from autotune.executor import worker
from autotune.executor.base import Job
from autotune.measure.endpoint import serving
from autotune.measure.statistics.validity import Measured
from autotune.measure.workload import Workload
from autotune.systems.base import AttemptFailed

RECORD = RequestRecord(0, 4, 0, ((5, 1),), 9)


class Server:
    """A driver that names an endpoint."""

    def endpoint(self):
        return Endpoint("http://127.0.0.1:1", "toy")

    def facts(self):
        return {}

    def metrics(self, deadline):
        return {}

    def close(self):
        pass


class Process:
    pid, supervisor_pid = 11, 12


@pytest.fixture
def attempt(tmp_path, monkeypatch):
    """Return a function that measures a server whose load gives ``measured``; it keeps what it was handed."""
    handed = {}

    def load(measured, limits=()):
        job = Job("s", 0, 1, {}, {}, {}, "max_rate", str(tmp_path), limits=[list(limit) for limit in limits])
        monkeypatch.setattr(serving, "build_generator", lambda workload, salt: "generator")

        def endpoint(generator, where, workload, **rest):
            handed.update(rest, generator=generator, where=where)
            return measured

        monkeypatch.setattr(serving, "measure_endpoint", endpoint)
        facts = {}
        found = worker._Attempt(job, None, tmp_path, facts).load(Server(), Workload(), 5.0, Process())
        return found, facts, handed

    return load


def test_a_server_is_measured_with_the_objectives_limits(attempt, tmp_path):
    metrics = {"max_rate": Estimate(4.0, 0.1, 7, "requests/s")}
    found, facts, handed = attempt(Measured(metrics, [RECORD], {"rate": 4}), [("ttft.p99", "<=", 0.5)])
    assert found == metrics
    assert facts["measured"]["rate"] == 4
    assert set(facts["measured"]) == {"rate", "latency_quantiles"}
    assert handed["limits"] == [("ttft.p99", "<=", 0.5)]
    assert handed["goal"] == "max_rate"
    assert handed["own"] == (11, 12)
    assert handed["where"].url == "http://127.0.0.1:1"
    lines = (tmp_path / "requests.jsonl").read_text().splitlines()
    assert [RequestRecord.from_dict(json.loads(line)) for line in lines] == [RECORD]


@pytest.mark.parametrize(
    ("cause", "stopped_by", "expected"),
    [
        (Cause.LOAD_GENERATOR_BEHIND, "time", Cause.LOAD_GENERATOR_BEHIND),
        (Cause.THROTTLED, "precision", Cause.THROTTLED),
        (Cause.CRASHED_UNDER_LOAD, "errors", Cause.CRASHED_UNDER_LOAD),
        (Cause.INVALID_MEASUREMENT, "time", Cause.INVALID_MEASUREMENT),
        (Cause.INVALID_MEASUREMENT, "deadline", Cause.TIME_LIMIT),
        (Cause.THROTTLED, "deadline", Cause.THROTTLED),
    ],
)
def test_whose_fault_an_invalid_measurement_is(attempt, cause, stopped_by, expected):
    with pytest.raises(AttemptFailed, match="why") as caught:
        attempt(Measured({}, [], {"stopped_by": stopped_by}, ("why",), cause))
    assert caught.value.failure.cause is expected


def test_limits_travel_as_plain_data_and_relative_ones_only_once_the_default_is_known():
    from autotune.study.jobs import limits_data

    limits = ["ttft.p99 <= 500 ms", "memory.peak >= 1 GB", "tpot.mean <= 1.1 x default"]
    objective = Objective.from_dict({"maximize": "max_rate", "limits": limits})
    plain = [["ttft.p99", "<=", 0.5], ["memory.peak", ">=", 1e9]]
    assert limits_data(objective) == plain
    anchored = objective.anchored({"tpot.mean": Estimate(0.02, None, 1, "s")})
    assert limits_data(anchored) == [*plain, ["tpot.mean", "<=", pytest.approx(0.022)]]
    job = Job("s", 0, 1, {}, {}, {}, "max_rate", "/tmp/x", limits=plain)
    assert Job.from_dict(json.loads(json.dumps(job.to_dict()))) == job
