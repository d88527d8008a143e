"""A latency that grows without bound is projected, with the error of the projection, and says so."""

import numpy as np
import pytest

from autotune.core.binding import binding_limit
from autotune.core.estimate_text import show_estimate
from autotune.core.measurement import Estimate, Measurement
from autotune.core.objective import Objective
from autotune.core.ranking import pool
from autotune.core.trial import Reason, Suggestion, Trial, TrialState
from autotune.engine.gp.model.data import read_history
from autotune.measure.endpoint.overload import HORIZON_S, Overload, RequestCount, between, projected
from autotune.report.tables import note_of
from benchmarks.intervals.overloads import Overloaded
from benchmarks.intervals.searches import SERVERS


@pytest.mark.parametrize(("server", "factor"), [(SERVERS[0], 1.6), (SERVERS[2], 1.6)])
def test_projections_hold_the_latency_of_the_horizon(server, factor):
    case = Overloaded(server, factor)
    found = [one for seed in range(25) if (one := case.projections(seed))]
    assert len(found) >= 20
    for name in ("e2e.mean", "e2e.p99"):
        values = np.array([one[name].value for one in found])
        errors = np.array([one[name].sem for one in found])
        assert np.mean(np.abs(values - case.truth) <= 1.96 * errors) >= 0.85, name
        assert 0.7 * values.std() < np.median(errors) < 3.5 * values.std(), name


def test_a_projection_by_hand():
    measured = {name: Estimate(value, 1.0, 9, "s") for name, value in (("ttft.p50", 5.0), ("tpot.p50", 0.1))}
    found = projected(measured, Overload(15.0, 10.0, 1 / 3, 0.05), 30.0)
    ahead = HORIZON_S - 0.5 * 30
    assert found["ttft.p50"].value == pytest.approx(5 + ahead / 3)
    assert found["ttft.p50"].sem == pytest.approx(np.hypot(1.0, 0.05 * ahead))
    assert found["ttft.p50"].projected
    assert found["tpot.p50"] == measured["tpot.p50"]


def test_the_growth_has_an_error_from_what_was_counted():
    rng = np.random.default_rng(0)
    steps = np.cumsum(rng.poisson([[15, 10]] * 60), axis=0)
    levels = [RequestCount(i * 10**9, int(done), int(sent - done)) for i, (sent, done) in enumerate(steps)]
    found = between(levels)
    assert found.growth == pytest.approx(1 / 3, abs=0.1)
    poisson = np.sqrt(1 / 900 + 1 / 600) * 2 / 3
    assert 0.5 * poisson < found.error < 2 * poisson
    assert between(levels[:1]) is None


def test_it_is_shown_and_kept_as_a_projection():
    one = Estimate(213.0, 24.0, 20, "s", projected=True)
    assert show_estimate(one).endswith("min (projected)")
    assert Estimate.from_dict(one.to_dict()) == one
    assert "projected" not in Estimate(1.0, 0.1, 3, "s").to_dict()
    assert pool([{"ttft.p99": one}, {"ttft.p99": Estimate(0.4, 0.1, 20, "s")}])["ttft.p99"].projected
    objective = Objective.from_dict({"maximize": "output_throughput", "limits": ["ttft.p99 <= 500 ms"]})
    trial = trial_of(0, 100.0, one)
    assert note_of(trial, objective).endswith("(projected)")
    assert "(projected)" in binding_limit([trial], objective)


def trial_of(number, rate, latency):
    metrics = {"output_throughput": Estimate(rate, 1.0, 9, "tokens/s"), "ttft.p99": latency}
    suggestion = Suggestion({"x": number}, Reason.INITIAL)
    return Trial(number, suggestion, TrialState.COMPLETED, 1, Measurement(metrics))


def test_the_engine_gets_a_bound():
    def latency(value, projected=False):
        return Estimate(value, 0.01 * value, 9, "s", projected)

    objective = Objective.from_dict({"minimize": "ttft.p99", "limits": ["ttft.p99 <= 500 ms"]})
    measured = [trial_of(i, 100.0, latency(value)) for i, value in enumerate((0.3, 0.4, 0.6, 0.9))]
    series = {}
    for far in (100.0, 300.0):
        history = [*measured, trial_of(4, 100.0, latency(far, projected=True))]
        series[far] = read_history(history, objective)
    for kind in ("goals", "limits"):
        (first,), (second,) = getattr(series[100.0], kind), getattr(series[300.0], kind)
        assert pytest.approx(second.Y) == first.Y  # how far it was projected does not matter
        raw = first.Y * first.scale + first.shift
        worst = raw[:4].min() if kind == "goals" else raw[:4].max()
        assert abs(raw[4] - worst) < np.log(2)
    broken = series[100.0].limits[0]
    assert (broken.Y * broken.scale + broken.shift)[4] == pytest.approx(np.log(2))  # twice the bound at least
