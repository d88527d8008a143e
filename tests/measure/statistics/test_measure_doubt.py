"""Which valid measurements are marked as doubtful, from the halves and the half-widths of their goal."""

import pytest

from autotune.core.measurement import DOUBT, SHORTFALL, Estimate
from autotune.measure.statistics.doubt import judged

GOAL = "output_throughput"


def marks(half_width, precision, **facts):
    """Return the marks of a run of 100 tokens/s with a half-width in tokens/s."""
    return judged(facts, {GOAL: Estimate(100.0, sem=half_width / 1.96)}, GOAL, precision)


@pytest.mark.parametrize(
    ("half_width", "precision", "expected"),
    [
        (1.0, 0.02, set()),
        (4.0, 0.02, {SHORTFALL}),  # short, and below what launches differ by anyway
        (4.0, 1e-6, {SHORTFALL}),
        (7.0, 0.02, {SHORTFALL, DOUBT}),
        (20.0, 0.10, {SHORTFALL}),  # twice what was asked for
        (35.0, 0.10, {SHORTFALL, DOUBT}),
    ],
)
def test_several_half_widths_make_a_measurement_doubtful(half_width, precision, expected):
    assert set(marks(half_width, precision)) == expected


def test_what_never_became_steady_is_doubtful_however_narrow():
    found = marks(1.0, 0.02, halves_differ=True, warmup_seconds=30.0)
    assert found[DOUBT] == found[SHORTFALL] == "not steady after 30 s of warm-up"


def test_busy_processors_are_named_as_the_likely_reason():
    cores = {"cpus": 4, "others": 2.0}
    assert "other programs took 50 % of the CPUs" in marks(40.0, 0.1, machine={"cores": cores})[DOUBT]
    assert "other programs" not in marks(40.0, 0.1, machine={"cores": {**cores, "others": 0.4}})[DOUBT]


def test_a_server_that_was_overloaded_says_so_with_certainty():
    assert marks(40.0, 0.1, overload={"queue": 9}) == {}


def memory(relaxations, name="e2e.p95", half_width=0.2, goal=GOAL, **more):
    """Return the marks of an open loop whose goal is narrow and whose limited latency is 1 s."""
    metrics = {GOAL: Estimate(100.0, sem=0.1), name: Estimate(1.0, sem=half_width / 1.96)}
    facts = {"relaxations": relaxations, "seconds": 30.0, **more}
    return judged(facts, metrics, goal, 0.05, [GOAL, name])


@pytest.mark.parametrize("name", ["e2e.p95", "e2e.mean", "ttft.p99"])
def test_latencies_of_a_run_that_is_short_beside_its_queue_are_doubtful(name):
    found = memory(5.0, name)
    assert found[DOUBT] == (
        f"30 s are too short for {name}: the queue still remembers how the run began, "
        "about 72 s would do: raise `workload.time`"
    )
    assert "how the run began" in memory(5.0, name, goal=name)[DOUBT]


@pytest.mark.parametrize(
    ("ended", "spans", "advice"),
    [
        (
            "requests",
            3.0,
            "120 s would do: `workload.requests` ended the run, raise it to 80 and `workload.time`",
        ),
        ("precision", 3.0, "120 s would do: `workload.precision` ended the run"),
        ("time", 11.0, "33 s would do: raise `workload.time`"),
        ("requests", 0.0, "`workload.requests` ended the run: raise it"),
    ],
)
def test_what_ended_a_run_that_was_too_short_is_named_with_what_would_do(ended, spans, advice):
    assert advice in memory(spans, stopped_by=ended, requests=20)[DOUBT]


@pytest.mark.parametrize(
    ("relaxations", "name", "half_width"),
    [(40.0, "e2e.p95", 0.2), (None, "e2e.p95", 0.2), (5.0, "e2e.p95", 0.03), (5.0, "goodput", 0.2)],
)
def test_long_runs_narrow_latencies_and_rates_are_not_doubtful_for_memory(relaxations, name, half_width):
    assert memory(relaxations, name, half_width) == {}
