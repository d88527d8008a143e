import json
import math

import pytest

from autotune.core.endpoint import Endpoint
from autotune.core.measurement import Cause
from autotune.measure.endpoint.rate_search import measure_max_rate
from autotune.measure.endpoint.served import MeasurementContext
from autotune.measure.workload import Workload

ENDPOINT = Endpoint("http://127.0.0.1:1", "toy")


def search(generator, limits, workload=None, *, deadline=1e5, **bounds):
    work = workload or Workload(time=300, precision=0.03)
    where = MeasurementContext(generator, ENDPOINT, work, deadline, generator.world.clock)
    return measure_max_rate(where, goal="max_rate", limits=limits, **bounds)


def mm1(fake_generator, mean=0.1):
    return fake_generator(lambda rng, i, t: rng.exponential(mean))


@pytest.mark.parametrize(
    ("limit", "truth"),
    [
        # M/M/1, 10 requests/s: the time in the system is exponential with mean 1 / (10 - rate).
        (("e2e.mean", "<=", 0.4), 10 - 1 / 0.4),
        (("e2e.p95", "<=", 1.0), 10 - math.log(20) / 1.0),
    ],
)
def test_the_highest_rate_of_a_queue_is_that_of_theory(fake_generator, limit, truth):
    found = search(mm1(fake_generator), [limit])
    rate = found.metrics["max_rate"]
    assert rate.unit == "requests/s"
    assert rate.value == pytest.approx(truth, rel=0.12)
    low, high = rate.interval(3.0)
    assert low <= truth <= high
    assert found.metrics[limit[0]].value <= limit[2]
    assert found.invalid == ()
    assert json.loads(json.dumps(found.facts)) == found.facts


def test_a_deterministic_queue_without_limits_is_as_fast_as_its_servers(fake_generator):
    found = search(fake_generator(lambda rng, i, t: 0.2, slots=4), [], Workload(time=100))  # 20 at most
    assert found.metrics["max_rate"].value == pytest.approx(20, rel=0.15)
    assert any("overload" in probe["why"] for probe in found.facts["search"])


def test_a_probe_that_cannot_pass_any_more_is_ended(fake_generator):
    generator = fake_generator(lambda rng, i, t: 2.0 if i % 2 else 0.01, slots=1000)
    found = search(generator, [("e2e.p99", "<=", 0.5)])
    failed = [probe for probe in found.facts["search"] if not probe["passed"]]
    assert failed
    assert "are beyond e2e.p99 <= 0.5" in failed[0]["why"]
    assert all(probe["seconds"] < 150 for probe in failed[:1])


def test_what_fails_at_every_rate_is_reported_with_its_limits_broken(fake_generator):
    found = search(fake_generator(lambda rng, i, t: 1.0, slots=4), [("e2e.p95", "<=", 0.5)], low=0.5)
    assert found.metrics["e2e.p95"].value == pytest.approx(1.0)
    assert found.metrics["max_rate"].value == 0.5
    assert found.metrics["max_rate"].sem is None


def test_what_a_lone_request_breaks_is_not_looked_for_at_lower_rates(fake_generator):
    found = search(fake_generator(lambda rng, i, t: 1.0, slots=4), [("e2e.p95", "<=", 0.5)])
    assert len(found.facts["search"]) <= 2
    assert found.facts["max_rate_bound"] == "at most: the lowest rate tried breaks a limit"
    assert found.metrics["max_rate"].bound == "at most"


def test_the_highest_rate_asked_for_is_not_exceeded(fake_generator):
    generator = mm1(fake_generator, 0.01)
    found = search(generator, [("e2e.mean", "<=", 1.0)], high=16.0)
    assert found.metrics["max_rate"].value == 16.0
    assert max(plan.rate or 0 for plan in generator.plans) == 16.0


def test_limits_that_records_do_not_tell_play_no_part(fake_generator):
    found = search(
        mm1(fake_generator), [("memory.peak", "<=", 1.0), ("e2e.mean", "<=", 0.4)], Workload(time=60)
    )
    assert found.metrics["max_rate"].value == pytest.approx(7.5, rel=0.25)


def test_equal_seeds_find_the_same(fake_generator):
    work = Workload(time=30)
    first, second = (search(mm1(fake_generator), [("e2e.mean", "<=", 0.4)], work) for _ in range(2))
    assert first.metrics == second.metrics


def test_a_search_for_the_highest_rate_ends_at_its_deadline(fake_generator):
    generator = mm1(fake_generator)
    search(generator, [("e2e.mean", "<=", 0.4)], Workload(time=60), deadline=400.0)
    assert generator.world.now < 405e9


def test_a_dead_server_is_its_configurations_fault(fake_generator):
    generator = fake_generator(lambda rng, i, t: 0.1, error=lambda stream, i: "connection refused")
    found = search(generator, [])
    assert found.cause is Cause.CRASHED_UNDER_LOAD
    assert found.metrics == {}
