"""Watching the machine: when the default is measured again, and what its drift means to engine and people."""

import math
from dataclasses import replace

import numpy as np
import pytest

from autotune.analysis.study_view import StudyView
from autotune.core.drift import find_drift, with_drift
from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.objective import Objective
from autotune.core.parameter import Int
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial, TrialState
from autotune.report.summary import summary, summary_json
from autotune.study.study import Study
from autotune.study.watch import next_watch

SPACE = Space((Int("x", 1, 99, default=1),))
OBJECTIVE = Objective.from_dict({"maximize": "speed", "limits": ["heat <= 9"]})


def trial(number, x, speed=10.0, reason=Reason.EXPLORE, sem=0.1):
    measured = Measurement(metrics={"speed": Estimate(speed, sem), "heat": Estimate(1.0, 0.01)})
    return Trial(number, Suggestion({"x": x}, reason), TrialState.COMPLETED, 1, measured)


def search(n, every, budget):
    """Return the numbers of the trials that were looks at the default in a study of ``n`` trials."""
    trials = []
    while len(trials) < n:
        again = next_watch(trials, SPACE, every, budget)
        if again is not None:
            assert again.config == {"x": 1}
        reason = Reason.EXPLORE if again is None else again.reason
        trials.append(trial(len(trials), 1 if again or not trials else 1 + len(trials), reason=reason))
    return [t.number for t in trials if t.suggestion.reason is Reason.WATCH]


def test_the_default_is_measured_again_after_every_so_many_trials_but_not_at_the_end():
    assert search(24, 5, 20) == [5, 11, 17]  # the fourth would come where the confirmation measures it
    assert search(10, 10, 10) == []
    assert search(30, 0, 20) == []


def test_a_default_that_failed_is_not_watched():
    failed = Measurement(failure=Failure(Cause.OUT_OF_MEMORY))
    first = Trial(0, Suggestion({"x": 1}, Reason.DEFAULT), TrialState.INFEASIBLE, 1, failed)
    assert next_watch([first, *(trial(i, i + 1) for i in range(1, 8))], SPACE, 3, 20) is None


def looks(*speeds, sem=0.1):
    first = [trial(0, 1, speeds[0], Reason.DEFAULT, sem)]
    rest = [trial(10 * i, 1, s, Reason.WATCH, sem) for i, s in enumerate(speeds[1:], start=1)]
    return [*first, trial(1, 5, 20.0), *rest]


def test_a_drift_agrees_with_one_computed_by_hand():
    found = find_drift(looks(10.0, 9.0, 8.0), "speed", {"x": 1})
    logs = np.log([10.0, 9.0, 8.0])
    within = np.mean((0.1 / np.array([10.0, 9.0, 8.0])) ** 2)
    assert found.extra == pytest.approx(math.sqrt(2 * logs.var() * 3 / 2 / (2 + 2) - within))
    assert found.change == pytest.approx(-0.2)
    assert found.certain
    assert found.trials == (0, 10, 20)
    assert find_drift(looks(10.0), "speed", {"x": 1}) is None


def test_launches_that_agree_within_their_errors_are_no_drift():
    found = find_drift(looks(10.0, 10.1, 9.95), "speed", {"x": 1})
    assert found.extra == 0.0
    assert not found.certain
    history = looks(10.0, 10.1, 9.95)
    assert with_drift(history, OBJECTIVE, SPACE) == history


def test_the_drift_is_part_of_the_noise_of_every_measurement():
    history = looks(10.0, 8.0, 12.0)
    extra = find_drift(history, "speed", {"x": 1}).extra
    told = with_drift(history, OBJECTIVE, SPACE)
    assert told[1].metrics["speed"].sem == pytest.approx(math.hypot(0.1, 20.0 * extra))
    assert told[1].metrics["speed"].value == 20.0
    assert told[1].metrics["heat"] == history[1].metrics["heat"]  # that did not drift
    assert with_drift([replace(t, suggestion=replace(t.suggestion, reason=Reason.EXPLORE)) for t in history],
                      OBJECTIVE, SPACE)[1].metrics["speed"].sem == 0.1  # fmt: skip


class Listener:
    """An engine that keeps what it is told."""

    name = "listener"

    def ask(self, space, objective, history, pending, n, seed):
        self.heard = history
        return [Suggestion({"x": 50}, Reason.RANDOM)]


def test_the_study_tells_its_engine():
    study = Study(SPACE, OBJECTIVE, engine="random")
    study.engine = Listener()
    for t in looks(10.0, 8.0, 12.0):
        asked = study.suggest(t.suggestion)
        study.tell(asked, t.metrics)
    study.ask()
    assert study.engine.heard[1].metrics["speed"].sem > 1.0
    assert study.trials[1].metrics["speed"].sem == 0.1  # the ledger keeps what was measured


def test_people_are_told_in_the_summary():
    view = StudyView("s", SPACE, OBJECTIVE, looks(10.0, 9.0, 8.0), budget_trials=20)
    text = " ".join(summary(view).split())
    assert "the machine drifted: the default configuration gave speed 10, 9, 8 in trials 0, 10, 20" in text
    assert "(-20 % from first to last)" in text
    assert summary_json(view)["drift"]["certain"] is True
    quiet = StudyView("s", SPACE, OBJECTIVE, looks(10.0, 10.1), budget_trials=20)
    assert "drifted" not in summary(quiet)
    assert quiet.total == 20


def test_busy_neighbours_are_named_in_the_summary():
    noisy = looks(10.0, 10.1)
    note = "other programs were busy while it was measured: make (1.5 cores)"
    facts = {"measured": {"warnings": [note]}}
    noisy[1] = replace(noisy[1], measurement=replace(noisy[1].measurement, facts=facts))
    view = StudyView("s", SPACE, OBJECTIVE, noisy, budget_trials=20)
    assert f"warning: trial 1: {note}" in " ".join(summary(view).split())
    assert summary_json(view)["warnings"] == [f"warning: trial 1: {note}"]
