"""What a saved state of the searcher may hold: a wrong part is one error when it is set, by its place."""

import copy
import json
import math
import os
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ray import tune

from autotune.core.trial import TrialState
from autotune.errors import AutotuneError, SpecError
from autotune.integrations.ray_tune import AutotuneSearch

NAN = math.nan
SPACE = {
    "x": tune.randint(1, 9),
    "n": {"a": tune.choice(["p", "q"]), "pair": (tune.uniform(0, 1), 2)},
    "m": tune.choice([{"kind": "s", "size": tune.randint(1, 4)}, None]),
}
LACKING = object()
ODD = [None, [], {}, "x", -1, 2**63, NAN, 1e400, LACKING]


def searcher(space=None, **arguments):
    return AutotuneSearch(space, metric="loss", mode="min", engine="random", **arguments)


def saved():
    """Return the state of a searcher that knows a measured, a stopped, a pending and a failed trial."""
    search = searcher(SPACE)
    for i in range(4):
        search.suggest(f"t{i}")
    search.on_trial_result("t0", {"loss": 2.0, "training_iteration": 1})
    search.on_trial_complete("t0", {"loss": 1.0, "training_iteration": 2, "done": True})
    search.on_trial_complete("t1", {"loss": 3.0, "training_iteration": 1})
    search.on_trial_complete("t3", error=True)
    return json.loads(json.dumps(search.get_state()))


STATE = saved()


def changed(way, value):
    """Return the state with another value at a place, or without that."""
    state = copy.deepcopy(STATE)
    *outer, last = way
    part = state
    for key in outer:
        part = part[key]
    if value is LACKING:
        del part[last]
    else:
        part[last] = copy.deepcopy(value)
    return state


def ways(part, way=()):
    """Yield the place of every part of a state."""
    for key, item in part.items() if isinstance(part, dict) else enumerate(part):
        yield (*way, key)
        if isinstance(item, dict | list):
            yield from ways(item, (*way, key))


TRIAL, MEASURED = ("trials", 0), ("trials", 0, "measurement")


