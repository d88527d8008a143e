"""A study that has ended needs neither Ray nor a cluster to say what it found; any that goes on does."""

import pytest

from autotune.core.measurement import Estimate, Measurement
from autotune.executor.base import AttemptResult
from autotune.report.plain import QuietView
from autotune.study.run import run_study
from autotune.study.study_file import read_study

STUDY = """
name: ended
parameters:
  batch_size: {type: int, low: 1, high: 8, default: 1}
system: {use: toy}
objective: {maximize: output_throughput}
budget: {trials: 2, confirm: 0, parallel: 1}
engine: {use: random, seed: 0}
tracking: {mlflow: none}
"""


class Counting:
    """Measures at once, and counts how often it was started."""

    name, parallel = "counting", 1

    def __init__(self):
        self.started, self.jobs = 0, []

    def start(self):
        self.started += 1

    def _up(self, value):
        assert self.started, "start() comes first"
        return value

    def capacity(self, resources):
        return self._up(1)

    def has_room(self, resources, beside=()):
        return self._up(not self.jobs and not beside)

    def shortage(self, resources):
        return self._up("")

    def nodes(self):
        return self._up(["here"])

    def submit(self, job):
        self.jobs.append(job)

    def wait(self, timeout):
        jobs, self.jobs = self.jobs, []
        return [AttemptResult(job.key, self._measured(job), "here") for job in jobs]

    def _measured(self, job):
        return Measurement(
            {"output_throughput": Estimate(job.config["batch_size"], 0.0, 9, "tokens/s")}, ended_ns=1
        )

    def drop(self, key):
        return ""

    def cancel(self):
        self.jobs.clear()

    close = cancel


def run(tmp_path, *overrides, text=STUDY):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    executor = Counting()
    done = run_study(read_study(path, overrides), store=tmp_path / "store", view=QuietView(), tracking=False,
                     make_executor=lambda *_: executor)  # fmt: skip
    return executor.started, len(done.view.trials), done.state


def test_executor_of_a_finished_study_is_not_started(tmp_path):
    assert run(tmp_path) == (1, 2, "completed")
    assert run(tmp_path) == (0, 2, "completed")


@pytest.mark.parametrize(
    ("more", "trials"), [("budget.trials=3", 3), ("budget.confirm=1", 4), ("start=[{batch_size: 7}]", 2)]
)
def test_executor_starts_where_there_is_more_to_measure(tmp_path, more, trials):
    run(tmp_path)
    assert run(tmp_path, more) == (int(trials > 2), trials, "completed")


def test_executor_starts_for_what_an_interrupted_study_left(tmp_path):
    run(tmp_path)
    again = STUDY.replace("trials: 2", "trials: 3").replace("engine", "start: [{batch_size: 8}]\nengine")
    assert run(tmp_path, text=again) == (1, 3, "completed")


def test_executor_is_not_started_once_the_time_is_over(tmp_path):
    run(tmp_path)
    assert run(tmp_path, "budget.trials=3", "budget.time=1 ms") == (0, 2, "out of time")
