"""What is recommended: measurements decide, and the models say whose limits to trust."""

import math

import pytest

from autotune.core.measurement import Estimate, Measurement
from autotune.core.objective import Objective
from autotune.core.parameter import Int
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial, TrialState
from autotune.engine.base import recommend
from autotune.engine.gp import GPEngine
from autotune.engine.random import RandomEngine
from autotune.study import Study

SPACE = Space((Int("x", 1, 20),))
OBJECTIVE = Objective.from_dict({"maximize": "speed", "limits": ["latency <= 10 ms"]})


def trial(x, latency_ms, speed=None, reason=Reason.EXPLORE, number=None):
    metrics = {"speed": Estimate(10.0 * x if speed is None else speed), "latency": Estimate(latency_ms / 1e3)}
    number = x if number is None else number
    return Trial(number, Suggestion({"x": x}, reason), TrialState.COMPLETED, 1, Measurement(metrics=metrics))


# latency is x milliseconds; that of 13 was measured by luck
LUCKY = [trial(x, x if x != 13 else 9.9) for x in (1, 3, 5, 7, 9, 10, 11, 12, 13, 14, 15, 17)]


def test_luck_just_below_a_limit_is_not_recommended():
    assert recommend(RandomEngine(), SPACE, OBJECTIVE, LUCKY).config == {"x": 13}
    assert recommend(GPEngine(), SPACE, OBJECTIVE, LUCKY).config["x"] in (9, 10)


def test_the_goal_counts_as_measured():
    history = [trial(x, 5.0, speed=100.0 + (30.0 if x == 11 else 0.0)) for x in range(1, 18)]
    assert recommend(GPEngine(), SPACE, OBJECTIVE, history).config == {"x": 11}


def test_values_that_have_no_logarithm_need_limits_that_are_likelier_kept_than_not():
    history = [
        trial(x, x if x != 13 else 9.9, speed=float(x - 6)) for x in (1, 3, 5, 7, 9, 10, 11, 12, 13, 15)
    ]
    assert recommend(GPEngine(), SPACE, OBJECTIVE, history).config["x"] in (9, 10)


def test_few_trials_confirmations_and_nothing_feasible_are_left_to_the_measurements():
    few = [trial(1, 5.0), trial(13, 9.9), trial(17, 17.0)]
    assert recommend(GPEngine(), SPACE, OBJECTIVE, few).config == {"x": 13}
    again = [trial(13, 9.9, reason=Reason.CONFIRM, number=30 + i) for i in range(2)]
    assert recommend(GPEngine(), SPACE, OBJECTIVE, [*LUCKY, *again]).config == {"x": 13}
    assert recommend(GPEngine(), SPACE, OBJECTIVE, [trial(x, 11.0 + x) for x in range(1, 9)]) is None


def test_a_study_recommends_by_its_engine():
    for engine, expected in (("random", (13,)), ("gp", (9, 10))):
        with Study(SPACE, OBJECTIVE, engine=engine) as study:
            assert study.best is None
            for t in LUCKY:
                study.add(t.config, dict(t.metrics))
            assert study.best.config["x"] in expected
            assert study.to_confirm == study.best
            waiting = study.ask()
            assert study.to_confirm is None  # one of them may still win
            study.tell(waiting, failure="crashed_under_load")
            assert study.to_confirm.config["x"] in expected


def test_minimizing_takes_the_least():
    objective = Objective.from_dict({"minimize": "latency", "limits": ["speed >= 100"]})
    history = [trial(x, x, speed=10.0 * x * math.exp(0.001 * x)) for x in (2, 5, 8, 11, 14, 17)]
    assert recommend(GPEngine(), SPACE, objective, history).config == {"x": 11}
    with pytest.raises(AttributeError):
        RandomEngine().recommend(SPACE, objective, history)
