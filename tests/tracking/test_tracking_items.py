"""What a trial and a study look like in a tracking store."""

import random

from autotune.core.measurement import Estimate, Measurement
from autotune.core.objective import Objective
from autotune.core.trial import Reason, Suggestion, Trial, TrialState
from autotune.ledger import StudyRow
from autotune.tracking.items import study_item, trial_item
from autotune.tracking.names import allowed_name, allowed_names

OBJECTIVE = Objective.from_dict({"maximize": "speed"})


def row(**notes):
    spec = {"space": {"parameters": {"x": {}}}}
    return StudyRow("chat", "u1", spec, "f", 0, "gp/3", "COMPLETED", notes, 1_000_000)


def trial(predicted):
    suggestion = Suggestion({"x": 1}, Reason.EXPLORE, "gp/3", {"speed": Estimate(predicted, 2.0)})
    measured = Measurement({"speed": Estimate(100.0, 1.0)})
    return Trial(4, suggestion, TrialState.COMPLETED, 1, measured)


def test_a_surprise_is_a_metric_and_a_tag_when_it_is_noteworthy():
    usual, odd = (trial_item(trial(value), row(), OBJECTIVE) for value in (99.0, 50.0))
    assert 0 < usual.metrics["surprise.speed"] < 1
    assert "autotune.surprise" not in usual.tags
    assert odd.metrics["surprise.speed"] > 15
    assert odd.tags["autotune.surprise"] == "surprise +17.3 sd of speed"


def test_why_a_search_ended_early_is_a_tag_of_the_study():
    stopped = {"reason": "converged: at most 1 % is left (90 %)", "budget": 40, "least": 0, "of": []}
    item = study_item(row(stopped=stopped), 12, None, OBJECTIVE, "0.1.0")
    assert item.tags["autotune.stopped"] == "converged: at most 1 % is left (90 %)"
    assert "Stopped before its budget: converged" in item.tags["mlflow.note.content"]
    on = study_item(row(stopped={**stopped, "reason": ""}), 12, None, OBJECTIVE, "0.1.0")
    assert on.tags["autotune.stopped"] == ""  # it went on, and must not keep the tag
    assert "Stopped" not in on.tags["mlflow.note.content"]


def test_every_name_becomes_one_that_mlflow_takes_and_no_two_become_one():
    from mlflow.utils.validation import _validate_metric_name

    rng = random.Random(5)
    letters = "ab./%-_ é\x1b:\n"
    names = ["", ".", "..", "../x", "/", "//", "a/", "a/../b", "é" * 300, "x" * 250, "x" * 251]
    names += ["".join(rng.choice(letters) for _ in range(rng.randrange(1, 8))) for _ in range(2000)]
    found = allowed_names(names)
    assert len(set(found.values())) == len(found) == len(set(names))
    for name, allowed in found.items():
        _validate_metric_name(allowed, "name")
        assert allowed_name(allowed) == allowed
        assert allowed == name or allowed_name(name) != name


def test_values_that_differ_are_told_apart():
    def params(value):
        suggestion = Suggestion({"x": value}, Reason.EXPLORE)
        return trial_item(Trial(4, suggestion, TrialState.RUNNING, 1), row(), OBJECTIVE).params

    values = [
        1,
        True,
        "1",
        "true",
        1.5,
        "1.5",
        "one",
        "",
        "x" * 7000 + "a",
        "x" * 7000 + "b",
        "x" * 6999 + "yb",
    ]
    assert len({params(value)["x"] for value in values}) == len(values)
    assert params("one") == {"x": "one"}
    assert params("1") == {"x": '"1"'}
    long = params("x" * 7000 + "a")["x"]
    assert len(long) <= 5000
    assert "... 7001 characters, digest " in long
