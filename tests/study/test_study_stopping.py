"""``stop_when: converged``: the search ends early, says why, and goes on when it is asked to."""

import pytest

import autotune
from autotune.errors import SpecError
from autotune.study.stopping import Stopping

SPACE = autotune.Space((autotune.Int("x", 0, 24),))
GOAL = {"maximize": "speed"}


def speed(config):
    value = 100.0 - (config["x"] - 15) ** 2 / 4
    return {"speed": autotune.Estimate(value, 0.3), "power": autotune.Estimate(50.0 + config["x"], 0.3)}


def tune(trials=24, stop_when="converged", **others):
    return autotune.tune(SPACE, speed, GOAL, trials=trials, stop_when=stop_when, **others)


def test_the_search_ends_before_its_budget_and_says_why(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with tune(path=path) as study:
        count = len(study.trials)
        assert 5 < count < 18
        assert study.stopped.startswith("converged: remaining gain at most ")
        assert "expected gain of one more trial" in study.stopped
        assert speed(study.best.config)["speed"].value > 99.0
    # nothing more under the same budget, whatever was added since
    with autotune.Study.open(path) as study:
        study.add({"x": 24}, speed({"x": 24}))
    with tune(path=path) as study:
        assert len(study.trials) == count + 1
    # a larger budget is a wish for at least one trial more
    with tune(path=path, trials=25) as study:
        assert count + 2 <= len(study.trials) < 24
        count = len(study.trials)
    with tune(path=path, trials=count + 2, stop_when="budget") as study:
        assert len(study.trials) == count + 2
        assert study.stopped == ""


def test_another_objective_over_the_same_measurements_is_judged_anew(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with tune(path=path) as study:
        assert study.stopped
    with autotune.Study(SPACE, {"minimize": "power"}, path=path) as study:
        assert Stopping(study, "converged", 24).reason == ""
    with autotune.Study(SPACE, GOAL, path=path) as study:
        assert Stopping(study, "converged", 24).reason.startswith("converged: ")


def test_in_parallel_what_runs_is_finished():
    study = tune(parallel=3)
    assert study.stopped
    assert all(trial.state.finished for trial in study.trials)


def test_what_cannot_tell_is_refused():
    with pytest.raises(SpecError, match="engine sobol/1 has no model"):
        tune(engine="sobol")
    with pytest.raises(SpecError, match="unknown stop_when 'never'; allowed: budget, converged"):
        tune(stop_when="never")


def test_a_study_gives_an_account_of_its_model():
    with autotune.Study(SPACE, GOAL) as study:
        assert study.assess().converged is False
        assert study.model_quality() == {}
        for x in range(0, 24, 3):
            study.add({"x": x}, speed({"x": x}))
        found = study.assess()
        assert found.bound >= found.median >= 0
        assert study.model_quality()["speed"].n == 8
    with autotune.Study(SPACE, GOAL, engine="random") as study:
        assert study.assess() is None
        assert study.model_quality() is None


def test_surprises_are_in_the_frame():
    frame = tune(trials=8, stop_when="budget").to_frame()
    scores = frame["surprise.speed"].dropna()
    assert len(scores) == 5  # the first three were not predicted
    assert scores.abs().max() < 100
