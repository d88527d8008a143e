"""Where the latency curve crosses its limit, from probes whose truth is known."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import benchmarks
from autotune.core.decision import Decision
from autotune.core.measurement import Estimate, Measurement
from autotune.core.objective import Objective
from autotune.core.trial import Reason, Suggestion, Trial, TrialState
from autotune.measure.endpoint.knee import ProbePoint, crossing, lowest
from autotune.measure.endpoint.rate_search import Probe, highest_rate
from benchmarks.intervals.searches import SERVERS, Generator, Server, recorded_rate, search
from benchmarks.trust import packed

MU = 10.0
BOUND = 0.4  # mean time in M/M/1 at 7.5 requests/s


def probes(rng, rates, error):
    return [
        ProbePoint(
            r, 60.0, 1 / (MU - r) < BOUND, math.log(1 / (MU - r) / BOUND) + error * rng.normal(), error
        )
        for r in rates
    ]


def test_exact_probes_find_the_crossing():
    quantiles = crossing(probes(np.random.default_rng(0), [2, 4, 6, 7, 8, 9], 0.0), 7.0)
    value, sem = lowest([quantiles], 0)
    assert value == pytest.approx(7.5, rel=0.02)
    assert sem < 0.05 * 7.5


def test_intervals_of_the_crossing_hold_the_truth():
    rng = np.random.default_rng(1)
    inside, errors, values = 0, [], []
    for _ in range(60):
        error = rng.uniform(0.1, 0.3)
        # where a search looks: around a knee that it knows to a few per cent
        near = 7.5 * math.exp(0.08 * rng.normal())
        rates = np.minimum(near * np.array([0.5, 0.8, 0.93, 0.98, 1.03, 1.1]), 9.8)
        value, sem = lowest([crossing(probes(rng, rates, error), near)], 0)
        inside += abs(value - 7.5) <= 1.96 * sem
        values.append(value)
        errors.append(sem)
    assert inside / 60 >= 0.88
    assert np.median(errors) < 0.09 * 7.5  # probes are trusted less than these, drawn as they say, deserve
    assert np.std(values) < 0.05 * 7.5


def test_an_overload_bounds_the_crossing_from_above():
    points = probes(np.random.default_rng(2), [4, 6, 7], 0.2)
    free = lowest([crossing(points, 7.4)], 0)
    bounded = lowest([crossing([*points, ProbePoint(7.8, 60.0, False, overloaded=True)], 7.4)], 0)
    assert bounded[0] < free[0]
    assert bounded[1] < free[1]


def test_one_measured_probe_tells_no_curve():
    assert (
        crossing([ProbePoint(5.0, 60.0, True, -0.5, 0.1), ProbePoint(9.0, 60.0, False, overloaded=True)], 7.0)
        is None
    )


def test_the_lowest_of_two_crossings_counts():
    first, second = np.linspace(6.9, 7.1, 1000), np.linspace(9.0, 12.0, 1000)
    value, sem = lowest([first, second], 0)
    assert value == pytest.approx(7.0, abs=0.01)
    assert sem == pytest.approx(0.2 * 0.95 / 3.92, rel=0.02)


def test_the_backlog_of_an_overload_is_waited_for():
    server = Server("M/D/2", 2, lambda rng, n: np.full(n, 0.4), (("e2e.mean", "<=", 0.6),), 5.0)
    generator = Generator(server, 0, aborts=False)
    found = _search(generator, 20.0)
    idle = [probe["idle_s"] for probe in found.facts["search"]]
    assert max(x for x in idle if x is not None) > 1.0  # what the overload left took this long
    # Lone requests before each probe, more of them where the one before left work.
    assert sum(plan.stream.startswith("idle/") for plan in generator.plans) == len(idle)
    assert found.metrics["max_rate"].value == pytest.approx(4.2, rel=0.2)


def test_a_bound_says_that_it_is_one():
    slow = Server("slow", 4, lambda rng, n: np.full(n, 1.0), (("e2e.p95", "<=", 0.5),), 4.0)
    found = _search(Generator(slow, 0), 20.0)
    assert found.metrics["max_rate"].sem is None
    assert found.facts["max_rate_bound"] == "at most: the lowest rate tried breaks a limit"


def _search(generator, time):
    from autotune.core.endpoint import Endpoint
    from autotune.measure.endpoint.rate_search import measure_max_rate
    from autotune.measure.endpoint.served import MeasurementContext
    from autotune.measure.workload import Workload

    work = Workload(arrival="poisson", time=time)
    context = MeasurementContext(
        generator, Endpoint("http://127.0.0.1:1", "toy"), work, 1000.0, generator.clock
    )
    return measure_max_rate(context, goal="max_rate", limits=generator.server.limits)


def slots(n):
    return Server(
        f"{n} slots", n, lambda rng, k: 0.5 * rng.gamma(4.0, 0.25, k), (("e2e.p95", "<=", 1.2),), 2.0 * n
    )


def test_four_slots_against_eight_are_decided_in_three_launches_each():
    trials = []
    for n in (4, 8):
        for launch in range(3):
            speed = math.exp(0.05 * np.random.default_rng([n, launch]).normal())
            found = search(slots(n), 10 * n + launch, time=30.0, deadline=600.0, speed=speed)
            suggestion = Suggestion({"slots": n}, Reason.INITIAL)
            measured = Measurement({"max_rate": found.metrics["max_rate"]})
            trials.append(Trial(len(trials), suggestion, TrialState.COMPLETED, 1, measured))
    objective = Objective.from_dict({"maximize": "max_rate"})
    decision = Decision(trials, objective, trials[0].key)
    four, eight = decision.candidates
    gain = decision.gain(eight, four)
    assert gain.clear
    assert gain.low < 2.2 < gain.high


def test_a_look_that_saw_no_bout_does_not_decide():
    rng = np.random.default_rng(3)
    points = probes(rng, [5, 6.5, 7, 7.5, 8], 0.25)
    lucky = ProbePoint(8.5, 20.0, True, -0.5, 0.02)  # short, low, and sure of it
    without, within = (lowest([crossing(p, 7.5)], 0) for p in (points, [*points, lucky]))
    assert abs(within[0] - without[0]) < 1.5 * without[1]
    assert within[1] > 0.6 * without[1]


def test_no_probe_near_the_knee_passes_early():
    generator = Generator(SERVERS[2], 3)
    facts = _search(generator, 60.0).facts["search"]
    failed = [i for i, probe in enumerate(facts) if not probe["passed"]]
    first = max(failed[0], next(i for i, probe in enumerate(facts) if probe["passed"]))
    near = [p for p in facts[first + 1 :] if p["passed"]]
    assert near
    assert min(p["seconds"] for p in near) >= 60


def test_a_search_whose_full_measurements_fail_still_tells_the_rate():
    limit = ("e2e.mean", "<=", 0.4)
    short = [
        Probe(r, r < 7, "", 60.0, 400, {"e2e.mean": Estimate(1 / (10 - r), 0.2 / (10 - r), 60, "s")})
        for r in (6.0, 6.6, 8.0)
    ]
    failed = [replace(p, passed=False, why="in full: e2e.mean is above") for p in short[:2]]
    found = highest_rate([*short, *failed], [limit], 0)
    assert found.sem is not None
    assert abs(found.value - 7.5) < 1.96 * found.sem


def test_the_facts_of_a_search_give_its_rate_again():
    found = search(SERVERS[0], 5)
    line = {"server": SERVERS[0].name, "seed": 0, "probes": found.facts["search"]}
    again = recorded_rate(SERVERS[0], json.loads(json.dumps(line)))
    assert again.value == pytest.approx(found.metrics["max_rate"].value, rel=1e-3)
    assert again.sem == pytest.approx(found.metrics["max_rate"].sem, rel=1e-2)


RECORDED = packed(Path(benchmarks.__file__).parent / "results" / "searches.jsonl.gz")


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_recorded_searches_hold_the_truth(server):
    found = [recorded_rate(server, line) for line in RECORDED if line["server"] == server.name]
    values, errors = np.array([(e.value, e.sem or 0.0) for e in found]).T
    truth = server.truth(1_000_000)
    held = np.mean(np.abs(values - truth) <= 1.96 * errors)
    assert len(found) >= 100
    assert held >= 0.93 - 2 * math.sqrt(0.95 * 0.05 / len(found)), held
    assert np.median(errors) < 0.12 * truth