@pytest.mark.parametrize(
    ("way", "value", "said"),
    [
        (("metric",), 3, "metric must be a name or a list of names, found 3"),
        (("metric",), ["a", "b"], "each metric needs a mode of its own"),
        (("metric",), None, "metric must be that of the trials, found None"),
        (("mode",), "up", "mode must be 'max' or 'min'"),
        (("limits",), 3, "limits must be a list, found 3"),
        (("limits",), ["loss <= 2", "x"], "limits[1]: cannot read the limit 'x'"),
        (("engine",), "pg", "engine: unknown engine 'pg'"),
        (("engine",), {"use": 3}, "engine.use must be the name of an engine, found 3"),
        (("engine",), 3, "engine must be a name, a mapping or an engine, found 3"),
        (("seed",), "first", "seed must be a whole number of at least 0, found 'first'"),
        (("seed",), 2**63, "seed must be a whole number of at most"),
        (("name",), ["a"], "name must be a text"),
        (("budget",), 0, "budget must be a whole number of at least 1, found 0"),
        (("early_stopping",), "yes", "early_stopping must be true or false, found 'yes'"),
        (("early_stopping",), None, "early_stopping must be true or false, found None"),
        (("early_stopping",), 3, "early_stopping must be true or false, found 3"),
        (("path",), 3, "path must name a ledger file, found 3"),
        (("path",), "a\0b", "path must name a ledger file"),
        (("path",), LACKING, "a saved state needs 'path'"),
        (("_numbers",), LACKING, "a saved state needs '_numbers'"),
        (("more",), 3, "more: unknown key 'more' in a saved state"),
        (("_numbers",), 3, "_numbers must be a mapping of keys to values, found 3"),
        (("_numbers", "t0"), [1], "_numbers.t0 must be a whole number of at least 0, found [1]"),
        (("_numbers", "t0"), {}, "_numbers.t0 must be a whole number of at least 0, found {}"),
        (("_numbers", "t2"), 2**63, "_numbers.t2 must be a whole number of at most"),
        (("_numbers", "t2"), 9, "_numbers.t2 must be the number of one of 4 trials, found 9"),
        (("_numbers", "t2"), "x", "_numbers.t2 must be a whole number of at least 0, found 'x'"),
        (("_numbers", "t2"), 1.5, "_numbers.t2 must be a whole number of at least 0, found 1.5"),
        (("_numbers", "t2"), NAN, "_numbers.t2 must be a finite number, found nan"),
        (("_numbers", "t2"), -1, "_numbers.t2 must be a whole number of at least 0, found -1"),
        (("_numbers", "t2"), True, "_numbers.t2 must be a whole number of at least 0, found True"),
        (("_curves", "t0"), None, "_curves.t0 must be a mapping"),
        (("_curves", "t0"), {"x": {"loss": 1.0}}, "_curves.t0 must be a mapping of iterations to metrics"),
        (("_curves", "t0", "1.0"), 3, "_curves.t0.1.0 must be a mapping"),
        (("_curves", "t0", "1.0", "loss"), "x", "_curves.t0.1.0.loss must be a finite number, found 'x'"),
        (
            ("_curves", "t0", "1.0", "loss"),
            10**400,
            "_curves.t0.1.0.loss must be a finite number, found a larger",
        ),
        (("_stopped", "t1"), None, "_stopped.t1 must be a mapping"),
        (("_stopped", "t1"), {}, "_stopped.t1 needs 'training_iteration', found {}"),
        (("_stopped", "t1"), [], "_stopped.t1 must be a mapping"),
        (("_ended",), 3, "_ended must be a list, found 3"),
        (("_ended",), [[]], "_ended[0] must be text, found []"),
        (("trials",), [], "_numbers.t0 must be the number of one of 0 trials, found 0"),
        (("trials",), [{}], "trials[0]: a trial needs 'suggestion'"),
        (("trials",), [3], "trials[0]: a trial must be a mapping"),
        ((*TRIAL, "state"), "GONE", "trials[0].state must be one of WAITING, RUNNING"),
        ((*TRIAL, "state"), "WAITING", "trials[0].measurement: a trial that is WAITING cannot have a meas"),
        ((*TRIAL, "state"), "FAILED", "trials[0].measurement.failure: a trial that is FAILED cannot have no"),
        ((*TRIAL, "suggestion", "config"), LACKING, "trials[0].suggestion needs 'config'"),
        (
            (*TRIAL, "suggestion", "config", "x"),
            1e400,
            "trials[0].suggestion.config.x must be a finite number",
        ),
        (
            (*TRIAL, "suggestion", "config", "x"),
            [1],
            "trials[0].suggestion.config.x must be a number, text or",
        ),
        ((*TRIAL, "suggestion", "config", "x"), "y", "trials[0].suggestion.config.x must be a number within"),
        ((*TRIAL, "suggestion", "config", "x"), 10**200, "trials[0].suggestion.config.x must be a number wi"),
        ((*TRIAL, "suggestion", "reason"), 3, "trials[0].suggestion.reason must be one of default"),
        ((*TRIAL, "suggestion", "engine"), 3, "trials[0].suggestion.engine must be text, found 3"),
        ((*TRIAL, "suggestion", "predicted"), [3], "trials[0].suggestion.predicted must be a mapping"),
        (
            (*TRIAL, "suggestion", "p_feasible"),
            "x",
            "trials[0].suggestion.p_feasible must be a finite number",
        ),
        ((*MEASURED, "metrics"), "x", "trials[0].measurement.metrics must be a mapping"),
        ((*MEASURED, "metrics", "loss"), {}, "trials[0].measurement.metrics.loss needs 'value'"),
        (
            (*MEASURED, "metrics", "loss", "n"),
            0,
            "trials[0].measurement.metrics.loss: an estimate's n must be",
        ),
        (
            (*MEASURED, "metrics", "loss", "value"),
            NAN,
            "trials[0].measurement.metrics.loss.value must be a fini",
        ),
        (
            (*MEASURED, "failure"),
            {"cause": "x"},
            "trials[0].measurement.failure.cause must be one of out_of_",
        ),
        ((*MEASURED, "facts"), "x", "trials[0].measurement.facts must be a mapping"),
        ((*MEASURED, "facts"), {"plugins": 3}, "trials[0].measurement.facts.plugins must be a mapping"),
        ((*MEASURED, "facts"), {"a": {1}}, "trials[0].measurement.facts.a must be plain JSON data"),
        ((*MEASURED, "facts"), {1: 2}, "trials[0].measurement.facts must have texts as keys, found 1"),
        (
            (*MEASURED, "facts"),
            {"a": "\ud800"},
            "trials[0].measurement.facts.a must be text that can be writ",
        ),
        ((*MEASURED, "artifacts"), {"log": 3}, "trials[0].measurement.artifacts.log must be text, found 3"),
        ((*MEASURED, "ended_ns"), NAN, "trials[0].measurement.ended_ns must be a finite number, found nan"),
        (("space",), {}, "space.space must be a mapping"),
        (("space", "space"), {}, "space.space.parameters must be a mapping"),
        (("space", "space", "parameters", "x"), 3, "space.space.parameters.x: a parameter needs a mapping"),
        (
            ("space", "space", "parameters", "n_a", "values"),
            [NAN, "p"],
            "space.space.parameters.n_a.values[0]",
        ),
        (("space", "template", "x"), NAN, "space.template must have a place for 'x'"),
        (("space", "template"), 3, "space.template must be a mapping"),
        (
            ("space", "template", "x", "autotune.parameter"),
            [1],
            "space.template.x must be the place of a para",
        ),
        (
            ("space", "template", "x", "autotune.parameter"),
            "y",
            "space.template.x must be the place of a para",
        ),
        (("space", "template", "n", "pair"), {"autotune.tuple": 3}, "space.template.n.pair must be a list"),
        (("space", "choices", "m"), 3, "space.choices.m must be a list, found 3"),
        (("space", "choices", "m"), [], "space.choices.m must have a pair for"),
        (("space", "choices", "m", 0), [1], "space.choices.m[0] must be a pair of values, found [1]"),
        (("space", "choices", "y"), [], "space.choices.y: unknown parameter 'y'"),
    ],
)
def test_a_wrong_part_is_one_error_that_names_it_and_nothing_is_set(way, value, said):
    again = searcher(seed=3)
    before = again.get_state()
    with pytest.raises(SpecError, match=re.escape(f"state: {said}")):
        again.set_state(changed(way, value) | {"seed": 77} if way != ("seed",) else changed(way, value))
    assert again.get_state() == before


