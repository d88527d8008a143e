"""The searcher in Ray Tune: what it proposes, what it believes, and what it knows after a restart."""

import copy
import json
import logging
import math

import numpy as np
import pytest
from ray import tune
from ray.tune.search import ConcurrencyLimiter, Searcher

import autotune
from autotune.core.trial import TrialState
from autotune.errors import SpecError
from autotune.integrations.ray_tune import AutotuneSearch

SPACE = {"x": tune.uniform(0.0, 5.0)}
RANDOM = {"engine": "random"}  # what is proposed does not matter here, and a model takes a second


def searcher(**arguments):
    found = AutotuneSearch(**{**RANDOM, **arguments})
    found.set_search_properties("loss", "min", SPACE, num_samples=20)
    return found


def step(iteration, loss, **more):
    return {"training_iteration": iteration, "loss": loss, "config/x": 1.0, **more}


def ended(search, trial, loss):
    """Let a trial end as Tune does: its last result comes again, done."""
    search.on_trial_result(trial, step(1, loss))
    search.on_trial_complete(trial, step(1, loss, done=True))


def test_metric_mode_and_space_come_from_the_tuner_or_from_arguments():
    search = AutotuneSearch(**RANDOM)
    with pytest.raises(SpecError, match="no metric or no mode"):
        search.suggest("a")
    assert search.set_search_properties(None, "max", SPACE)
    assert search.metric == "_metric"  # what `tune.report` of a single number is called
    assert 0 <= search.suggest("a")["x"] <= 5
    own = AutotuneSearch(SPACE, metric="loss", mode="min", **RANDOM)
    assert not own.set_search_properties("loss", "min", {"constant": 1})  # it has a space of its own
    assert set(own.suggest("a")) == {"x"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"metric": "a", "mode": "best"}, "mode must be 'max' or 'min'"),
        ({"metric": ["a"], "mode": "max"}, "each metric needs a mode"),
        ({"metric": ["a", "b"], "mode": ["max"]}, "each metric needs a mode"),
        ({"metric": ["a"], "mode": ["obs"]}, "one metric at least"),
        ({"metric": 3, "mode": "max"}, "metric must be a name"),
        ({"space": {"x": 1}}, "nothing varies"),
        ({"space": {"x": tune.sample_from(lambda spec: 1)}}, "x: tune.sample_from has no equivalent"),
        ({"points_to_evaluate": {"x": 1}}, "points_to_evaluate must be a list"),
        ({"points_to_evaluate": [{"x": 1}], "evaluated_rewards": []}, "a list of 1"),
    ],
)
def test_a_wrong_argument_has_an_error_that_names_it(arguments, said):
    with pytest.raises(SpecError, match=said):
        AutotuneSearch(**arguments)


def test_several_goals_and_limits_make_an_objective_of_ours():
    search = AutotuneSearch(
        {"x": tune.uniform(0, 1)}, metric=["gain", "cost", "seen"], mode=["max", "min", "obs"],
        limits=["delay <= 0.5"], **RANDOM,
    )  # fmt: skip
    assert str(search.study.objective) == "maximize gain and minimize cost with delay <= 0.5"
    for i, delay in enumerate((0.1, 0.9)):
        search.suggest(str(i))
        search.on_trial_complete(str(i), {"training_iteration": 1, "gain": i, "cost": i, "delay": delay})
    assert [trial.number for trial in search.study.pareto_front] == [0]


def test_points_come_first_and_rewards_are_measurements():
    points = [{"x": 1.25}, {"x": 4.5}]
    search = searcher(points_to_evaluate=points)
    assert [search.suggest("a"), search.suggest("b")] == points
    known = searcher(points_to_evaluate=points, evaluated_rewards=[0.5, math.nan])
    assert [t.state for t in known.study.trials] == [TrialState.COMPLETED, TrialState.INFEASIBLE]
    assert known.study.best.config == {"x": 1.25}
    assert known.suggest("a") not in points
    with pytest.raises(SpecError, match="x cannot be 7"):
        searcher(points_to_evaluate=[{"x": 7.0}]).suggest("a")
    known.add_evaluated_point({"x": 2.0}, 0.25)
    known.add_evaluated_point({"x": 3.0}, 0.0, pruned=True)  # a partial value is no measurement
    known.add_evaluated_point({"x": 3.5}, None, error=True)
    assert known.study.best.config == {"x": 2.0}
    assert [t.state.value for t in known.study.trials][-1] == "INFEASIBLE"
    assert 3.0 not in [t.config["x"] for t in known.study.trials]


