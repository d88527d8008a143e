"""Trainables as users of Ray Tune write them: functions that report, classes that step."""

import json
import os
import tempfile
from pathlib import Path

from ray import tune

from autotune import Infeasible


def parabola(config):
    tune.report({"loss": (config["x"] - 2.0) ** 2, "size": config["model"]["width"]})


def odd_numbers(config):
    """What Tune's own suite reports: infinite above 4, below 0 above 3, no number above 2."""
    x = config["report"]
    assert config["list"] == [1, 2, 3]
    odd = float("inf") if x > 4 else float("-inf") if x > 3 else float("nan") if x > 2 else None
    tune.report({"_metric": x if odd is None else odd})


def crashes_on_the_right(config):
    if config["x"] > 2.5:
        raise RuntimeError("out of range")
    tune.report({"loss": (config["x"] - 2.0) ** 2})


def curve(config):
    """A loss that falls with each iteration to its end at 9; a low `x` is good."""
    for iteration in range(1, 10):
        tune.report({"loss": config["x"] + 10.0 / iteration})


def checkpointed(config):
    for step in range(3):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "state.json").write_text(json.dumps({"step": step}))
            tune.report(
                {"score": config["x"] * (step + 1), "eval": {"loss": 1.0 / (step + 1)}},
                checkpoint=tune.Checkpoint.from_directory(folder),
            )
    Path("artifact.txt").write_text(os.getcwd())


def fails(config):
    if config["x"] >= 8:
        raise MemoryError("the cache does not fit")
    if config["x"] >= 6:
        raise Infeasible("x and this model exclude each other", "rejected_flags")
    tune.report({"score": config["x"]})


class Steps(tune.Trainable):
    def setup(self, config):
        self.rate = config["optimizer"]["rate"]
        self.label = config["label"]

    def step(self):
        return {"score": self.rate * self.iteration, "done": self.label == "short" and self.iteration >= 2}

    def save_checkpoint(self, checkpoint_dir):
        Path(checkpoint_dir, "rate").write_text(str(self.rate))
