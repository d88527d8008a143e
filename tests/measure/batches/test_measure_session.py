import json
from dataclasses import replace

import numpy as np
import pytest

from autotune.measure.batches.session import measure
from autotune.measure.workload import Length, Workload

FOREVER = 1e9  # seconds


def run(target, workload=None, *, size=4, goal="output_throughput", deadline=FOREVER, seed=0):
    return measure(
        target,
        batch_size=size,
        workload=workload or Workload(),
        goal=goal,
        deadline=deadline,
        seed=seed,
        clock=target.clock,
    )


def noisy(spread, seed=0, tokens_per_second=100.0):
    """Return seconds per batch: in proportion to its tokens, times log-normal noise of mean 1."""
    rng = np.random.default_rng(seed)

    def seconds(number, requests):
        work = sum(r.max_tokens for r in requests) / tokens_per_second
        return work * float(np.exp(spread * rng.normal() - spread**2 / 2))

    return seconds


def test_an_exact_system_gives_exact_numbers(fake_target):
    target = fake_target(lambda number, requests: 2.0)
    found = run(target, Workload(output_tokens=Length(50), prompt_tokens=Length(10)))
    assert found.invalid == ()
    assert found.metrics["output_throughput"].value == pytest.approx(100)
    assert found.metrics["total_throughput"].value == pytest.approx(120)
    assert found.metrics["request_throughput"].value == pytest.approx(2)
    assert found.metrics["ttft.p99"].value == pytest.approx(0.04)
    assert found.metrics["itl.p50"].value == pytest.approx(0.04)
    assert found.metrics["tpot.mean"].value == pytest.approx(0.04)
    assert found.metrics["e2e.p95"].value == pytest.approx(2.0)
    assert found.metrics["output_throughput"].sem == pytest.approx(0, abs=1e-6)
    assert found.facts["batches"] == 5
    assert found.facts["warmup_batches"] == 4
    assert found.facts["warmup_steady"] is True
    assert found.facts["stopped_by"] == "precision"
    assert found.facts["seconds"] == pytest.approx(10)
    assert len(found.records) == 20
    assert json.loads(json.dumps(found.facts)) == found.facts


def test_warm_up_is_kept_apart(fake_target):
    slow = {0: 30.0, 1: 9.0, 2: 3.0}
    target = fake_target(lambda number, requests: slow.get(number, 1.0))
    found = run(target, Workload(output_tokens=Length(25), time=600.0))
    assert found.metrics["output_throughput"].value == pytest.approx(100)
    assert found.metrics["e2e.p99"].value == pytest.approx(1.0)
    assert found.facts["warmup_batches"] == 7
    assert found.facts["warmup_seconds"] == pytest.approx(46.0)
    assert {r.id for r in found.records} == set(range(20))
    assert all(request.id < 0 for batch in target.batches[:7] for request in batch)


def test_a_fixed_warm_up(fake_target):
    target = fake_target(lambda number, requests: 1.0)
    assert run(target, Workload(warmup=2)).facts["warmup_batches"] == 2
    target = fake_target(lambda number, requests: 1.0)
    found = run(target, Workload(warmup=0))
    assert found.facts["warmup_batches"] == 0
    assert found.facts["warmup_steady"] is None


def test_warm_up_is_bounded_in_batches_and_time(fake_target):
    def ever_slower(number, requests):
        return 0.001 * 1.1**number

    found = run(fake_target(ever_slower))
    assert found.facts["warmup_batches"] == 20
    assert found.facts["warmup_steady"] is False
    found = run(fake_target(lambda number, requests: 20.0 * 1.2**number), Workload(time=60))
    assert found.facts["warmup_batches"] == 2  # 20 s and 24 s: beyond half of the time


def test_precision_ends_the_run_at_counts_fixed_beforehand(fake_target):
    found = run(fake_target(noisy(0.10)), Workload(time=1e6))
    assert found.facts["precision_reached"] is True
    assert found.facts["precision"] <= 0.05
    assert found.facts["batches"] in (5, 7, 9, 12, 15, 19, 24, 30, 38, 48, 60)
    low, high = found.metrics["output_throughput"].interval()
    assert (high - low) / 2 / found.metrics["output_throughput"].value == pytest.approx(
        found.facts["precision"]
    )


def test_more_noise_takes_more_batches(fake_target):
    counts = [run(fake_target(noisy(s)), Workload(time=1e6)).facts["batches"] for s in (0.01, 0.1, 0.3)]
    assert counts == sorted(set(counts))


def test_time_ends_the_run_with_what_is_known(fake_target):
    found = run(fake_target(noisy(0.3, tokens_per_second=250)), Workload(time=10, precision=0.001))
    assert found.facts["stopped_by"] == "time"
    assert found.facts["precision_reached"] is False
    assert found.invalid == ()
    assert 10 <= found.facts["seconds"] < 12


def test_time_waits_for_the_fewest_batches(fake_target):
    found = run(fake_target(lambda number, requests: 100.0), Workload(time=10, warmup=1))
    assert found.facts["batches"] == 5
    assert found.invalid == ()


