"""Doubtful measurements: repeated once, shown, and never alone in judging a limit."""

import io
import json
import threading
from dataclasses import replace

import pytest

from autotune.analysis.study_view import StudyView
from autotune.core import ranking
from autotune.core.measurement import DOUBT, SHORTFALL, Cause, Estimate, Failure, Measurement
from autotune.core.objective import Objective
from autotune.core.parameter import Int
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial, TrialState
from autotune.executor.base import AttemptResult
from autotune.report.plain import PlainView, QuietView, measured_line
from autotune.report.summary import summary, summary_json
from autotune.report.tables import note_of, state_word
from autotune.study.remeasure import next_remeasure
from autotune.study.run import run_study
from autotune.study.study import Study
from autotune.study.study_file import read_study
from autotune.study.watch import next_watch

SPACE = Space((Int("x", 1, 99, default=1),))
OBJECTIVE = Objective.from_dict({"maximize": "speed", "limits": ["heat <= 9"]})
WHY = "half-width 51 % where 5 % was asked; other programs took 62 % of the CPUs"


def trial(number, x, *, doubt="", short="", reason=Reason.EXPLORE, state=TrialState.COMPLETED, heat=1.0):
    facts = {**({SHORTFALL: short or doubt} if short or doubt else {}), **({DOUBT: doubt} if doubt else {})}
    metrics = {"speed": Estimate(10.0 + x, 0.1, 20), "heat": Estimate(heat, 0.01, 20)}
    measured = Measurement(metrics, facts=facts) if state is TrialState.COMPLETED else None
    return Trial(number, Suggestion({"x": x}, reason), state, 1, measured)


def again(number, x, **more):
    return trial(number, x, reason=Reason.REMEASURE, **more)


def test_a_doubtful_measurement_is_repeated_once():
    trials = [trial(0, 1), trial(1, 5, doubt=WHY), trial(2, 7, short="half-width 7 % where 5 % was asked")]
    found = next_remeasure(trials, OBJECTIVE)
    assert (found.config, found.reason) == ({"x": 5}, Reason.REMEASURE)
    assert next_remeasure([*trials, again(3, 5, state=TrialState.WAITING)], OBJECTIVE) is None
    assert next_remeasure([*trials, again(3, 5)], OBJECTIVE) is None
    assert next_remeasure([*trials, again(3, 5, doubt=WHY)], OBJECTIVE) is None  # a third would say the same


def test_each_doubtful_measurement_of_a_configuration_has_a_repeat_of_its_own():
    trials = [trial(0, 1, doubt=WHY), again(1, 1), trial(2, 1, reason=Reason.WATCH, doubt=WHY)]
    assert next_remeasure(trials, OBJECTIVE).config == {"x": 1}
    assert next_remeasure([*trials, again(3, 1)], OBJECTIVE) is None


def test_what_surely_breaks_a_limit_is_not_repeated():
    found = trial(1, 5, doubt=WHY, heat=20.0)
    assert next_remeasure([trial(0, 1), found], OBJECTIVE).config == {"x": 5}
    exact = {**found.measurement.metrics, "heat": Estimate(20.0, 0.0)}
    sure = replace(found, measurement=replace(found.measurement, metrics=exact))
    assert next_remeasure([trial(0, 1), sure], OBJECTIVE) is None
    assert (state_word(found, OBJECTIVE), state_word(sure, OBJECTIVE)) == ("limit?", "limit")
    assert note_of(sure, OBJECTIVE) == "heat 20"


def test_a_failure_or_a_confirmation_is_not_repeated_here():
    failed = Measurement(failure=Failure(Cause.OUT_OF_MEMORY), facts={DOUBT: WHY})
    lost = Trial(1, Suggestion({"x": 5}, Reason.EXPLORE), TrialState.INFEASIBLE, 1, failed)
    assert (
        next_remeasure([trial(0, 1), lost, trial(2, 1, doubt=WHY, reason=Reason.CONFIRM)], OBJECTIVE) is None
    )


def test_repeats_come_on_top_of_the_budget_and_of_the_looks_at_the_default():
    trials = [trial(0, 1), *(trial(i, i + 1, doubt=WHY) for i in (1, 2)), again(3, 2), again(4, 3)]
    assert [t.suggestion.reason.of_search for t in trials] == [True] * 3 + [False] * 2
    assert StudyView("s", SPACE, OBJECTIVE, trials, budget_trials=20).total == 20
    assert next_watch(trials, SPACE, 4, 20) is None  # three of the search, not five


def test_a_configuration_is_doubtful_while_all_its_launches_are():
    once = ranking.find([trial(0, 5, doubt=WHY)], OBJECTIVE, {"x": 5})
    assert once.doubtful
    assert ranking.find([trial(0, 5, doubt=WHY), again(1, 5, doubt=WHY)], OBJECTIVE, {"x": 5}).doubtful
    found = ranking.find([trial(0, 5, doubt=WHY), again(1, 5)], OBJECTIVE, {"x": 5})
    assert not found.doubtful
    assert found.launches == 2
    # once there are fresh launches, they alone count
    fresh = [trial(0, 5), trial(1, 5, doubt=WHY, reason=Reason.CONFIRM)]
    assert ranking.find(fresh, OBJECTIVE, {"x": 5}).doubtful


def test_the_table_judges_no_limit_by_a_doubtful_trial():
    over, kept = trial(0, 5, doubt=WHY, heat=12.0), trial(1, 5, doubt="not steady after 30 s of warm-up")
    assert [state_word(t, OBJECTIVE) for t in (over, kept, trial(2, 5, heat=12.0))] == [
        "limit?",
        "ok?",
        "limit",
    ]
    assert [note_of(t, OBJECTIVE) for t in (over, kept)] == ["not precise", "not steady"]
    line = measured_line(over, StudyView("s", SPACE, OBJECTIVE, [over]))
    assert "breaks a limit" not in line
    assert f"doubtful, will be measured again: {WHY}" in line


