import json

import pytest

from autotune.core.endpoint import Endpoint
from autotune.core.measurement import DOUBT, Cause
from autotune.core.quantiles import NORMAL
from autotune.measure.endpoint.overload import HORIZON_S
from autotune.measure.endpoint.served import MeasurementContext, measure_served
from autotune.measure.statistics.doubt import judged
from autotune.measure.statistics.queue_memory import LEAST_RELAXATIONS
from autotune.measure.workload import RequestLimits, Workload

ENDPOINT = Endpoint("http://127.0.0.1:1", "toy")


def context(generator, workload=None, *, deadline=1e9, **more):
    return MeasurementContext(
        generator, ENDPOINT, workload or Workload(), deadline, generator.world.clock, **more
    )


def run(generator, workload=None, *, goal="e2e.mean", rate=None, concurrency=None, **more):
    return measure_served(context(generator, workload, **more), goal=goal, rate=rate, concurrency=concurrency)


def exponential(mean):
    return lambda rng, i, t: rng.exponential(mean)


def test_an_exact_server_in_a_closed_loop_gives_exact_numbers(fake_generator):
    found = run(fake_generator(lambda rng, i, t: 0.5, slots=4), concurrency=4, goal="output_throughput")
    assert found.invalid == ()
    assert found.metrics["output_throughput"].value == pytest.approx(80, rel=0.02)  # 4 x 10 tokens in 0.5 s
    assert found.metrics["total_throughput"].value == pytest.approx(240, rel=0.02)
    # Four requests end together: a count of them is off by a part of four.
    assert found.metrics["request_throughput"].value == pytest.approx(8, abs=4 / found.facts["seconds"])
    assert found.metrics["e2e.p99"].value == pytest.approx(0.5)
    assert found.metrics["ttft.mean"].value == pytest.approx(0.05)
    assert found.metrics["tpot.p50"].value == pytest.approx(0.05)
    assert found.metrics["decode_throughput"].value == pytest.approx(20)
    assert found.metrics["prefill_throughput"].value == pytest.approx(20 / 0.05)
    assert found.metrics["idealized_runtime"].value == pytest.approx(0.5)
    assert found.metrics["error_rate"].value == 0
    assert found.facts["stopped_by"] == "precision"
    assert found.facts["warmup_steady"] is True
    assert json.loads(json.dumps(found.facts)) == found.facts


def test_a_rate_that_precision_ends_is_of_the_width_asked_for_or_far_below(fake_generator):
    generator = fake_generator(lambda rng, i, t: rng.gamma(4.0, 0.1), slots=4)
    widths = []
    for seed in range(12):
        work = Workload(seed=seed, time=300, precision=0.05)
        found = run(generator, work, concurrency=4, goal="request_throughput")
        generator = fake_generator(lambda rng, i, t: rng.gamma(4.0, 0.1), slots=4)
        assert found.facts["stopped_by"] == "precision"
        rate = found.metrics["request_throughput"]
        widths.append(NORMAL * rate.sem / rate.value)
    assert max(widths) <= 0.05 + 1e-9
    # What was stopped at by chance is as wide as was asked for; nothing lies between that and half of it.
    assert sum(abs(width - 0.05) < 1e-9 for width in widths) >= 6
    assert not [width for width in widths if 0.0265 < width < 0.0499]


@pytest.mark.parametrize("precision", [0.06, pytest.param(0.03, marks=pytest.mark.slow)])
def test_a_queue_shows_the_latencies_of_theory(fake_generator, precision):
    # M/M/1 with a mean service of 0.1 s at 6 requests/s: e2e is exponential with a mean of 0.25 s.
    generator = fake_generator(exponential(0.1))
    found = run(generator, Workload(time=1e5, precision=precision), rate=6.0)
    assert found.invalid == ()
    assert found.facts["stopped_by"] == "precision"
    assert found.metrics["e2e.mean"].value == pytest.approx(0.25, rel=0.08)
    assert found.metrics["e2e.p95"].value == pytest.approx(0.25 * 2.996, rel=0.15)
    assert found.metrics["request_throughput"].value == pytest.approx(6, rel=0.05)
    assert found.metrics["idealized_runtime"].value < 0.25
    low, high = found.metrics["e2e.mean"].interval()
    assert (high - low) / 2 <= 1.03 * precision * found.metrics["e2e.mean"].value


