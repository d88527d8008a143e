"""Measured against predicted."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.core.measurement import Estimate, Measurement
from autotune.core.surprise import largest, show_surprise, surprises
from autotune.core.trial import Reason, Suggestion, Trial, TrialState


def trial(predicted, measured):
    suggestion = Suggestion({"x": 1}, Reason.EXPLORE, "gp", predicted)
    return Trial(0, suggestion, TrialState.COMPLETED, 1, Measurement(measured))


def test_positive_values_are_compared_by_their_logarithms():
    found = surprises(trial({"speed": Estimate(100.0, 5.0)}, {"speed": Estimate(120.0, 4.8)}))
    assert found == {"speed": pytest.approx(math.log(1.2) / 0.05)}


def test_other_values_by_their_difference():
    found = surprises(trial({"drift": Estimate(-1.0, 0.3)}, {"drift": Estimate(1.0, 0.4)}))
    assert found == {"drift": pytest.approx(5.0)}


def test_what_was_not_predicted_or_not_measured_is_no_surprise():
    predicted = {"speed": Estimate(100.0), "memory": Estimate(1.0, 1.0)}
    assert surprises(trial(predicted, {"speed": Estimate(1.0), "power": Estimate(1.0)})) == {}
    assert largest(trial({}, {"speed": Estimate(1.0)})) is None


def test_only_the_largest_is_noteworthy_and_only_beyond_three():
    predicted = {"speed": Estimate(-1.0, 1.0), "power": Estimate(-1.0, 1.0)}
    assert largest(trial(predicted, {"speed": Estimate(1.9), "power": Estimate(0.0)})) is None
    assert largest(trial(predicted, {"speed": Estimate(3.0), "power": Estimate(-9.0)})) == ("power", -8.0)
    assert show_surprise(-8.0) == "surprise -8.0 sd"
    assert show_surprise(4.23) == "surprise +4.2 sd"


numbers = st.floats(-1e300, 1e300)


@given(numbers, st.floats(0, 1e300), numbers, st.one_of(st.none(), st.floats(0, 1e300)))
def test_it_is_always_a_number_with_the_right_sign(value, spread, measured, sem):
    score = surprises(trial({"y": Estimate(value, spread)}, {"y": Estimate(measured, sem)}))["y"]
    assert math.isfinite(score)
    assert score * (measured - value) >= 0 or abs(score) < 1e-9
