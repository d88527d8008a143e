"""Confirmation: what is launched again, in which order, and what follows a launch that falls short."""

import math
import random
from dataclasses import replace

import pytest

from autotune.core.decision import Decision
from autotune.core.measurement import DOUBT, Cause, Estimate, Failure, Measurement
from autotune.core.objective import Objective
from autotune.core.parameter import Int
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial, TrialState, config_key
from autotune.core.verdict import verdict
from autotune.study.confirm import MOST, next_confirmation

SPACE = Space((Int("x", 1, 9, default=1),))
FASTEST = Objective.from_dict({"maximize": "speed"})
LIMITED = Objective.from_dict({"maximize": "speed", "limits": ["delay <= 500 ms"]})


def trial(number, x, speed, delay=0.2, reason=Reason.EXPLORE):
    metrics = {"speed": Estimate(speed, 0.01 * speed), "delay": Estimate(delay, 0.01 * delay)}
    return Trial(number, Suggestion({"x": x}, reason), TrialState.COMPLETED, 1, Measurement(metrics=metrics))


def decide(trials, objective=FASTEST, repeats=2):
    return Decision(trials, objective, config_key(SPACE.default_config), confirm=repeats)


def confirm(trials, truth, *, objective=FASTEST, repeats=2, seed=0):
    """Run the confirmation to its end; ``truth`` gives speed and delay of x, or None where it fails."""
    trials = list(trials)
    launched = []
    while (asked := next_confirmation(decide(trials, objective, repeats), SPACE, seed)) is not None:
        assert asked.reason is Reason.CONFIRM
        x = asked.config["x"]
        launched.append(x)
        found = truth(x)
        if found is None:
            failed = Measurement(failure=Failure(Cause.CRASHED_UNDER_LOAD))
            suggestion = Suggestion({"x": x}, Reason.CONFIRM)
            trials.append(Trial(len(trials), suggestion, TrialState.INFEASIBLE, 1, failed))
        else:
            trials.append(trial(len(trials), x, *found, reason=Reason.CONFIRM))
        assert len(launched) <= MOST * 2 * repeats
    return launched, trials


SEARCHED = [trial(0, 1, 10.0), trial(1, 4, 40.0), trial(2, 6, 30.0)]
SPEED = {1: 10.0, 4: 40.0, 6: 30.0}


def as_before(x):
    return SPEED[x], 0.2


def test_the_winner_and_the_default_are_launched_in_balanced_order():
    orders = {tuple(confirm(SEARCHED, as_before, seed=seed)[0]) for seed in range(20)}
    assert orders == {(1, 4, 4, 1), (4, 1, 1, 4)}
    four = {tuple(confirm(SEARCHED, as_before, repeats=4, seed=seed)[0]) for seed in range(20)}
    assert four == {(1, 4, 4, 1, 1, 4, 4, 1), (4, 1, 1, 4, 4, 1, 1, 4)}


def test_an_interrupted_confirmation_goes_on_as_it_would_have():
    whole, trials = confirm(SEARCHED, as_before)
    for done in range(len(whole)):
        assert confirm(trials[: 3 + done], as_before)[0] == whole[done:]


def test_launches_on_the_way_count_and_nothing_more_is_asked_for():
    whole, trials = confirm(SEARCHED, as_before)
    waiting = [Trial(t.number, t.suggestion) for t in trials[3:]]
    for done in range(len(whole)):
        asked = next_confirmation(decide([*SEARCHED, *waiting[:done]]), SPACE, 0)
        assert asked.config["x"] == whole[done]
    assert next_confirmation(decide([*SEARCHED, *waiting]), SPACE, 0) is None


def test_a_winner_that_falls_short_is_followed_by_the_runner_up():
    launched, trials = confirm(SEARCHED, lambda x: (12.0 if x == 4 else SPEED[x], 0.2))
    assert launched.count(6) == 2
    found = decide(trials)
    assert found.winner.contender.config == {"x": 6}
    assert verdict(found).kind == "better"


def test_a_winner_that_breaks_its_limit_or_crashes_is_followed_by_the_runner_up():
    searched = [SEARCHED[0], trial(1, 4, 40.0, delay=0.48), SEARCHED[2]]
    for bad in ((40.0, 0.6), None):
        launched, trials = confirm(
            searched, lambda x, bad=bad: bad if x == 4 else as_before(x), objective=LIMITED
        )
        assert launched.count(4) <= 2
        assert launched.count(6) == 2
        found = decide(trials, LIMITED)
        assert found.winner.contender.config == {"x": 6}
        assert all(c.key != '{"x":4}' or not found.holds(c) for c in found.candidates)


def test_nothing_is_recommended_where_every_launch_breaks_the_limit():
    searched = [trial(i, x, 10.0 * x, delay=0.49) for i, x in enumerate((1, 4, 6, 9))]
    launched, trials = confirm(searched, lambda x: (10.0 * x, 0.6), objective=LIMITED)
    found = decide(trials, LIMITED)
    assert launched
    assert found.winner is None
    assert found.recommended is None
    assert verdict(found).kind in ("limits in doubt", "nothing feasible")


def test_a_doubtful_launch_confirms_nothing_and_is_made_again():
    def doubtful(t):
        return replace(t, measurement=replace(t.measurement, facts={DOUBT: "half-width 51 %"}))

    _, trials = confirm(SEARCHED, as_before, objective=LIMITED)
    spoiled = [doubtful(t) if t.number in (3, 4) else t for t in trials]
    assert decide(spoiled, LIMITED).winner.contender.config == {"x": 1}  # the default has enough of others
    again, trials = confirm(spoiled, as_before, objective=LIMITED)
    assert sorted(again) == [1, 4]
    assert decide(trials, LIMITED).winner.contender.config == {"x": 4}
    never = [doubtful(t) for t in trials]
    assert decide(never, LIMITED).winner is None
    assert "is doubtful" in verdict(decide(never, LIMITED)).text


