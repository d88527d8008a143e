"""What is said of a change: real ones are found, noise is not one, limits that break are told."""

import math
from dataclasses import replace

import numpy as np
import pytest

from autotune.analysis.change import changes, decision_again
from autotune.analysis.facts import changed, circumstances, hardware_of, versions_of
from autotune.core.decision import Decision
from autotune.core.measurement import Estimate, Measurement
from autotune.core.objective import Objective
from autotune.core.trial import Reason, Suggestion, Trial, TrialState, config_key

OBJECTIVE = Objective.from_dict({"maximize": "output_throughput", "limits": ["ttft.p99 <= 230 ms"]})
DEFAULT, WINNER = {"b": 0}, {"b": 5}


def trial(number, config, reason, rng, noise, slower=1.0, facts=None):
    speed = 100 * (1 + config["b"]) / slower * math.exp(rng.normal(0, noise))
    delay = 0.2 * slower * math.exp(rng.normal(0, noise))
    metrics = {
        "output_throughput": Estimate(speed, speed * noise / 3, 30, "tokens/s"),
        "ttft.p99": Estimate(delay, delay * noise / 3, 30, "s"),
    }
    return Trial(
        number, Suggestion(config, reason), TrialState.COMPLETED, 1, Measurement(metrics, facts=facts or {})
    )


def study(rng, noise):
    searched = [trial(i, {"b": i}, Reason.EXPLORE, rng, noise) for i in range(6)]
    order = (WINNER, DEFAULT, DEFAULT, WINNER)
    return searched + [trial(6 + i, c, Reason.CONFIRM, rng, noise) for i, c in enumerate(order)]


def verified(rng, noise, slower=1.0, launches=3, config=WINNER):
    again = [
        trial(i, c, Reason.REPEAT, rng, noise, slower) for i, c in enumerate([DEFAULT, WINNER] * launches)
    ]
    return changed_of(study(rng, noise), again, config)


def decided(trials, objective=OBJECTIVE):
    return Decision(trials, objective, config_key(DEFAULT))


def changed_of(then, again, config=WINNER, objective=OBJECTIVE):
    earlier, key = decided(then, objective), config_key(config)
    return changes(earlier, decision_again(again, earlier, objective), (key, key), objective)


def test_noise_is_no_regression():
    rng = np.random.default_rng(3)
    found = [change.status(0.05, 0.95) for _ in range(4) for change in verified(rng, 0.03)]
    assert len(found) == 8
    assert not {"worse", "broken"} & set(found)


@pytest.mark.parametrize("config", [WINNER, DEFAULT])
def test_a_real_regression_is_found_in_a_goal_and_in_the_metric_of_a_limit(config):
    speed, delay = verified(np.random.default_rng(1), 0.02, slower=1.25, config=config)
    assert speed.metric == "output_throughput"
    assert speed.status(0.05, 0.95) == "worse"
    assert speed.gain.high < 0.95
    assert delay.status(0.05, 0.95) == "broken"  # 250 ms of 230
    assert delay.chance < 0.05 < 0.5 < delay.held


def test_a_change_within_the_tolerance_is_none_and_an_improvement_is_told():
    rng = np.random.default_rng(2)
    assert {c.status(0.2, 0.95) for c in verified(rng, 0.01, slower=1.1)} == {"kept"}
    assert {c.status(0.05, 0.95) for c in verified(rng, 0.01, slower=1.1)} == {"worse"}
    assert {c.status(0.05, 0.95) for c in verified(rng, 0.01, slower=0.7)} == {"better"}


def test_what_noise_hides_is_not_settled():
    (speed, _) = verified(np.random.default_rng(5), 0.2, slower=1.05, launches=2)
    assert speed.status(0.05, 0.95) == "unsettled"


def test_a_metric_that_one_side_lacks_is_left_out():
    rng = np.random.default_rng(1)
    then, again = study(rng, 0.01), [trial(i, WINNER, Reason.REPEAT, rng, 0.01) for i in range(2)]
    speed_alone = [
        replace(t, measurement=Measurement({"output_throughput": t.metrics["output_throughput"]}))
        for t in again
    ]
    assert [change.metric for change in changed_of(then, speed_alone)] == ["output_throughput"]
    assert changed_of(then, []) == changed_of([], again) == []


def test_what_changed_between_then_and_now_is_named():
    rng = np.random.default_rng(1)
    gpu = {"name": "H200", "driver": "550"}
    then = {"system": {"engine": "vllm", "version": "0.10"}, "hardware": {"gpus": [gpu, gpu], "cpu": "EPYC"}}
    now = {"system": {"engine": "vllm", "version": "0.11"},
           "hardware": {"gpus": [{**gpu, "driver": "570"}] * 2, "cpu": "EPYC"}}  # fmt: skip
    sides = [[trial(0, WINNER, Reason.REPEAT, rng, 0.01, facts=facts)] for facts in (then, now)]
    assert changed(*map(circumstances, sides)) == [
        "vllm: 0.10 -> 0.11", "GPU driver: 550 -> 570",
    ]  # fmt: skip
    assert changed(*map(circumstances, (sides[0], sides[0]))) == []
    assert versions_of({"versions": {"torch": "2.8"}, "cuda_version": 12.8}) == {
        "torch": "2.8",
        "cuda": "12.8",
    }
    assert hardware_of({}) == {}


