"""Which limit binds while nothing is feasible."""

import pytest

from autotune.core.binding import binding_limit
from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.objective import Objective
from autotune.core.trial import Reason, Suggestion, Trial, TrialState

OBJECTIVE = Objective.from_dict(
    {"maximize": "speed", "limits": ["tpot.p95 <= 60 ms", "quality.agreement >= 0.99"]}
)


def trial(number, tpot=None, agreement=1.0, *, config=None):
    suggestion = Suggestion({"x": number} if config is None else config, Reason.EXPLORE)
    if tpot is None:
        return Trial(
            number, suggestion, TrialState.INFEASIBLE, 1, Measurement(failure=Failure(Cause.OUT_OF_MEMORY))
        )
    metrics = {"speed": Estimate(1.0), "tpot.p95": Estimate(tpot, None, 1, "s")}
    if agreement is not None:
        metrics["quality.agreement"] = Estimate(agreement)
    return Trial(number, suggestion, TrialState.COMPLETED, 1, Measurement(metrics))


def test_the_limit_that_none_keeps_is_named_with_the_nearest():
    text = binding_limit([trial(0, 0.09), trial(1, 0.0672), trial(2, 0.07, 0.5), trial(3)], OBJECTIVE)
    assert text == "no configuration keeps tpot.p95 <= 60 ms yet; the nearest, trial 1, is 12 % above"


def test_limits_that_are_kept_one_at_a_time_bind_together():
    text = binding_limit([trial(0, 0.05, 0.9), trial(1, 0.3)], OBJECTIVE)
    assert text == (
        "no configuration keeps every limit yet; "
        "the nearest, trial 0, is 9.1 % below quality.agreement >= 0.99"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.15, "150 % above"), (0.18, "3 times the bound"), (72, "1200 times the bound"), (1e6, "11.6 d above")],
)
def test_what_is_far_beyond_a_bound_is_told_as_a_multiple(seconds, words):
    text = binding_limit([trial(0, seconds)], OBJECTIVE)
    assert text == f"no configuration keeps tpot.p95 <= 60 ms yet; the nearest, trial 0, is {words}"


def test_a_multiple_names_the_bound_it_is_of():
    text = binding_limit([trial(0, 0.05, 0.1), trial(1, 9.0)], OBJECTIVE)
    assert text.endswith("the nearest, trial 0, is 9.9 times below the bound of quality.agreement >= 0.99")


def test_the_worst_violation_of_a_trial_counts():
    assert "trial 1, is 10 % above" in binding_limit([trial(0, 0.061, 0.5), trial(1, 0.066, 0.98)], OBJECTIVE)


def test_differences_where_there_is_no_ratio():
    objective = Objective.from_dict({"maximize": "speed", "limits": ["drift <= 0"]})
    metrics = {"speed": Estimate(1.0), "drift": Estimate(0.25)}
    one = Trial(0, Suggestion({"x": 1}, Reason.EXPLORE), TrialState.COMPLETED, 1, Measurement(metrics))
    assert (
        binding_limit([one], objective)
        == "no configuration keeps drift <= 0 yet; the nearest, trial 0, is 0.25 above"
    )


@pytest.mark.parametrize(
    ("trials", "text"),
    [
        ([], ""),
        ([trial(0, 0.05)], ""),
        ([trial(0)], "no configuration could be measured yet"),
        ([trial(0, 0.05, None)], "no trial measured quality.agreement"),
        (
            [trial(0, 0.05, config={"x": 0}), trial(1, config={"x": 0})],
            "no configuration is sound yet; trial 0 keeps every limit, but a launch of it failed",
        ),
    ],
)
def test_without_a_binding_limit_the_reason_is_said(trials, text):
    assert binding_limit(trials, OBJECTIVE) == text