def test_a_new_winner_after_more_trials_is_confirmed_too():
    _, trials = confirm(SEARCHED, as_before)
    assert confirm([*trials, trial(7, 9, 35.0)], as_before)[0] == []
    SPEED[9] = 90.0
    assert confirm([*trials, trial(7, 9, 90.0)], as_before)[0] == [9, 9]


def test_when_there_is_nothing_to_confirm():
    assert confirm([trial(0, 1, 90.0), trial(1, 4, 40.0)], as_before)[0] == []
    assert next_confirmation(decide(SEARCHED, repeats=0), SPACE, 0) is None
    failed = Measurement(failure=Failure(Cause.OUT_OF_MEMORY))
    infeasible = Trial(0, Suggestion({"x": 1}, Reason.DEFAULT), TrialState.INFEASIBLE, 1, failed)
    assert next_confirmation(decide([infeasible]), SPACE, 0) is None
    running = Trial(3, Suggestion({"x": 5}, Reason.EXPLORE), TrialState.RUNNING, 1)
    assert next_confirmation(decide([*SEARCHED, running]), SPACE, 0) is None


def test_a_default_that_fails_is_not_launched_again():
    failed = Measurement(failure=Failure(Cause.OUT_OF_MEMORY))
    infeasible = Trial(0, Suggestion({"x": 1}, Reason.DEFAULT), TrialState.INFEASIBLE, 1, failed)
    assert confirm([infeasible, *SEARCHED[1:]], as_before)[0] == [4, 4]


@pytest.mark.parametrize("repeats", [1, 2, 3])
@pytest.mark.parametrize("noise", [0.01, 0.1, 0.4])
def test_it_always_ends_within_its_budget_and_reports_only_what_was_confirmed(repeats, noise):
    for seed in range(15):
        rng = random.Random(seed)

        def draw(x, rng=rng):
            return tuple(v * math.exp(rng.gauss(0, noise)) for v in (10.0 + x, 0.3 + 0.04 * x))

        searched = [trial(x - 1, x, *draw(x)) for x in range(1, 10)]
        launched, trials = confirm(searched, draw, objective=LIMITED, repeats=repeats, seed=seed)
        found = decide(trials, LIMITED, repeats)
        if launched and found.winner is not None and found.winner.key != found.default_key:
            assert launched.count(found.winner.contender.config["x"]) >= repeats


BOTH = Objective.from_dict({"maximize": "speed", "minimize": "delay"})
TRADE = {1: (10.0, 0.30), 3: (40.0, 0.5), 4: (60.0, 0.9), 5: (20.0, 0.2), 6: (30.0, 0.6), 8: (55.0, 0.55)}


def test_of_several_goals_the_ends_and_the_knee_are_confirmed():
    searched = [trial(i, x, *TRADE[x]) for i, x in enumerate(sorted(TRADE))]
    launched, trials = confirm(searched, TRADE.__getitem__, objective=BOTH)
    assert launched == [4, 5, 8, 1, 1, 8, 5, 4]
    found = decide(trials, BOTH)
    assert [c.contender.config["x"] for c in found.front] == [4, 8, 3, 5]
    assert [c.contender.config["x"] for c in found.corners] == [4, 5, 8]


def test_points_of_the_front_that_nothing_tells_apart_are_ties():
    searched = [trial(i, x, *TRADE[x]) for i, x in enumerate(sorted(TRADE))]
    searched += [trial(6, 7, 55.2, 0.551), *(trial(7 + i, 7, 55.2 + i, 0.551) for i in (0, 1))]
    found = decide(searched, BOTH)
    by_x = {c.contender.config["x"]: c for c in found.candidates}
    assert found.tied(by_x[7], by_x[8])
    assert not found.tied(by_x[4], by_x[5])


def test_a_named_configuration_is_confirmed_in_place_of_the_best():
    named = [config_key({"x": 6})]
    first = next_confirmation(decide(SEARCHED), SPACE, 0, named)
    assert first.config == {"x": 6}
    trials = [*SEARCHED, Trial(3, first, TrialState.COMPLETED, 1, SEARCHED[2].measurement)]
    assert next_confirmation(decide(trials), SPACE, 0, named).config == {"x": 1}


@pytest.mark.parametrize("lost", [(4,), (1,), (4, 1)])
@pytest.mark.parametrize("speed", [11.0, 40.0])
def test_what_would_settle_a_verdict_is_launched_also_where_launches_were_lost(lost, speed):
    """A machine that fails a launch counts as one of those asked for, so that it ends."""
    gone = Measurement(failure=Failure(Cause.WORKER_LOST))
    trials = [*SEARCHED, trial(3, 4, speed, reason=Reason.CONFIRM), trial(4, 1, 10.5, reason=Reason.CONFIRM)]
    for x in lost:
        suggestion = Suggestion({"x": x}, Reason.CONFIRM)
        trials.append(Trial(len(trials), suggestion, TrialState.FAILED, 1, gone))
    found = verdict(decide(trials, repeats=1)).settlement
    named = {config_key({"x": 4})}
    asked = next_confirmation(decide(trials, repeats=found.launches), SPACE, 0, named)
    assert asked is not None, found
