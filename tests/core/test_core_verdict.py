"""Whether the best is really better than the default, in words."""

import math
from statistics import NormalDist

import pytest

from autotune.core.objective import Objective
from autotune.core.verdict import verdict
from tests.core.ranked import FASTEST, LIMITED, failed, measured


def test_nothing_measured_has_no_verdict():
    for trials in ([], [failed(0, 1)]):
        assert verdict(trials, FASTEST, {"x": 1}).kind == "nothing feasible"


def test_verdict_without_repeats_uses_the_errors_within_a_launch():
    trials = [measured(0, 1, 100.0, sem=1.0), measured(1, 2, 134.0, sem=1.34)]
    found = verdict(trials, FASTEST, {"x": 1})
    half = NormalDist().inv_cdf(0.975) * math.sqrt(2) * 0.01
    assert found.kind == "better"
    assert found.improvement.value == pytest.approx(1.34)
    assert found.improvement.low == pytest.approx(1.34 * math.exp(-half))
    assert found.improvement.high == pytest.approx(1.34 * math.exp(half))
    assert found.text == (
        "better by 34 % [30.3, 37.8] than the default (95 % interval, one launch each, not confirmed)"
    )


def test_verdict_when_minimizing_speaks_of_less():
    trials = [measured(0, 1, 100.0, sem=1.0), measured(1, 2, 75.0, sem=0.75)]
    found = verdict(trials, Objective.from_dict({"minimize": "speed"}), {"x": 1})
    assert found.improvement.value == pytest.approx(4 / 3)
    assert found.text.startswith("better by 25 % [22.9, 27.")


def test_verdict_of_values_that_are_not_positive_is_a_difference():
    trials = [measured(0, 1, -10.0, sem=1.0), measured(1, 2, 4.0, sem=1.0)]
    found = verdict(trials, FASTEST, {"x": 1})
    assert not found.improvement.relative
    assert found.improvement.value == 14.0
    assert found.improvement.clear
    assert found.text.startswith("better by 14 [11.2, 16.8] than the default")


@pytest.mark.parametrize(
    ("trials", "kind", "text"),
    [
        ([measured(0, 1, 9.0)], "default", "the default configuration is the best found"),
        ([measured(0, 2, 9.0)], "no default", "the default configuration was not measured"),
        (
            [failed(0, 1), measured(1, 2, 9.0)],
            "only feasible",
            "the default configuration fails, this one does not",
        ),
        (
            [measured(0, 1, 9.0, delay=0.7), measured(1, 2, 8.0)],
            "only feasible",
            "the default configuration is not feasible (delay <= 500 ms), this one is",
        ),
        (
            [measured(0, 1, 9.0), measured(1, 2, 90.0)],
            "unproven",
            "10 times better than the default, but no error is known",
        ),
        (
            [measured(0, 1, 100.0, sem=5.0), measured(1, 2, 104.0, sem=5.0)],
            "tie",
            "no clear winner: better by 4 % [-9.22, 19.1] than the default (95 % interval, one launch each)",
        ),
    ],
)
def test_verdict_in_words(trials, kind, text):
    found = verdict(trials, LIMITED, {"x": 1})
    assert (found.kind, found.text) == (kind, text)
