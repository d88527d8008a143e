"""Facts that follow from the trials alone: progress, trade-off, comparison, noise, latencies, cost."""

from dataclasses import replace

import pytest

from autotune.analysis.comparison import comparison
from autotune.analysis.latency import latency_distributions, quantiles
from autotune.analysis.noise import noise
from autotune.analysis.phases import cost, phases_of, totals, trial_times
from autotune.analysis.progress import busy_seconds, progress
from autotune.analysis.trade_off import load_planes, pareto_planes
from autotune.core.measurement import Estimate
from autotune.core.objective import Objective
from autotune.spec.stored import StoredSpec

SECOND = 1_000_000_000


@pytest.fixture
def view(make_view, trials):
    return make_view(trials[:8], state="completed", running=(), confirm=1)


def with_facts(trial, facts=None, start=None, end=None):
    measured = trial.measurement
    start = measured.started_ns if start is None else start * SECOND
    end = measured.ended_ns if end is None else end * SECOND
    changed = replace(measured, facts=facts or {}, started_ns=start, ended_ns=end)
    return replace(trial, measurement=changed)


def test_the_best_so_far_never_falls_and_no_confirmation_moves_it(view):
    found = progress(view)
    assert [step.best for step in found.steps] == [31.2, 120.3, 120.3, 120.3, 402.3, 402.3, 402.3, 402.3]
    assert [step.kind for step in found.steps] == [
        "kept", "kept", "limit", "failed", "kept", "failed", "kept", "kept",
    ]  # fmt: skip
    assert found.best.value == 398.3  # by the fresh launch
    assert found.best_trial == 4
    assert [step.number for step in found.steps if step.default] == [0, 7]


def test_pauses_between_runs_are_no_time_of_the_study(make_trial):
    def at(number, start, end):
        one = make_trial(number, (1, 8, 0, 1, 1), speed=1.0, tpot=0.01)
        return with_facts(one, start=start, end=end)

    trials = [at(0, 100, 110), at(1, 105, 120), at(2, 1000, 1010), at(3, 0, 0)]
    assert busy_seconds(trials) == {0: 10.0, 1: 20.0, 2: 30.0}


def test_the_goal_against_each_limit(view):
    (plane,) = pareto_planes(view)
    assert (plane.x, plane.y) == ("tpot.p95", "output_throughput")
    assert (plane.x_maximize, plane.y_maximize) == (False, True)
    assert [p.trial for p in plane.front] == [0, 4]  # trial 1 is slower at a longer time
    assert {p.trial: p.kind for p in plane.points}[2] == "limit"
    assert [p.trial for p in plane.points if p.best] == [4]
    assert [p.trial for p in plane.points if p.default] == [0]
    assert [limit.bound for limit in plane.x_limits] == [0.06]
    assert [p.y for p in load_planes(view)[0].points if p.trial == 0] == [pytest.approx(0.0321)]


def test_the_recommended_one_has_one_interval_in_every_figure(make_view, trials):
    view = make_view(trials[:8], state="completed", running=(), confirm=1)
    found = progress(view)
    (plane,) = pareto_planes(view)
    (star,) = [point for point in plane.points if point.best]
    assert star.trial == found.best_trial
    assert star.y_half == found.best_half is not None


def test_two_goals_are_one_plane(make_view, trials):
    objective = Objective.from_dict({"maximize": "output_throughput", "minimize": "tpot.p95"})
    (plane,) = pareto_planes(make_view(trials[:8], objective=objective, state="completed", running=()))
    assert (plane.x, plane.y) == ("output_throughput", "tpot.p95")
    assert [p.trial for p in plane.front] == [0, 4, 2]


def test_the_comparison_agrees_with_the_verdict(view):
    found = comparison(view)
    goal, limit = found.metrics[:2]
    gain = view.verdict.improvement
    assert (goal.metric, goal.role, goal.better) == ("output_throughput", "goal", "more")
    assert (goal.ratio, goal.low, goal.high) == (gain.value, gain.low, gain.high)
    assert (limit.role, limit.better) == ("limit", "less")
    assert limit.ratio == pytest.approx(0.053 / 0.0321)
    assert limit.low < limit.ratio < limit.high
    (row,) = found.limits
    assert (row.limit, row.kept, row.launches) == ("tpot.p95 <= 60 ms", 1, 1)
    leader = view.decision.winner or view.decision.nearest
    assert row.chance == leader.chances[row.limit]
    assert comparison(replace(view, trials=())) is None


