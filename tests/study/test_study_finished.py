"""A study that has ended needs neither Ray nor a cluster to say what it found; any that goes on does."""

import time

import pytest

from autotune import Int, Study, tune
from autotune.cli.options import next_step
from autotune.core.measurement import Estimate, Measurement
from autotune.core.trial import Reason, TrialState
from autotune.executor.base import AttemptResult
from autotune.executor.function import FunctionExecutor
from autotune.report.plain import QuietView
from autotune.report.summary import settlement_text
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


def run(tmp_path, *overrides, text=STUDY, executor=None):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    executor = executor or Counting()
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


SMALL = STUDY.replace("high: 8", "high: 2").replace("trials: 2", "trials: 5")


def test_executor_of_an_exhausted_study_is_not_started(tmp_path):
    assert run(tmp_path, text=SMALL) == (1, 2, "exhausted")
    assert run(tmp_path, text=SMALL) == (0, 2, "exhausted")


def test_what_had_not_begun_when_the_time_was_over_is_measured_with_more_time(tmp_path):
    run(tmp_path)
    more = STUDY.replace("trials: 2", "trials: 6").replace("engine", "start: [{batch_size: 8}]\nengine")
    assert run(tmp_path, "budget.time=1 ms", text=more) == (0, 2, "out of time")
    assert run(tmp_path, "budget.time=1 h", text=more) == (1, 6, "completed")
    with Study.open(tmp_path / "store" / "ledger.sqlite") as study:
        assert TrialState.ABANDONED not in {trial.state for trial in study.trials}
        assert study.trials[2].config == {"batch_size": 8}


class Late(Counting):
    """Measures at once until ``cut`` trials have begun; of that one nothing comes before the time is over."""

    def __init__(self, cut=1):
        super().__init__()
        self.cut, self.begun = cut, 0

    def submit(self, job):
        self.begun += 1
        super().submit(job)

    def wait(self, timeout):
        if self.begun < self.cut:
            return super().wait(timeout)
        time.sleep(timeout)
        return []


@pytest.mark.parametrize(
    ("cut", "reason"), [(2, Reason.START), (3, Reason.RANDOM), (5, Reason.CONFIRM), (6, Reason.CONFIRM)]
)
def test_what_the_time_cut_off_is_measured_with_more_time_but_a_proposal_of_the_search(tmp_path, cut, reason):
    text = STUDY.replace("trials: 2, confirm: 0", "trials: 4, confirm: 1")
    text = text.replace("engine", "start: [{batch_size: 8}]\nengine")
    assert run(tmp_path, "budget.time=2 s", text=text, executor=Late(cut))[2] == "out of time"
    with Study.open(tmp_path / "store" / "ledger.sqlite") as study:
        last = study.trials[cut - 1]
        assert (len(study.trials), last.suggestion.reason) == (cut, reason)
        given_up = reason is Reason.RANDOM
        assert last.state is (TrialState.ABANDONED if given_up else TrialState.WAITING)
        said = next_step(study.view, tmp_path / "store")
        assert "autotune best ended" in said
        assert "budget.time=4 s" in said
        assert ("first with what waits" in said) is not given_up
    run(tmp_path, "budget.time=1 h", text=text)
    with Study.open(tmp_path / "store" / "ledger.sqlite") as study:
        assert sum(trial.state is TrialState.COMPLETED for trial in study.trials) == 6 - given_up
        assert study.view.decision.winner.contender.config == {"batch_size": 8}


@pytest.mark.parametrize(("trials", "rest", "needed"), [(4, "1 more trial", 6), (20, "17 more trials", 16)])
def test_the_time_that_would_confirm_is_enough_for_the_search_that_comes_first(
    tmp_path, trials, rest, needed
):
    text = STUDY.replace("trials: 2, confirm: 0", f"trials: {trials}, confirm: 1").replace(
        "high: 8", "high: 64"
    )
    assert run(tmp_path, "budget.time=2 s", text=text, executor=Late(3))[2] == "out of time"
    with Study.open(tmp_path / "store" / "ledger.sqlite") as study:
        said = settlement_text(study.view)
    assert f"--set 'budget.time={needed} s'" in said
    assert said.endswith(f"would go on to the confirmation, after {rest} of the search")


def test_a_confirmation_that_was_given_up_is_made_again(tmp_path):
    """As older versions left it."""
    text = STUDY.replace("trials: 2, confirm: 0", "trials: 4, confirm: 1")
    assert run(tmp_path, "budget.time=2 s", text=text, executor=Late(5))[2] == "out of time"
    with Study.open(tmp_path / "store" / "ledger.sqlite") as study:
        (waiting,) = study.unfinished
        study.abandon(waiting.number)
    run(tmp_path, "budget.time=1 h", text=text)
    with Study.open(tmp_path / "store" / "ledger.sqlite") as study:
        best = study.view.decision.winner
        assert best.contender.config == max((t.config for t in study.trials), key=lambda c: c["batch_size"])
        assert best.fresh == 1


def test_a_default_that_the_time_cut_off_is_measured_with_more_time(tmp_path):
    assert run(tmp_path, "budget.time=200 ms", executor=Late()) == (1, 1, "out of time")
    with Study.open(tmp_path / "store" / "ledger.sqlite") as study:
        assert [trial.state for trial in study.trials] == [TrialState.WAITING]
    run(tmp_path, "budget.time=1 h")
    with Study.open(tmp_path / "store" / "ledger.sqlite") as study:
        assert study.trials[0].suggestion.reason is Reason.DEFAULT
        assert {trial.state for trial in study.trials} == {TrialState.COMPLETED}


@pytest.mark.parametrize("more", [{"trials": 2}, {"trials": 2, "timeout": "1 h"}])
def test_a_search_that_has_ended_starts_nothing_in_python_either(tmp_path, monkeypatch, more):
    started = []
    start = FunctionExecutor.start
    monkeypatch.setattr(FunctionExecutor, "start", lambda self: started.append(self.name) or start(self))
    where = {"engine": "random", "path": tmp_path / "ledger.sqlite", "space": [Int("x", 1, 8)]}

    def search(**budget):
        return tune(
            function=lambda config: float(config["x"]), objective={"maximize": "y"}, **where, **budget
        )

    first = search(**more).best
    assert started == ["threads"]
    assert search(ray=True, **more).best.config == first.config
    assert started == ["threads"]
    assert len(search(**{**more, "trials": 3}).trials) == 3
    assert started == ["threads"] * 2