def test_results_that_are_no_measurements_teach_as_failures():
    search = searcher()
    results = [step(1, math.nan), step(1, math.inf), step(1, -math.inf), {"training_iteration": 1}, None]
    for i, result in enumerate(results):
        search.suggest(str(i))
        search.on_trial_complete(str(i), result)
    search.suggest("e")
    search.on_trial_complete("e", error=True)
    states = [t.state.value for t in search.study.trials]
    assert states == [*["INFEASIBLE"] * 4, "ABANDONED", "INFEASIBLE"]
    assert search.study.trials[5].failure.cause is autotune.Cause.CRASHED_UNDER_LOAD


def test_a_trial_that_tune_tries_again_has_the_result_of_the_second_time_and_others_have_one():
    search = searcher()
    search.suggest("a")
    search.on_trial_complete("a", error=True)
    ended(search, "a", 1.0)
    ended(search, "a", 5.0)  # more reports after the end change nothing
    search.on_trial_complete("a", error=True)
    search.on_trial_complete("unknown", step(1, 0.0))
    search.on_trial_result("unknown", step(1, 0.0))
    (trial,) = search.study.trials
    assert trial.metrics["loss"].value == 1.0


def test_a_partial_value_is_not_believed():
    search = searcher()
    for i in range(5):
        search.suggest(str(i))
        if i < 3:
            search.on_trial_result(str(i), step(1, 10.0 + i))
    for trial, loss in (("3", 13.0), ("4", 9.5)):  # others go on from iteration 1: a scheduler stopped these
        search.on_trial_complete(trial, step(1, loss, done=True))
    assert [t.state for t in search.study.trials[3:]] == [TrialState.WAITING] * 2
    for i, gain in enumerate((8.0, 8.5, 9.0)):
        assert search.study.trials[3].state is TrialState.WAITING  # two that were seen to their ends are few
        ended_at(search, str(i), 9, 10.0 + i - gain)
    worse, better = (trial.metrics["loss"] for trial in search.study.trials[3:])
    assert worse.value == pytest.approx(13.0 - 8.5)
    assert better.value == 2.0  # 9.5 - 8.5 would be better than any that ended
    assert worse.sem == pytest.approx(0.5 * math.sqrt(1 + 1 / 3))


def ended_at(search, trial, iteration, loss):
    search.on_trial_result(trial, step(iteration, loss))
    search.on_trial_complete(trial, step(iteration, loss, done=True))


def test_a_trial_that_was_paused_and_begins_anew_has_not_returned():
    search = searcher()
    search.suggest("a")
    search.suggest("b")
    search.on_trial_result("a", step(1, 5.0))
    search.on_trial_result("a", step(2, 4.0))
    search.on_trial_result("b", step(3, 1.0))
    search.on_trial_result("a", step(1, 5.0))
    search.on_trial_complete("a", step(2, 4.0, done=True))  # it was there before, and is stopped now
    assert search.study.trials[0].state is TrialState.WAITING


def test_a_function_that_returned_has_a_full_value_while_others_are_at_the_same_iteration():
    search = searcher()
    search.suggest("a")
    search.suggest("b")
    search.on_trial_result("a", step(1, 5.0))
    ended(search, "b", 2.0)
    assert search.study.trials[1].metrics["loss"].value == 2.0


def test_the_last_rung_and_the_stop_of_the_run_are_full_values():
    search = searcher()
    search.suggest("a")
    search.on_trial_result("a", step(1, 5.0))
    search.on_trial_complete("a", step(9, 1.0, done=True))  # nobody went on from iteration 9
    assert search.study.trials[0].metrics["loss"].value == 1.0
    search.set_search_properties("loss", "min", SPACE, stop={"training_iteration": 3})
    search.suggest("b")
    search.suggest("c")
    search.on_trial_result("c", step(5, 1.0))
    search.on_trial_complete("b", step(3, 2.0, done=True))
    assert search.study.trials[1].metrics["loss"].value == 2.0
    plain = searcher(early_stopping=False)
    plain.suggest("d")
    plain.suggest("e")
    plain.on_trial_result("d", step(5, 1.0))
    plain.on_trial_complete("e", step(2, 3.0, done=True))
    assert plain.study.trials[1].metrics["loss"].value == 3.0


def test_a_saved_state_knows_trials_in_flight_and_proposes_nothing_twice(tmp_path):
    search = searcher()
    proposed = [search.suggest(str(i))["x"] for i in range(4)]
    ended(search, "0", 1.0)
    search.save_to_dir(str(tmp_path))
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["metric"] == "loss"  # plain JSON: nothing in it runs
    again = AutotuneSearch()  # needs no other word than the state
    again.restore_from_dir(str(tmp_path))
    ended(again, "1", 2.0)
    assert again.suggest("2") == {"x": proposed[2]}  # a trial that Tune starts anew keeps its configuration
    proposed += [again.suggest(str(i))["x"] for i in range(4, 8)]
    assert len(set(proposed)) == 8
    assert [t.state.value for t in again.study.trials[:3]] == ["COMPLETED", "COMPLETED", "WAITING"]
    assert again.study.best.config["x"] == proposed[0]