def test_an_open_loop_says_how_long_it_is_beside_the_memory_of_its_queue(fake_generator):
    work = Workload(time=30, precision=0.03)
    near = run(fake_generator(exponential(0.1)), work, rate=9.2)
    assert near.facts["relaxations"] < LEAST_RELAXATIONS
    assert near.metrics["e2e.mean"].sem * 1.96 > 0.25 * near.metrics["e2e.mean"].value
    doubt = judged(near.facts, near.metrics, "request_throughput", 0.05, ["e2e.p95"]).get(DOUBT, "")
    assert "too short for e2e.p95" in doubt
    assert json.loads(json.dumps(near.facts)) == near.facts
    quiet = run(fake_generator(lambda rng, i, t: 0.1 + 0.01 * rng.random(), slots=16), work, rate=9.2)
    assert quiet.facts["relaxations"] is None
    assert judged(quiet.facts, quiet.metrics, "e2e.mean", 0.05, ["e2e.p95"]) == {}
    closed = run(fake_generator(exponential(0.1), slots=4), work, concurrency=4)
    assert closed.facts["relaxations"] is None


def test_the_slow_requests_of_the_end_are_measured_too(fake_generator):
    # Every 10th request takes 5 s; leaving out those under way at the end would lose some.
    generator = fake_generator(lambda rng, i, t: 5.0 if i % 10 == 9 else 0.1, slots=80)
    found = run(generator, Workload(time=60, precision=0.001), rate=20.0)
    assert found.invalid == ()
    share = sum(r.end_ns - r.send_ns > 4e9 for r in found.records) / len(found.records)
    assert share == pytest.approx(0.1, abs=0.002)
    assert not any(r.error for r in found.records)


def test_warm_up_is_cut_off(fake_generator):
    generator = fake_generator(lambda rng, i, t: 0.1 + 0.9 * 2.0 ** (-t), slots=4)
    found = run(generator, Workload(time=300), concurrency=4, goal="output_throughput")
    assert found.facts["warmup_seconds"] >= 3
    assert found.facts["warmup_steady"] is True
    assert found.metrics["e2e.p50"].value == pytest.approx(0.1, rel=0.1)
    assert found.metrics["output_throughput"].value == pytest.approx(400, rel=0.05)


def test_a_fixed_warm_up_is_counted_in_requests(fake_generator):
    found = run(fake_generator(lambda rng, i, t: 0.5), Workload(warmup=4), concurrency=1)
    assert found.facts["warmup_seconds"] == pytest.approx(2.0, abs=0.7)
    assert found.facts["warmup_steady"] is None


@pytest.mark.parametrize("rate", [15.0, 25.0])
def test_an_overload_is_a_valid_answer_with_limits_broken(fake_generator, rate):
    generator = fake_generator(exponential(0.1))  # 10 requests/s at most
    found = run(generator, Workload(time=120), rate=rate)
    assert found.invalid == ()
    assert found.facts["stopped_by"] == "overload"
    assert found.facts["overload"]["growth"] == pytest.approx(1 - 10 / rate, abs=0.12)
    assert found.metrics["request_throughput"].value == pytest.approx(10, rel=0.25)
    assert found.metrics["ttft.p99"].value > 0.2 * HORIZON_S
    assert found.metrics["tpot.p50"].value < 0.05  # what a request takes once it is served is stationary
    assert generator.world.now < 120e9  # it ended early


def test_a_worse_overload_breaks_limits_by_more(fake_generator):
    values = [
        run(fake_generator(exponential(0.1)), Workload(time=120), rate=rate).metrics["ttft.mean"].value
        for rate in (9.0, 15.0, 30.0)
    ]
    assert values[0] < 5
    assert values == sorted(values)


@pytest.mark.parametrize(("seeds", "most"), [(5, 0), pytest.param(15, 1, marks=pytest.mark.slow)])
def test_a_busy_but_stable_queue_is_no_overload(fake_generator, seeds, most):
    flagged = 0
    for seed in range(seeds):
        workload = Workload(time=60, seed=seed, precision=1e-6)
        found = run(fake_generator(exponential(0.1)), workload, rate=8.0)
        flagged += "overload" in found.facts
    assert flagged <= most


