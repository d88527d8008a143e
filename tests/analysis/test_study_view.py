"""What a view derives from trials."""

from dataclasses import replace

import pytest

from autotune.analysis.quick_importance import varying_parameters
from autotune.analysis.study_view import counts, time_left_s
from autotune.core.failures import failure_counts
from autotune.core.space import Space
from autotune.core.trial import Reason, TrialState
from autotune.report.plain import measured_line

SECOND = 1_000_000_000


def test_counts_by_state_and_cause(trials):
    assert counts(trials) == {
        "WAITING": 0,
        "RUNNING": 1,
        "COMPLETED": 6,
        "INFEASIBLE": 1,
        "FAILED": 1,
        "ABANDONED": 0,
    }
    assert failure_counts(trials) == {"crashed_under_load": 1, "worker_lost": 1}


def test_a_failed_attempt_that_is_tried_again_is_not_a_failed_trial(trials):
    again = replace(trials[5], state=TrialState.WAITING)
    assert failure_counts([again]) == {}


def test_the_total_is_that_of_the_search_whatever_is_measured_beside_it(make_view, trials):
    searched = [t for t in trials if t.suggestion.reason.of_search]
    seen = []
    for reason in (Reason.WATCH, Reason.REMEASURE, Reason.REMEASURE, Reason.CONFIRM, Reason.CONFIRM):
        number = len(searched) + len(seen)
        beside = replace(trials[0], number=number, suggestion=replace(trials[0].suggestion, reason=reason))
        seen.append(beside)
        view = make_view((*searched, *seen))
        assert (view.finished, view.total) == (6, 12)
    assert view.beside == "1 look at the default, 2 measured again, 2 confirmations"
    assert make_view(searched).beside == ""
    assert make_view(budget_trials=None).total is None
    assert make_view(budget_trials=3).total == 7


def test_what_is_left_has_room_for_the_confirmations(make_view, trials):
    assert make_view().left == 6
    assert make_view(confirm=2, budget_trials=7).left == 1 + 4 - 2  # one runs; two of four are confirmed
    assert make_view(budget_trials=None).left is None


def test_progress_lines_show_a_total_that_stands_still(make_view, trials):
    again = replace(trials[4], number=9, suggestion=replace(trials[4].suggestion, reason=Reason.REMEASURE))
    lines = [
        measured_line(trials[4], make_view(trials[:6], state="done")),
        measured_line(again, make_view((*trials[:6], again), state="done")),
    ]
    assert [line.rpartition(" [")[2] for line in lines] == ["6/12]", "6/12 + 1 measured again]"]


def test_best_default_and_front(make_view):
    view = make_view()
    assert view.best.trial.number == 4
    assert view.default.trial.number == 0
    assert view.default.metrics["output_throughput"].value == 31.9
    assert [t.number for t in view.pareto_front] == [4]


def test_time_left_is_the_median_times_the_rest(make_view):
    # trials take 13 s; 6 of 14 are left, one of them has run for 10 s
    assert time_left_s(make_view()) == pytest.approx(6 * 13 - 10)
    two = ((8, 1, 50 * SECOND), (9, 1, 57 * SECOND))
    assert time_left_s(make_view(running=two)) == pytest.approx((6 * 13 - 10 - 3) / 2)


def test_a_trial_that_takes_long_does_not_count_below_nothing(make_view):
    view = make_view(budget_trials=7, now_ns=1000 * SECOND)
    assert time_left_s(view) == 0.0


def test_time_left_is_bounded_by_the_time_budget(make_view):
    assert time_left_s(make_view(budget_seconds=80.0)) == pytest.approx(20.0)
    assert time_left_s(make_view((), budget_seconds=80.0)) == pytest.approx(20.0)
    assert time_left_s(make_view(())) is None
    assert time_left_s(make_view(budget_trials=None)) is None


def test_parameters_that_vary_among_trials_are_found(make_view, trials):
    assert varying_parameters(make_view()) == list(make_view().space.names)
    assert varying_parameters(make_view((trials[0], trials[8]))) == ["draft_length"]
    assert varying_parameters(make_view(trials[:1])) == list(make_view().space.names)


def test_the_total_knows_how_many_configurations_there_are(make_view):
    two = Space.from_dict({"a": {"type": "ordinal", "values": [1, 2]}})
    assert make_view((), space=two, budget_trials=20, running=()).total == 2
    assert make_view((), budget_trials=12, running=()).total == 12