@given(st.sampled_from([way for way in ways(STATE) if way != ("path",)]), st.sampled_from(ODD))
@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_whatever_stands_in_the_place_of_a_part_no_call_raises_anothers_error(way, value):
    search = searcher()
    try:
        search.set_state(changed(way, value))
    except SpecError:
        return
    try:
        for trial in ("t2", "new"):
            search.suggest(trial)
            search.on_trial_result(trial, {"loss": 2.0, "training_iteration": 1})
            search.on_trial_complete(trial, {"loss": 1.0, "training_iteration": 2, "done": True})
        json.dumps(search.get_state())
    except AutotuneError:
        pass  # as where the state of a searcher without a space is set


def test_a_state_goes_on_and_shares_nothing_with_the_mapping_it_is_read_from():
    given_, again = copy.deepcopy(STATE), searcher()
    again.set_state(given_)
    assert again.suggest("t2")["x"] == STATE["trials"][2]["suggestion"]["config"]["x"]
    again.on_trial_result("t2", {"loss": 2.0, "training_iteration": 1})
    again.on_trial_complete("t2", {"loss": 1.0, "training_iteration": 2, "done": True})
    assert [trial.state for trial in again.study.trials] == [
        TrialState.COMPLETED,
        TrialState.WAITING,
        TrialState.COMPLETED,
        TrialState.INFEASIBLE,
    ]
    assert given_ == STATE
    twin = searcher()
    twin.set_state(given_)
    given_["_numbers"]["t2"], given_["trials"][0]["state"] = 0, "GONE"
    twin.get_state()["trials"].clear()
    assert json.loads(json.dumps(twin.get_state())) == STATE


def test_a_path_of_a_state_is_one_from_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    again = searcher()
    again.set_state({**STATE, "path": "study.sqlite"})
    assert again.get_state()["path"] == os.path.join(os.getcwd(), "study.sqlite")


def test_a_state_without_an_argument_keeps_that_of_the_searcher():
    again = searcher(seed=5, early_stopping=False)
    again.set_state({key: part for key, part in STATE.items() if key not in ("seed", "early_stopping")})
    assert (again.get_state()["seed"], again.get_state()["early_stopping"]) == (5, False)


def test_a_state_that_holds_itself_is_refused():
    state = copy.deepcopy(STATE)
    state["space"]["template"]["n"] = state["space"]["template"]
    with pytest.raises(SpecError, match=r"state: space\.template\.n.* is nested too deep, or without end"):
        searcher().set_state(state)


def test_a_constant_that_is_no_number_and_a_key_that_is_one_stay_what_they_are():
    search = searcher({"x": tune.randint(1, 9), "c": {1: math.nan}})
    search.suggest("a")
    again = searcher()
    again.set_state(search.get_state())
    assert math.isnan(again.suggest("b")["c"][1])


def test_numbers_that_no_study_takes_are_left_out_of_an_earlier_versions_state():
    state = changed(("_curves", "t0", "1.0", "loss"), 1e308)
    state["_stopped"]["t1"]["loss"] = -1e308
    again = searcher()
    again.set_state(state)
    assert again.get_state()["_curves"]["t0"]["1.0"] == {}
    assert again.get_state()["_stopped"]["t1"] == {"training_iteration": 1.0}


def test_a_stopped_trial_that_tune_forgot_or_tried_again_is_not_estimated():
    search = searcher({"x": tune.randint(1, 9)})
    for trial in ("a", "b", "c", "d", "e", "f"):
        search.suggest(trial)
        search.on_trial_result(trial, {"loss": 2.0, "training_iteration": 1})
    for trial in ("a", "b"):
        search.on_trial_complete(trial, {"loss": 1.0, "training_iteration": 2, "done": True})
    partial = {"training_iteration": 1.0, "loss": 2.0}
    state = search.get_state()
    state["_stopped"] = {"gone": partial, "a": partial}
    again = searcher()
    again.set_state(state)
    for trial in ("c", "d"):
        again.on_trial_complete(trial, {"loss": 1.0, "training_iteration": 2, "done": True})
    assert again.get_state()["_stopped"] == {}
    assert again.study.trials[0].metrics["loss"].value == 1.0
