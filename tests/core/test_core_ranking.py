"""Which configuration is best, and by how much."""

import math
import random
import re
from pathlib import Path

import pytest

import autotune
from autotune.core import ranking
from autotune.core.measurement import Estimate, Measurement
from autotune.core.objective import Objective
from autotune.core.quantiles import chi_squared_quantile, student_quantile
from autotune.core.trial import Reason, Suggestion, Trial, TrialState
from tests.core.ranked import FASTEST, LIMITED, failed, measured


def test_nothing_measured_has_no_best_and_no_front():
    waiting = Trial(0, Suggestion({"x": 1}, Reason.DEFAULT))
    for trials in ([], [waiting], [failed(0, 1)]):
        assert ranking.best(trials, FASTEST) is None
        assert ranking.best_trial(trials, FASTEST) is None
        assert ranking.pareto_front(trials, FASTEST) == []


def test_best_keeps_the_limits():
    trials = [measured(0, 1, 10.0), measured(1, 2, 30.0, delay=0.6), measured(2, 3, 20.0, delay=0.5)]
    assert ranking.best_trial(trials, LIMITED).number == 2
    assert ranking.best_trial(trials, FASTEST).number == 1


def test_minimizing_turns_the_order():
    trials = [measured(0, 1, 10.0), measured(1, 2, 30.0)]
    assert ranking.best_trial(trials, Objective.from_dict({"minimize": "speed"})).number == 0


def test_a_tie_goes_to_the_earlier_trial():
    assert ranking.best_trial([measured(0, 1, 10.0), measured(1, 2, 10.0)], FASTEST).number == 0


def test_repeats_are_pooled_so_that_one_lucky_measurement_does_not_win():
    trials = [measured(0, 1, 20.0), measured(1, 2, 30.0), measured(2, 2, 4.0)]
    assert ranking.best_trial(trials, FASTEST).number == 0
    pooled = ranking.find(trials, FASTEST, {"x": 2})
    assert pooled.launches == 2
    assert pooled.metrics["speed"].value == 17.0
    assert pooled.metrics["speed"].n == 2
    assert pooled.metrics["speed"].unit == "tokens/s"
    assert pooled.metrics["speed"].sem == pytest.approx(13.0)  # sd 18.38 / sqrt(2)


def test_the_pooled_error_is_not_below_what_the_launches_claim():
    pooled = ranking.pool([{"speed": Estimate(10.0, 3.0, 8)}, {"speed": Estimate(10.0, 4.0, 8)}])
    assert pooled["speed"].sem == pytest.approx(2.5)  # sqrt(9 + 16) / 2


def test_pooling_survives_numbers_whose_squares_are_none():
    for scale in (1e300, 1e-300):
        pooled = ranking.pool([{"speed": Estimate(3 * scale, 0.1 * scale)}, {"speed": Estimate(scale)}])
        assert pooled["speed"].value == pytest.approx(2 * scale)
        assert pooled["speed"].sem == pytest.approx(scale)
    largest = ranking.pool([{"speed": Estimate(1.7e308)}, {"speed": Estimate(-1.7e308)}])["speed"]
    assert math.isfinite(largest.sem)


def test_a_configuration_that_crashed_once_is_not_the_best():
    trials = [measured(0, 1, 20.0), measured(1, 2, 30.0), failed(2, 2)]
    assert ranking.best_trial(trials, FASTEST).number == 0
    lost = [measured(0, 1, 20.0), measured(1, 2, 30.0), failed(2, 2, "worker_lost")]
    assert ranking.best_trial(lost, FASTEST).number == 1


def test_a_goal_that_was_not_measured_is_not_feasible():
    trial = Trial(
        0,
        Suggestion({"x": 1}, Reason.DEFAULT),
        TrialState.COMPLETED,
        1,
        Measurement({"delay": Estimate(1.0)}),
    )
    assert ranking.best([trial], FASTEST) is None


def test_a_confirmed_winner_is_judged_by_its_fresh_launches():
    trials = [
        measured(0, 1, 100.0, reason=Reason.DEFAULT),
        measured(1, 2, 160.0),  # lucky
        measured(2, 2, 120.0, reason=Reason.CONFIRM),
        measured(3, 1, 101.0, reason=Reason.CONFIRM),
        measured(4, 2, 122.0, reason=Reason.CONFIRM),
        measured(5, 1, 99.0, reason=Reason.CONFIRM),
    ]
    best = ranking.best(trials, FASTEST)
    assert best.trial.number == 1
    assert best.confirmed
    assert best.metrics["speed"].value == 121.0


def test_pareto_front_of_two_goals():
    both = Objective.from_dict({"maximize": "speed", "minimize": "delay"})
    trials = [
        measured(0, 1, 10.0, delay=0.1),
        measured(1, 2, 20.0, delay=0.3),
        measured(2, 3, 15.0, delay=0.4),  # dominated by 1
        measured(3, 4, 10.0, delay=0.1),  # the same values as 0: neither dominates
        measured(4, 5, 9.0, delay=0.05),
        failed(5, 6),
    ]
    assert [t.number for t in ranking.pareto_front(trials, both)] == [0, 1, 3, 4]


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(0, 1.960), (1, 12.706), (10, 2.228), (11, 2.201), (30, 2.042), (1000, 1.962)]
)
def test_students_quantiles_agree_with_tables(freedom, quantile):
    assert student_quantile(freedom) == pytest.approx(quantile, rel=1e-3)


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.7062047364), (2, 4.3026527297), (11, 2.2009851601)])
def test_quantiles_of_student_are_exact(freedom, quantile):
    assert student_quantile(freedom) == pytest.approx(quantile, rel=1e-10)


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 6.6348966010), (10, 23.209251159), (11, 24.7249703)])
def test_quantiles_of_chi_squared_are_exact(freedom, quantile):
    assert chi_squared_quantile(freedom, 0.99) == pytest.approx(quantile, rel=1e-8)


def test_no_module_keeps_a_table_of_quantiles():
    root = Path(autotune.__file__).parent
    tables = (
        r"12\.706",
        r"4\.303",
        r"6\.635",
        r"2\.326\b",
        r"1\.645\b",
        r"/ 1\.96\b(?!`)",
        r"\b1\.96 \* (?!sem``)",
    )
    found = [str(p) for p in root.rglob("*.py") for table in tables if re.search(table, p.read_text())]
    assert found == []


@pytest.mark.parametrize("seed", range(40))
def test_the_best_after_each_trial_is_the_best_of_those_so_far(seed):
    rng = random.Random(seed)
    trials = []
    for number in range(40):
        x = rng.randrange(12)
        if rng.random() < 0.15:
            trials.append(failed(number, x))
            continue
        late = number > 30 and seed % 2
        reason = Reason.CONFIRM if late and rng.random() < 0.5 else Reason.EXPLORE
        speed, delay = round(100 + x + rng.gauss(0, 5)), rng.choice((0.1, 0.4, 0.6))
        trials.append(measured(number, x, speed, sem=1.0, delay=delay, reason=reason))
    start = rng.randrange(20)
    expected = [ranking.best(trials[: i + 1], LIMITED) if i >= start else None for i in range(40)]
    assert list(ranking.best_after_each(trials, LIMITED, start)) == expected
