"""When a valid measurement is not to be relied on by itself, and how wide its errors are then."""

import numpy as np
import pytest

from autotune.core.measurement import DOUBT, SHORTFALL, Estimate
from autotune.measure.doubt import SEVERAL, USUAL, judged
from autotune.measure.session import measure
from autotune.measure.workload import Length, Workload

GOAL = "output_throughput"


def judge(half, *, precision=0.05, goal=GOAL, metric=GOAL, **facts):
    metrics = {metric: Estimate(100.0, 100.0 * half / 1.96, 20, "tokens/s")}
    return judged({"precision_of": GOAL, **facts}, metrics, goal, precision)


def test_a_half_width_several_times_what_was_asked_is_doubtful():
    assert judge(0.049) == {}
    assert judge(0.12) == {SHORTFALL: "half-width 12 % where 5 % was asked"}
    text = "half-width 51 % where 5 % was asked"
    assert judge(0.51) == {SHORTFALL: text, DOUBT: text}
    assert DOUBT not in judge(0.2, precision=0.2 / SEVERAL + 0.001)
    assert DOUBT in judge(0.2, precision=0.2 / SEVERAL - 0.001)
    assert DOUBT not in judge(USUAL - 0.001, precision=1e-5)
    assert DOUBT in judge(USUAL + 0.001, precision=1e-5)


def test_other_programs_are_named_as_a_likely_reason():
    busy = {"cores": {"cpus": 2.0, "own": 0.7, "others": 1.24, "steal": 0.0}}
    assert judge(0.51, machine=busy)[DOUBT] == (
        "half-width 51 % where 5 % was asked; other programs took 62 % of the CPUs"
    )
    assert "programs" not in judge(0.51, machine={"cores": {**busy["cores"], "others": 0.1}})[DOUBT]


def test_the_goals_own_error_counts_where_records_do_not_tell_it():
    found = judge(0.9, goal="max_rate", metric="max_rate", overload={"sent": 9.0})
    assert found[DOUBT] == "half-width 90 % where 5 % was asked"
    # a goal without an error, as memory: what the run was judged by
    assert DOUBT in judge(0.51, goal="memory.weights")


def test_an_overload_is_certain_and_a_value_of_nothing_has_no_relative_error():
    assert judge(0.9, overload={"sent": 9.0}) == {}
    assert judged({}, {GOAL: Estimate(0.0, 1.0, 20)}, GOAL, 0.05) == {}
    assert judged({}, {GOAL: Estimate(5.0, None, 1)}, GOAL, 0.05) == {}


def run(target, **workload):
    workload = Workload(output_tokens=Length(50), prompt_tokens=Length(10), **workload)
    return measure(target, batch_size=4, workload=workload, goal=GOAL, deadline=1e9, clock=target.clock)


def late(number, requests):
    return 5.0 if number < 6 else 6.0  # warm-up ends by its limit after three batches; then it slows down


def test_a_run_that_never_became_steady_says_so_and_its_errors_are_wider(fake_target):
    found = run(fake_target(late), time=30, precision=0.02)
    assert found.invalid == ()
    assert found.facts["warmup_steady"] is False
    assert found.facts["halves_differ"] is True
    told = judged(found.facts, found.metrics, GOAL, 0.02)
    assert "not steady after 15 s of warm-up" in told[DOUBT]
    first, second = np.array_split([r.end_ns - r.send_ns for r in found.records], 2)
    assert found.metrics["e2e.mean"].sem >= 0.9 * (second.mean() - first.mean()) / 2e9


def test_a_slow_configuration_that_is_steady_while_measured_is_not_doubtful(fake_target):
    # five seconds a batch: warm-up is over before four batches could show that it is steady
    found = run(fake_target(lambda number, requests: 5.0), time=20)
    assert found.facts["warmup_steady"] is False
    assert found.facts["halves_differ"] is False
    assert judged(found.facts, found.metrics, GOAL, 0.05) == {}


@pytest.mark.parametrize("spread", [0.02, 0.1])
def test_halves_of_an_even_run_seldom_differ_and_its_errors_grow_little(fake_target, spread):
    differ, wider = 0, []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        target = fake_target(lambda number, requests, rng=rng: 5.0 * float(np.exp(spread * rng.normal())))
        found = run(target, time=20, min_batches=12)
        assert found.facts["warmup_steady"] is False
        differ += found.facts["halves_differ"]
        wider.append(found.metrics[GOAL].sem / found.facts["precision"] * 1.96 / found.metrics[GOAL].value)
    assert differ <= 3
    assert 0.999 <= np.median(wider) <= 1.3
    assert max(wider) > 1.1  # where chance moved the halves apart


def test_the_machine_is_looked_at_between_batches(fake_target):
    class Watch:
        looks = 0

        def look(self):
            self.looks += 1

    target, watch = fake_target(lambda number, requests: 1.0), Watch()
    found = measure(target, batch_size=4, workload=Workload(warmup=2), goal=GOAL, deadline=1e9,
                    clock=target.clock, watches=(watch,))  # fmt: skip
    assert watch.looks == found.facts["batches"] + 2
    start, end = found.facts["measured_ns"]
    assert end - start >= found.facts["seconds"] * 1e9
