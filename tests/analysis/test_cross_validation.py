"""Prediction against measurement: of a smooth metric, of noise and of repeated launches."""

import math

import numpy as np
import pytest

import autotune
from autotune.analysis.cross_validation import cross_validation

SPACE = autotune.Space.from_dict(
    {"parameters": {name: {"type": "float", "low": 0.0, "high": 1.0} for name in ("a", "b")}}
)


def noisy_study(trials, noise, *, repeats=1, signal=1.0):
    rng = np.random.default_rng(1)
    study = autotune.Study(SPACE, autotune.Objective.from_dict({"maximize": "rate"}), engine="random")
    for config in SPACE.sample(trials, rng):
        for _ in range(repeats):
            level = signal * (math.sin(3 * config["a"]) + config["b"])
            study.add(config, {"rate": math.exp(level + noise * rng.standard_normal())})
    return study


def test_a_smooth_metric_is_predicted_and_intervals_hold():
    found = cross_validation(noisy_study(60, 0.05).view)
    assert found.logarithm
    assert len(found.points) == 60
    assert found.r2 > 0.95
    assert 0.85 <= found.coverage <= 1.0
    residuals = [point.residual for point in found.points]
    assert 0.6 < float(np.std(residuals)) < 1.5


def test_an_interval_is_inside_exactly_where_its_residual_is_small():
    found = cross_validation(noisy_study(40, 0.1).view)
    for point in found.points:
        assert point.low < point.predicted < point.high
        assert point.inside == (abs(point.residual) <= 1.96)


def test_what_is_noise_alone_is_not_said_to_be_predicted():
    found = cross_validation(noisy_study(40, 0.3, signal=0.0).view)
    assert found.r2 < 0.3
    assert found.coverage > 0.85


def test_other_launches_of_a_configuration_do_not_predict_it():
    """Three launches of each, which agree, of a metric that no parameter tells."""
    rng = np.random.default_rng(3)
    study = autotune.Study(SPACE, autotune.Objective.from_dict({"maximize": "rate"}), engine="random")
    for config in SPACE.sample(12, rng):
        particular = math.exp(rng.standard_normal())  # nothing of it follows from the parameters
        for _ in range(3):
            study.add(config, {"rate": particular * math.exp(0.01 * rng.standard_normal())})
    found = cross_validation(study.view)
    assert len(found.points) == 36
    assert found.r2 < 0.5


def test_too_few_trials_predict_nothing():
    assert cross_validation(noisy_study(1, 0.1).view) is None


@pytest.mark.parametrize("metric", ["rate", None])
def test_the_metric_is_the_goal_unless_said(metric):
    assert cross_validation(noisy_study(8, 0.05).view, metric).metric == "rate"