def test_the_cap_on_requests_waits_for_the_fewest_batches(fake_target):
    capped = Workload(requests=40, precision=0.001)
    found = run(fake_target(noisy(0.2)), capped, size=4)
    assert (found.facts["stopped_by"], found.facts["requests"]) == ("requests", 40)
    found = run(fake_target(noisy(0.2)), capped, size=32)
    assert (found.facts["stopped_by"], found.facts["batches"]) == ("requests", 5)


def test_no_batch_is_begun_that_would_miss_the_deadline(fake_target):
    target = fake_target(lambda number, requests: 10.0)
    found = run(target, Workload(warmup=1), deadline=55.0)
    assert found.facts["stopped_by"] == "deadline"
    assert found.facts["batches"] == 4  # a fifth would be begun at 50 s
    assert found.invalid == ("too few batches: 4 with answers, at least 5 are needed",)
    assert target.now < 55e9


def test_nothing_measured_is_invalid_and_has_no_metrics(fake_target):
    found = run(fake_target(lambda number, requests: 1.0), deadline=-1.0)
    assert found.metrics == {}
    assert found.records == []
    assert found.facts["precision"] is None
    assert found.invalid == ("too few batches: 0 with answers, at least 5 are needed",)


def test_every_configuration_gets_the_same_requests(fake_target):
    targets = {size: fake_target(noisy(0.05, seed=size)) for size in (2, 8)}
    for size, target in targets.items():
        run(target, Workload(warmup=0, seed=9), size=size)
    sent = {size: [r for batch in target.batches for r in batch] for size, target in targets.items()}
    shared = min(len(requests) for requests in sent.values())
    assert shared >= 10
    assert sent[2][:shared] == sent[8][:shared]


def test_the_goal_decides_when_to_stop(fake_target):
    # Latency of a fixed amount of work is exact here; the time to the first token is not.
    rng = np.random.default_rng(0)

    def uneven(number, records):
        early = int(rng.integers(0, 400_000_000))
        return [
            replace(r, arrivals=((r.arrivals[0][0] + early, r.arrivals[0][1]), *r.arrivals[1:]))
            for r in records
        ]

    def target():
        return fake_target(lambda number, requests: 2.0, alter=uneven)

    work = Workload(output_tokens=Length(4), time=1e4)
    assert run(target(), work, goal="e2e.mean").facts["batches"] == 5
    found = run(target(), work, goal="ttft.mean")
    assert found.facts["batches"] > 5
    assert found.facts["precision_of"] == "ttft.mean"
    assert run(target(), work, goal="ttft.p95").facts["precision_of"] == "ttft.p95"


@pytest.mark.parametrize("goal", ["memory.peak", "quality.perplexity", "bleu", "tpot.mean"])
def test_goals_that_records_do_not_tell_are_judged_by_throughput(fake_target, goal):
    target = fake_target(lambda number, requests: 1.0)
    found = run(target, Workload(output_tokens=Length(1)), goal=goal)  # one token: no tpot
    assert found.facts["precision_of"] == "output_throughput"
    assert found.facts["precision_reached"] is True


def test_drafted_tokens_that_come_together(fake_target):
    target = fake_target(lambda number, requests: 1.0, tokens_at_once=4)
    found = run(target, Workload(output_tokens=Length(20)))
    assert found.metrics["itl.p50"].value == pytest.approx(0.05)  # 0.2 s between arrivals of 4 tokens
    assert found.metrics["itl.p99"].value == pytest.approx(0.05)
    assert found.metrics["tpot.p50"].value == pytest.approx(0.8 / 19)


def test_failed_requests_make_it_invalid(fake_target):
    def broken(number, records):
        return [replace(r, error="out of cache") if r.id == 3 else r for r in records]

    found = run(
        fake_target(lambda number, requests: 1.0, alter=broken),
        Workload(output_tokens=Length(64), precision=0.5),
    )
    assert found.invalid == ("1 of 20 requests failed, at most 0.1% may; first: out of cache",)
    assert found.facts["errors"] == 1


def test_what_the_target_raises_comes_through(fake_target):
    def dies(number, requests):
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError, match="gone"):
        run(fake_target(dies))


@pytest.mark.parametrize("runs", [100, pytest.param(300, marks=pytest.mark.slow)])
def test_stopping_when_narrow_keeps_the_intervals_honest(fake_target, runs):
    inside = 0
    for seed in range(runs):
        target = fake_target(noisy(0.10, seed=seed), tokens_at_once=64)
        workload = Workload(output_tokens=Length(8), prompt_tokens=Length(1), warmup=0, time=1e6)
        low, high = run(target, workload, size=1, seed=seed).metrics["output_throughput"].interval()
        # The truth is tokens over mean seconds: the noise has mean 1.
        inside += low <= 100.0 <= high
    assert 0.91 <= inside / runs <= 0.98, inside / runs
