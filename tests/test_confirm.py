"""Confirmation: what is launched again, in which order, and when that is enough."""

from autotune.confirm import next_confirmation
from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.objective import Objective
from autotune.core.parameter import Int
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial, TrialState

SPACE = Space((Int("x", 1, 9, default=1),))
OBJECTIVE = Objective.from_dict({"maximize": "speed"})


def trial(number, x, speed, reason=Reason.EXPLORE):
    metrics = {"speed": Estimate(speed, 1.0)}
    return Trial(number, Suggestion({"x": x}, reason), TrialState.COMPLETED, 1, Measurement(metrics=metrics))


def confirm(trials, repeats=2, seed=0, objective=OBJECTIVE):
    """Run the confirmation to its end; return what was launched again."""
    trials = list(trials)
    launched = []
    while (asked := next_confirmation(trials, objective, SPACE, repeats, seed)) is not None:
        assert asked.reason is Reason.CONFIRM
        launched.append(asked.config["x"])
        trials.append(trial(len(trials), asked.config["x"], 50.0, Reason.CONFIRM))
        assert len(launched) < 20
    return launched, trials


SEARCHED = [trial(0, 1, 10.0), trial(1, 4, 40.0), trial(2, 6, 30.0)]


def test_the_winner_and_the_default_are_launched_again_in_random_order():
    launched, _ = confirm(SEARCHED)
    assert sorted(launched) == [1, 1, 4, 4]
    assert len({tuple(confirm(SEARCHED, seed=seed)[0]) for seed in range(10)}) > 2
    assert confirm(SEARCHED, seed=3)[0] == confirm(SEARCHED, seed=3)[0]


def test_an_interrupted_confirmation_goes_on_as_it_would_have():
    whole, _ = confirm(SEARCHED)
    begun = [*SEARCHED, trial(3, whole[0], 50.0, Reason.CONFIRM)]
    assert confirm(begun)[0] == whole[1:]


def test_a_new_winner_after_more_trials_is_confirmed_too():
    _, trials = confirm(SEARCHED)
    assert confirm([*trials, trial(7, 9, 35.0)])[0] == []
    assert confirm([*trials, trial(7, 9, 90.0)])[0] == [9, 9]


def test_when_there_is_nothing_to_confirm():
    assert confirm([trial(0, 1, 90.0), trial(1, 4, 40.0)])[0] == []
    assert confirm(SEARCHED, repeats=0)[0] == []
    assert confirm(SEARCHED, objective=Objective.from_dict({"maximize": "speed", "minimize": "x"}))[0] == []
    failed = Measurement(failure=Failure(Cause.OUT_OF_MEMORY))
    assert (
        confirm([Trial(0, Suggestion({"x": 1}, Reason.DEFAULT), TrialState.INFEASIBLE, 1, failed)])[0] == []
    )
    running = Trial(3, Suggestion({"x": 5}, Reason.EXPLORE), TrialState.RUNNING, 1)
    assert confirm([*SEARCHED, running])[0] == []