def test_goodput_counts_requests_where_they_were_sent(fake_generator):
    # Deterministic: half of the requests are slow; all are answered.
    generator = fake_generator(lambda rng, i, t: 0.2 if i % 2 else 1.0, slots=40)
    workload = Workload(goodput=RequestLimits(ttft=None, tpot=None, e2e=0.5), time=100, precision=0.02)
    found = run(generator, workload, rate=10.0, goal="goodput")
    assert found.metrics["goodput"].value == pytest.approx(5.0, rel=0.1)
    assert found.metrics["request_throughput"].value == pytest.approx(10.0, rel=0.1)
    assert found.facts["precision_of"] == "goodput"


def test_errors_of_the_server_are_its_configurations_fault(fake_generator):
    generator = fake_generator(
        lambda rng, i, t: 0.1, slots=4, error=lambda stream, i: "HTTP 500" if i % 20 == 7 else None
    )
    found = run(generator, concurrency=4)
    assert found.cause is Cause.CRASHED_UNDER_LOAD
    assert found.invalid[0].endswith("requests failed, at most 0.1% may; first: HTTP 500")
    assert found.metrics["error_rate"].value == pytest.approx(0.05, abs=0.02)
    assert run(generator, concurrency=4, max_error_rate=0.1).invalid == ()


def test_a_server_that_never_answers_ends_at_once(fake_generator):
    generator = fake_generator(lambda rng, i, t: 0.01, error=lambda stream, i: "connection refused")
    found = run(generator, rate=100.0)
    assert found.cause is Cause.CRASHED_UNDER_LOAD
    assert found.invalid == ("no request was answered: connection refused",)
    assert generator.world.now < 5e9
    assert found.metrics == {}


def test_a_server_that_dies_under_load_ends_the_run(fake_generator):
    dead = fake_generator(
        exponential(0.1),
        slots=4,
        error=lambda stream, i: "connection reset" if stream == "measured" and i > 60 else None,
    )
    found = run(dead, Workload(time=1e4, precision=1e-6), concurrency=4)
    assert found.facts["stopped_by"] == "errors"
    assert found.cause is Cause.CRASHED_UNDER_LOAD
    assert dead.world.now < 100e9


def test_a_redirect_that_comes_late_is_the_owners_with_its_address_and_what_mends_it(fake_generator):
    away = "HTTP 308: redirected to 'https://127.0.0.1:1/v1/completions', which is not followed"
    moved = fake_generator(
        exponential(0.1),
        slots=4,
        error=lambda stream, i: (
            ("connection reset" if i == 61 else away) if stream == "measured" and i > 60 else None
        ),
    )
    found = run(moved, Workload(time=1e4, precision=1e-6), concurrency=4)
    assert found.cause is Cause.OWNER_MISTAKE
    said = f"first: http://127.0.0.1:1/v1/completions: {away}; the server wants TLS: the url is https://"
    assert found.invalid[0].endswith(said)
    first = run(fake_generator(lambda rng, i, t: 0.01, error=lambda stream, i: away), rate=100.0)
    assert first.invalid[0].startswith("no request was answered: http://127.0.0.1:1/v1/completions: HTTP 308")


def test_a_generator_behind_its_schedule_is_an_environment_fault(fake_generator):
    found = run(fake_generator(lambda rng, i, t: 0.1, slots=8, slip_s=0.05), rate=10.0)
    assert found.cause is Cause.LOAD_GENERATOR_BEHIND
    assert found.invalid == ("the load generator was behind its schedule: p99 50 ms",)


def test_a_machine_that_grows_slower_is_noticed(fake_generator):
    slower = fake_generator(lambda rng, i, t: 0.1 * (1 + 0.02 * t), slots=4)
    found = run(slower, Workload(time=60, precision=1e-6), concurrency=4)
    assert found.cause is Cause.INVALID_MEASUREMENT
    assert "the latency drifted by +" in found.invalid[0]


def test_the_deadline_ends_a_run_with_too_few_requests(fake_generator):
    generator = fake_generator(lambda rng, i, t: 10.0)
    found = run(generator, concurrency=1, deadline=80.0)
    assert found.facts["stopped_by"] == "deadline"
    assert found.cause is Cause.TIME_LIMIT
    assert found.invalid[0].startswith("too few requests: ")
    assert generator.world.now <= 80e9


def test_a_cap_on_requests_and_equal_seeds(fake_generator):
    def once():
        return run(
            fake_generator(exponential(0.1)), Workload(requests=200, precision=1e-6, time=1e4), rate=5.0
        )

    first, second = once(), once()
    assert first.facts["stopped_by"] == "requests"
    assert first.metrics == second.metrics
