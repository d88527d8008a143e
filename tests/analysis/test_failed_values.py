"""Where trials fail: counted by value and cause, the telling parameter first."""

import pytest

import autotune
from autotune.analysis.failed_values import failed_values

SPACE = autotune.Space.from_dict(
    {
        "parameters": {
            "other": {"type": "int", "low": 0, "high": 9},
            "batch": {"type": "ordinal", "values": [1, 8, 64]},
            "draft": {"type": "bool"},
            "length": {"type": "int", "low": 1, "high": 4, "when": "draft"},
        }
    }
)


def study_that_fails():
    """Batches of 64 run out of memory, drafts of 4 are rejected."""
    study = autotune.Study(SPACE, autotune.Objective.from_dict({"maximize": "rate"}), engine="sobol")
    for trial in study.ask(60):
        if trial.config["batch"] == 64:
            study.tell(trial, failure="out_of_memory")
        elif trial.config.get("length") == 4:
            study.tell(trial, failure="rejected_flags")
        else:
            study.tell(trial, {"rate": 1.0 + trial.config["batch"]})
    return study


def test_the_parameter_that_tells_failures_apart_comes_first_with_its_causes():
    view = study_that_fails().view
    found = failed_values(view)
    assert next(iter(found)) == "batch"
    by_value = {group.values[0]: group for group in found["batch"]}
    assert by_value[64].share == 1.0
    assert set(by_value[64].causes) == {"out_of_memory"}
    assert set(by_value[1].causes) <= {"rejected_flags"}
    assert sum(group.trials for group in found["batch"]) == len(view.trials)


def test_the_model_expects_failures_where_they_are():
    by_value = {group.values[0]: group for group in failed_values(study_that_fails().view)["batch"]}
    assert by_value[64].chance > 0.8
    assert by_value[1].chance < 0.4


def test_inactive_values_are_a_group_of_their_own():
    view = study_that_fails().view
    groups = failed_values(view)["length"]
    assert groups[-1].values == (None, None)
    assert groups[-1].trials == sum("length" not in trial.config for trial in view.trials)
    by_value = {group.values[0]: group for group in groups}
    assert "rejected_flags" in by_value[4].causes


def test_many_values_are_grouped():
    groups = failed_values(study_that_fails().view)["other"]
    assert 1 < len(groups) <= 5
    assert all(low <= high for low, high in (group.values for group in groups))


def test_without_failures_there_is_nothing_to_say():
    study = autotune.Study(SPACE, autotune.Objective.from_dict({"maximize": "rate"}), engine="sobol")
    assert failed_values(study.view) == {}
    study.add(SPACE.default_config, {"rate": 1.0})
    assert failed_values(study.view) == {}


def test_a_study_in_which_everything_fails_has_no_model_and_its_counts():
    study = autotune.Study(SPACE, autotune.Objective.from_dict({"maximize": "rate"}), engine="sobol")
    for trial in study.ask(6):
        study.tell(trial, failure="out_of_memory")
    found = failed_values(study.view)
    groups = [group for groups in found.values() for group in groups]
    assert {group.share for group in groups} == {1.0}
    assert {group.chance for group in groups} == {None}


@pytest.mark.parametrize("cause", ["worker_lost", "out_of_memory"])
def test_every_cause_is_counted(cause):
    study = autotune.Study(SPACE, autotune.Objective.from_dict({"maximize": "rate"}), engine="sobol")
    first, second = study.ask(2)
    study.tell(first, failure=cause)
    study.tell(second, {"rate": 2.0})
    causes = {name for groups in failed_values(study.view).values() for g in groups for name in g.causes}
    assert causes == {cause}