def test_a_goal_to_minimize_is_compared_as_it_is_measured(make_view, trials):
    objective = Objective.from_dict({"minimize": "tpot.p95"})
    view = make_view(trials[1:8], objective=objective, state="completed", running=())
    goal = comparison(view).metrics[0]
    assert goal.better == "less"
    assert goal.ratio is None or goal.low <= goal.ratio <= goal.high


def test_a_goal_below_zero_changes_by_what_the_verdict_says(make_view, make_trial):
    objective = Objective.from_dict({"maximize": "score"})
    trials = []
    for i, score in enumerate((2.0, -3.0, 9.0)):
        one = make_trial(i, (1, 16, i, 1, 1), speed=1.0, tpot=0.01)
        measured = replace(one.measurement, metrics={"score": Estimate(score, 0.1, 30)})
        trials.append(replace(one, measurement=measured))
    view = make_view(trials, objective=objective, state="completed", running=())
    goal = comparison(view).metrics[0]
    assert goal.ratio is None
    assert goal.change == view.verdict.improvement
    assert not goal.change.relative


def test_launches_of_one_configuration_are_noise(view):
    found = noise(view)
    assert set(found.groups) == {0, 4}
    first, second = found.groups[0]
    assert first.relative == pytest.approx(31.2 / 31.55 - 1)
    assert second.relative == pytest.approx(-first.relative)
    assert found.own == pytest.approx(0.01)
    assert 0 < found.spread < 0.2
    assert [launch.trial for launch in found.default] == [0, 7]


def test_quantiles_that_are_kept_make_a_distribution(make_view, make_trial):
    kept = {"levels": [0.0, 0.5, 1.0], "ttft": [0.01, 0.02, 0.05]}
    one = make_trial(0, (1, 16, 0, 1, 1), speed=10.0, tpot=0.01)
    one = with_facts(one, {"measured": {"latency_quantiles": kept}})
    view = make_view((one,), state="completed", running=())
    (found,) = latency_distributions(view)
    assert (found.metric, found.levels, found.seconds) == ("ttft", (0.0, 0.5, 1.0), (0.01, 0.02, 0.05))


def test_percentiles_of_an_older_ledger_make_one_too(make_trial):
    one = make_trial(0, (1, 16, 0, 1, 1), speed=10.0, tpot=0.01)
    values = {"p50": 1.0, "p99": 2.0, "mean": 1.2}
    metrics = {f"e2e.{name}": Estimate(value, None, 1, "s") for name, value in values.items()}
    one = replace(one, measurement=replace(one.measurement, metrics=metrics))
    assert quantiles(one, "e2e") == {0.5: 1.0, 0.99: 2.0}


def test_phases_add_up_to_the_time_of_a_trial(make_view, make_trial):
    facts = {
        "phases_s": {"hardware": 0.4, "startup": 3.0, "measure": 8.0, "system_metrics": 0.5, "stop": 0.1},
        "measured": {"warmup_seconds": 2.0, "seconds": 5.0},
    }
    one = with_facts(make_trial(0, (1, 16, 0, 1, 1), speed=10.0, tpot=0.01), facts, 1, 14)
    found = phases_of(one)
    assert found["start"] == pytest.approx(3.4)
    assert (found["warm-up"], found["timed"]) == (2.0, 5.0)
    assert found["around the load"] == pytest.approx(1.5)
    assert sum(found.values()) == pytest.approx(13.0)
    two = make_trial(1, (1, 16, 0, 1, 1), speed=10.0, tpot=0.01)  # tells nothing
    times = trial_times(make_view((one, two), state="completed", running=()))
    assert totals(times)["rest"] == pytest.approx(1.0 + 13.0)


def test_cost_by_purpose_in_time_gpus_and_money(view):
    plain = cost(view)
    assert plain.seconds == {"search": 52.0, "confirmation": 26.0, "failed": 14.0}
    assert plain.trials == {"search": 4, "confirmation": 2, "failed": 2}
    assert (plain.gpu_seconds, plain.money) == ({}, {})
    spec = StoredSpec({"resources": {"gpus": "tensor_parallel", "price": "2 * tensor_parallel"}})
    found = cost(replace(view, spec=spec))
    assert found.gpu_seconds["search"] == 13.0 * (1 + 1 + 2 + 1)
    assert found.money["search"] == pytest.approx(2 * 65.0 / 3600)
