"""What is said of a change: real ones are found, noise is not one, limits that break are told."""

import math

import numpy as np
import pytest

from autotune.analysis.change import changes
from autotune.analysis.facts import changed, circumstances, hardware_of, versions_of
from autotune.core.measurement import Estimate, Measurement
from autotune.core.objective import Objective
from autotune.core.trial import Reason, Suggestion, Trial, TrialState

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
    return changes(study(rng, noise), again, (config, config), OBJECTIVE, DEFAULT)


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
    again = [trial(0, WINNER, Reason.REPEAT, rng, 0.01), trial(1, WINNER, Reason.REPEAT, rng, 0.01)]
    objective = Objective.from_dict({"maximize": "output_throughput", "limits": ["tpot.p95 <= 1 s"]})
    found = changes(study(rng, 0.01), again, (WINNER, WINNER), objective, DEFAULT)
    assert [change.metric for change in found] == ["output_throughput"]


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