def test_a_ledger_knows_what_no_saved_state_does(tmp_path):
    ledger = tmp_path / "study.sqlite"
    search = searcher(path=ledger)
    search.suggest("0")
    state = search.get_state()
    lost = search.suggest("1")  # committed; then the driver is killed before Tune has written anything of it
    search.study.close()
    again = AutotuneSearch(path=ledger, **RANDOM)
    again.set_search_properties("loss", "min", SPACE)
    again.set_state(state)
    assert again.suggest("2") == lost  # it was not measured, and is no second proposal
    assert len(again.study.trials) == 2
    ended(again, "2", 1.0)
    again.study.close()
    assert autotune.Study.open(ledger).trials[1].metrics["loss"].value == 1.0


def test_it_is_copied_and_limited_as_tune_does_it():
    search = searcher()
    search.suggest("a")
    twin = copy.deepcopy(search)
    twin.suggest("b")
    assert (len(search.study.trials), len(twin.study.trials)) == (1, 2)
    limited = ConcurrencyLimiter(searcher(), max_concurrent=2)
    assert limited.suggest("a")
    assert limited.suggest("b")
    assert limited.suggest("c") is None
    limited.on_trial_complete("a", step(1, 1.0))
    assert limited.suggest("c")


def test_a_space_is_tried_once_and_then_finished():
    search = AutotuneSearch({"x": tune.choice(["a", "b"])}, metric="loss", mode="min", **RANDOM)
    assert {search.suggest("0")["x"], search.suggest("1")["x"]} == {"a", "b"}
    assert search.suggest("2") == Searcher.FINISHED


def test_what_is_searched_otherwise_than_tune_would_is_said(caplog):
    with caplog.at_level(logging.WARNING, "autotune.integrations"):
        AutotuneSearch(**RANDOM).set_search_properties("loss", "min", {"x": tune.grid_search([1, 2])})
    assert "tune.grid_search of x is searched as tune.choice" in caplog.text


@pytest.mark.parametrize("content", [b"\xff\xfe junk", b"[]", b'{"a": 1}', b"3"])
def test_a_file_that_is_no_state_is_refused_by_name(content, tmp_path):
    file = tmp_path / "autotune-searcher-a.json"
    file.write_bytes(content)
    with pytest.raises(SpecError, match=r"checkpoint_path: .*autotune-searcher-a\.json"):
        searcher().restore(str(file))


def test_a_file_that_cannot_be_read_or_written_is_refused_by_name(tmp_path):
    search = searcher()
    for path in (str(tmp_path / "missing" / "a.json"), str(tmp_path), "\ud800", "a\0b", None):
        for method in (search.restore, search.save):
            with pytest.raises(SpecError, match="checkpoint_path"):
                method(path)
    with pytest.raises(SpecError, match="checkpoint_dir must name a folder"):
        search.restore_from_dir("\ud800")


@pytest.mark.parametrize("told", ["on_trial_result", "on_trial_complete"])
def test_a_result_that_is_no_mapping_is_refused_by_name(told):
    search = searcher()
    search.suggest("a")
    with pytest.raises(SpecError, match="result must be a mapping of what was reported, found 3"):
        getattr(search, told)("a", 3)


@pytest.mark.parametrize("path", ["", " ", "\ud800", "~no-such-user/x"])
def test_a_path_that_names_no_file_is_refused(path):
    with pytest.raises(SpecError, match="path must name a ledger file"):
        AutotuneSearch(path=path)


ENDLESS = {}
ENDLESS["again"] = ENDLESS
TWO = np.array([1, 2])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda search: search.suggest([]), "trial_id must be the id of a trial"),
        (lambda search: search.on_trial_result([], {"loss": 1.0}), "trial_id must be the id of a trial"),
        (lambda search: search.on_trial_complete([], {"loss": 1.0}), "trial_id must be the id of a trial"),
        (lambda search: search.on_trial_complete("a", error=TWO), "error must be True or False"),
        (lambda search: search.add_evaluated_point({"x": 1}, 1, error=TWO), "error must be True or False"),
        (lambda search: search.add_evaluated_point({"x": 1}, 1, pruned=TWO), "pruned must be True or False"),
        (lambda _: AutotuneSearch(ENDLESS), "param_space is nested too deep"),
        (lambda _: searcher(path="x" * 300), "path must name a ledger file"),
    ],
)
def test_a_wrong_argument_is_named(call, said):
    with pytest.raises(SpecError, match=said):
        call(searcher())