def test_each_side_has_the_noise_of_its_own_study_and_the_difference_that_of_both():
    quiet, noisy = study(np.random.default_rng(1), 0.003), study(np.random.default_rng(2), 0.2)
    key = config_key(WINNER)
    for first, second in ((quiet, noisy), (noisy, quiet)):
        sides = decided(first), decided(second)
        (speed, delay) = changes(*sides, (key, key), OBJECTIVE)
        for change in (speed, delay):
            for measured, side in zip((change.then, change.now), sides, strict=True):
                (alone,) = (c.contender for c in side.candidates if c.key == key)
                assert measured.half == side.half_width(alone, change.metric)
            parts = [m.half / m.estimate.value for m in (change.then, change.now)]
            assert max(parts) > 10 * min(parts)
            assert math.log(change.gain.high / change.gain.low) / 2 == pytest.approx(max(parts), rel=0.1)
    same = changes(decided(quiet), decided(study(np.random.default_rng(3), 0.003)), (key, key), OBJECTIVE)
    assert math.log(same[0].gain.high / same[0].gain.low) < 0.05


def test_a_difference_is_as_sure_as_both_sides_are_together():
    """Intervals cover the truth as often as they say, whichever side is the noisy one."""
    key, covered = config_key(WINNER), []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        noises = ((0.01, 0.1), (0.1, 0.01), (0.03, 0.03), (0.005, 0.2))[seed % 4]
        sides = [decided(study(rng, noise)) for noise in noises]
        (speed, _) = changes(*sides, (key, key), OBJECTIVE)
        covered.append(speed.gain.low <= 1 <= speed.gain.high)
    assert 0.85 <= np.mean(covered) <= 1


def test_launches_that_became_noisy_say_nothing_worse_of_the_quiet_study_before():
    rng = np.random.default_rng(4)
    then = study(rng, 0.005)
    again = [trial(i, c, Reason.REPEAT, rng, 0.15) for i, c in enumerate([DEFAULT, WINNER] * 3)]
    (speed, _) = changed_of(then, again)
    earlier = decided(then)
    (alone,) = (c.contender for c in earlier.candidates if c.key == config_key(WINNER))
    assert speed.then.half == earlier.half_width(alone, "output_throughput")
    assert speed.now.half > 5 * speed.then.half


def test_one_new_launch_has_the_spread_of_the_study():
    """By itself it has none; the usual spread of servers would be ten times too wide."""
    rng = np.random.default_rng(4)
    (speed, _) = changed_of(study(rng, 0.003), [trial(0, WINNER, Reason.REPEAT, rng, 0.003)])
    assert 0.003 < speed.now.half / speed.now.estimate.value < 0.03


def test_one_value_a_side_of_no_known_error_settles_nothing():
    """A build must not fail over two numbers that may differ by themselves, nobody knows how far."""
    objective = Objective(maximize="speed")

    def side(value):
        measured = Measurement({"speed": Estimate(value, None, 1, "1/s")})
        only = Trial(0, Suggestion(DEFAULT, Reason.DEFAULT), TrialState.COMPLETED, 1, measured)
        return Decision([only], objective, config_key(DEFAULT))

    keys = (config_key(DEFAULT), config_key(DEFAULT))
    for now in (50.0, 95.0, 100.0, 200.0):
        (change,) = changes(side(100.0), side(now), keys, objective)
        assert change.gain.low is None
        assert [change.status(tolerance, 0.95) for tolerance in (0.0, 0.05)] == ["unsettled"] * 2


def test_values_that_are_positive_on_one_side_only_are_compared_by_their_difference():
    objective = Objective.from_dict({"maximize": "gain"})

    def launches(values):
        return [
            Trial(i, Suggestion(WINNER if i % 2 else DEFAULT, Reason.CONFIRM), TrialState.COMPLETED, 1,
                  Measurement({"gain": Estimate(value, 0.1, 9, "1")}))
            for i, value in enumerate(values)
        ]  # fmt: skip

    sides = [
        decided(launches(values), objective) for values in ((-3.0, 2.0, -3.1, 2.1), (1.0, 5.0, 1.1, 5.1))
    ]
    key = config_key(WINNER)
    (change,) = changes(*sides, (key, key), objective)
    assert not change.gain.relative
    assert change.gain.value == pytest.approx(3.0, abs=0.05)
    assert 0 < change.gain.low < 3.0 < change.gain.high


def test_each_limit_of_a_metric_is_judged():
    objective = Objective.from_dict(
        {
            "minimize": "ttft.p99",
            "limits": ["output_throughput >= 60 tokens/s", "output_throughput <= 900 tokens/s"],
        }
    )
    rng = np.random.default_rng(1)
    again = [trial(i, WINNER, Reason.REPEAT, rng, 0.01, slower=0.5) for i in range(3)]
    found = changed_of(study(rng, 0.01), again, WINNER, objective)
    statuses = {str(c.limit): c.status(0.05, 0.95) for c in found}
    assert statuses["output_throughput <= 900 tokens/s"] == "broken", "1200 of 900"
    assert statuses["output_throughput >= 60 tokens/s"] in ("kept", "better", "worse")
    assert statuses["None"] == "better"
