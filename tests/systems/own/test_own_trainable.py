"""Trainables of Ray Tune as a system: what they report, where their files are, when classes end."""

import os
from pathlib import Path

import pytest

import autotune
import tests_tune_trainables as trainables
from autotune.core.measurement import Cause
from autotune.errors import SpecError
from autotune.integrations.ray_tune import TrainableFunction
from autotune.systems.own.trainable import configured
from autotune.systems.ray_tune import RayTuneSystem

pytestmark = [pytest.mark.timeout(400), pytest.mark.filterwarnings("ignore::DeprecationWarning")]

FILE = trainables.__file__


@pytest.fixture
def trained(tmp_path, attempt):
    def run(name, values, **section):
        section = {"use": "ray_tune", "trainable": f"{FILE}:{name}", "folder": str(tmp_path), **section}
        return attempt(section, values, goal="score", measure_s=200.0)

    return run


def test_the_last_report_of_a_function_is_measured_and_its_checkpoints_are_in_the_attempts_folder(
    trained, tmp_path
):
    measurement = trained("checkpointed", {"x": 2})
    assert measurement.failure is None, measurement.failure
    found = {name: estimate.value for name, estimate in measurement.metrics.items()}
    assert found == {"score": 6, "eval/loss": pytest.approx(1 / 3), "training_iteration": 3}
    states = sorted(tmp_path.rglob("state.json"))
    assert len(states) == 3
    attempt = tmp_path / "store" / "own" / "trial-0000" / "attempt-1"
    assert all(attempt in state.parents for state in states)
    (artifact,) = tmp_path.rglob("artifact.txt")
    assert Path(artifact.read_text()) == artifact.parent  # it works in a folder of its own, as in Tune


@pytest.mark.slow
@pytest.mark.parametrize(
    ("x", "cause", "said"),
    [(8, Cause.OUT_OF_MEMORY, "the cache does not fit"), (6, Cause.REJECTED_FLAGS, "exclude each other")],
)
def test_what_a_trainable_raises_is_a_failure_with_its_cause(trained, x, cause, said):
    failure = trained("fails", {"x": x}).failure
    assert failure.cause is cause
    assert said in failure.message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "stop", "score", "iterations"),
    # iterations are counted from 0 within a step
    [("short", {}, 1.0, 3), ("long", {"training_iteration": 5}, 2.0, 5)],
)
def test_a_class_is_stepped_until_it_is_done_or_its_stop_is_reached(trained, label, stop, score, iterations):
    config = {"optimizer": {"rate": "{rate}"}, "label": label}
    measured = trained("Steps", {"rate": 0.5}, config=config, stop=stop)
    assert measured.metrics["score"].value == score
    assert measured.metrics["training_iteration"].value == iterations


def test_parameters_stand_where_the_configuration_names_them():
    places = {
        "model": {"lr": "{lr}", "depth": "{depth}"},
        "data": "a {b}",
        "list": ["{lr}", "{depth}"],
        "k": 1,
    }
    assert configured(places, {"lr": 0.5, "batch": 8}) == {
        "batch": 8, "model": {"lr": 0.5}, "data": "a {b}", "list": [0.5], "k": 1
    }  # fmt: skip


def test_a_trainable_is_a_function_of_tune_in_this_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    function = TrainableFunction(
        trainables.Steps, {"optimizer": {"rate": "{rate}"}, "label": "long"}, {"training_iteration": 3}
    )
    space = autotune.Space([autotune.Ordinal("rate", (0.1, 0.5, 1.0))])
    study = autotune.tune(space, function, {"maximize": "score"}, trials=3, engine="random")
    assert study.best.config == {"rate": 1.0}
    assert study.best.metrics["score"].value == 2.0
    space = autotune.Space([autotune.Int("x", 1, 9)])
    study = autotune.tune(
        space,
        TrainableFunction(trainables.fails),
        {"maximize": "score"},
        trials=9,
        engine="random",
        parallel=2,
    )
    assert study.best.config == {"x": 5}
    causes = {trial.config["x"]: trial.failure.cause for trial in study.trials if trial.failure}
    assert causes == {
        6: Cause.REJECTED_FLAGS, 7: Cause.REJECTED_FLAGS, 8: Cause.OUT_OF_MEMORY, 9: Cause.OUT_OF_MEMORY
    }  # fmt: skip
    assert os.getcwd() == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_said_before_anything_runs(tmp_path):
    (tmp_path / "mine.py").write_text("def train(config): pass\n")
    system = RayTuneSystem.from_dict({"trainable": "mine.py:trian", "folder": str(tmp_path)})
    with pytest.raises(SpecError, match="has no trainable 'trian'") as caught:
        system.prepare(print)
    assert caught.value.path == ("trainable",)
    assert "'train'" in caught.value.hint
