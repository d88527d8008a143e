"""Objectives: reading, scoring, violations."""

import math

import pytest

from autotune.core.measurement import Estimate
from autotune.core.objective import Goal, Limit, Objective
from autotune.errors import SpecError

OBJECTIVE = Objective.from_dict(
    {"maximize": "throughput", "limits": ["ttft.p99 <= 500 ms", "quality >= 0.9", "memory <= 2 GiB"]}
)


def test_scoring_keeps_limits_apart_from_goals():
    kept = OBJECTIVE.score({"throughput": Estimate(10.0), "ttft.p99": 0.4, "quality": 0.95, "memory": 1e9})
    assert kept.feasible
    assert kept.values == (10.0,)
    broken = OBJECTIVE.score({"throughput": 99.0, "ttft.p99": 1.0, "quality": 0.45, "memory": 1e9})
    assert not broken.feasible
    assert broken.violations == {
        "ttft.p99 <= 500 ms": pytest.approx(math.log(2)),
        "quality >= 0.9": pytest.approx(math.log(2)),
    }
    lacking = OBJECTIVE.score({"throughput": 1.0})
    assert not lacking.feasible
    assert lacking.missing == ("ttft.p99", "quality", "memory")


def test_goals_are_turned_so_that_more_is_better():
    objective = Objective.from_dict({"minimize": ["latency", "cost"], "maximize": "throughput"})
    assert objective.score({"latency": 2.0, "cost": 3.0, "throughput": 5.0}).values == (5.0, -2.0, -3.0)
    assert objective.metrics == ("throughput", "latency", "cost")


def test_a_limit_on_values_that_have_no_logarithm_uses_the_difference():
    assert Limit.parse("drift <= 0").violation(0.5) == 0.5
    assert Limit.parse("drift >= -1").violation(-3.0) == 2.0


def test_round_trip_is_exact():
    for objective in (
        OBJECTIVE,
        Objective((Goal("a", False), Goal("b"), Goal("c")), (Limit("d", True, 1 / 3, "s"),), "text"),
    ):
        assert Objective.from_dict(objective.to_dict()) == objective


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"maximize": []},
        {"maximize": "a", "minimize": "a"},
        {"maximize": "a b"},
        {"maximise": "a"},
        {"maximize": 3},
        {"maximize": "a", "limits": "a <= 1"},
        {"maximize": "a", "limits": ["a < 1"]},
        {"maximize": "a", "limits": ["a <= 1 parsec"]},
        {"maximize": "a", "limits": ["<= 1"]},
        {"maximize": "a", "limits": [3]},
    ],
)
def test_mistakes_are_refused(wrong):
    with pytest.raises(SpecError):
        Objective.from_dict(wrong)