def test_what_was_not_reached_is_marked_and_said_in_words():
    trials = [trial(0, 1, short="half-width 7 % where 5 % was asked"), trial(1, 5, doubt=WHY), again(2, 5)]
    view = StudyView("s", SPACE, OBJECTIVE, trials, budget_trials=20)
    text = summary(view)
    rows = {line.split()[0].rstrip("*"): line for line in text.splitlines() if line[:1].isdigit()}
    assert ["~" in rows[number] for number in "012"] == [True, True, False]
    said = " ".join(text.split())
    assert "~ precision asked for not reached: trials 0, 1" in said
    assert (
        f"doubtful: trial 1 ({WHY}); no limit is judged on such a trial alone; measured again: trial 2"
        in said
    )
    data = summary_json(view)["trials"]
    assert [(t["doubt"], t["shortfall"]) for t in data] == [
        (None, "half-width 7 % where 5 % was asked"), (WHY, WHY), (None, None)
    ]  # fmt: skip
    assert "~" not in summary(StudyView("s", SPACE, OBJECTIVE, [trial(0, 1)]))


def test_a_reason_of_another_version_is_read_and_kept(tmp_path):
    with Study(SPACE, OBJECTIVE, engine="random", path=tmp_path / "l.sqlite") as study:
        study.ledger.add_trial(study.name, 0, Suggestion({"x": 3}, Reason("looked at sideways")))
    with Study.open(tmp_path / "l.sqlite") as study:
        found = study.trials[0].suggestion
        assert (found.reason, found.reason.value, found.reason.of_search) == (
            "looked at sideways", "looked at sideways", True,
        )  # fmt: skip
        assert Suggestion.from_dict(json.loads(json.dumps(found.to_dict()))) == found
        assert study.ask().number == 1
        assert "looked at sideways" in summary(StudyView("s", SPACE, OBJECTIVE, study.trials))
    with pytest.raises(ValueError, match="5"):
        Reason(5)


class Doubting:
    """An executor whose measurements of some configurations are doubtful, the first time or always."""

    name = "doubting"

    def __init__(self, once=(), always=()):
        self.once, self.always, self.jobs, self.done = once, always, [], []

    def start(self):
        pass

    def nodes(self):
        return ["here"]

    def capacity(self, resources):
        return 1

    def has_room(self, resources, beside=()):
        return not self.jobs and not beside

    def shortage(self, resources):
        return ""

    def submit(self, job):
        self.jobs.append(job)

    def wait(self, timeout):
        jobs, self.jobs = self.jobs, []
        return [AttemptResult(job.key, self.measured(job), "here") for job in jobs]

    def measured(self, job):
        x = job.config["batch_size"]
        doubted = x in self.always or (x in self.once and x not in self.done)
        self.done.append(x)
        metrics = {"output_throughput": Estimate(10.0 * x, 0.1, 20, "tokens/s")}
        return Measurement(metrics, facts={DOUBT: WHY, SHORTFALL: WHY} if doubted else {}, ended_ns=1)

    def drop(self, key):
        return ""

    def cancel(self):
        self.jobs.clear()

    def close(self):
        pass


STUDY = """
name: doubted
parameters:
  batch_size: {type: int, low: 1, high: 8, default: 1}
system: {use: toy}
objective: {maximize: output_throughput}
budget: {trials: 8, confirm: 0, parallel: 1}
engine: {use: random, seed: 0}
tracking: {mlflow: none}
"""


def run(tmp_path, executor, *overrides, view=None):
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    done = run_study(read_study(path, overrides), store=tmp_path / "store", view=view or QuietView(),
                     tracking=False, make_executor=lambda *_: executor)  # fmt: skip
    assert threading.active_count() < 20
    return done.view.trials


def test_a_study_repeats_what_is_doubtful_once_and_searches_no_less(tmp_path):
    trials = run(tmp_path, Doubting(once=(1, 4), always=(6,)))
    repeated = [t.config["batch_size"] for t in trials if t.suggestion.reason is Reason.REMEASURE]
    assert sorted(repeated) == [1, 4, 6]
    searched = [t.config["batch_size"] for t in trials if t.suggestion.reason.of_search]
    assert sorted(searched) == list(range(1, 9))
    for t in trials:  # at once, while the machine is as it was found
        if t.suggestion.reason is Reason.REMEASURE:
            assert trials[t.number - 1].key == t.key


def test_a_resumed_study_repeats_what_was_left_doubtful(tmp_path):
    executor = Doubting(always=range(9))
    trials = run(tmp_path, executor, "budget.trials=2")
    assert [t.suggestion.reason is Reason.REMEASURE for t in trials] == [False, True, False, True]
    stream = io.StringIO()
    trials = run(tmp_path, executor, "budget.trials=3", view=PlainView(stream))
    assert [t.suggestion.reason is Reason.REMEASURE for t in trials] == [False, True] * 3
    assert "[measured again]" in stream.getvalue()


def test_a_default_that_is_the_best_is_called_so():
    best = replace(
        trial(0, 1), measurement=Measurement({"speed": Estimate(99.0, 0.1, 20), "heat": Estimate(1.0)})
    )
    text = summary(StudyView("s", SPACE, OBJECTIVE, [best, trial(1, 5)], state="completed"))
    assert "best: trial 0, the default: x=1" in text
    assert "verdict: the default configuration is the best found" in text
    assert "best: trial 1: x=5" in summary(StudyView("s", SPACE, OBJECTIVE, [trial(0, 1), trial(1, 5)]))
