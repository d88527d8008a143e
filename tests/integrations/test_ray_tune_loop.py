"""The searcher in whole runs of Tune's loop, without a cluster: wrappers, schedulers, odd results, states."""

import json
import math
import sys
from collections import Counter

import numpy as np
import pytest
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule
from ray.tune.search import ConcurrencyLimiter, Repeater
from ray.tune.utils.serialization import TuneFunctionEncoder

import autotune
from autotune.core.trial import TrialState
from autotune.errors import SpecError
from autotune.integrations.ray_tune import AutotuneSearch
from tests_tune_loop import run_tune

SPACE = {"x": tune.uniform(0.0, 5.0)}
GOAL = {"metric": "loss", "mode": "min"}


def parabola(config):
    yield {"loss": (config["x"] - 2.0) ** 2}


def falling(config):
    for iteration in range(1, 10):
        yield {"loss": config["x"] + 10.0 / iteration}


def searcher(*args, **arguments):
    return AutotuneSearch(*args, **{"engine": "random", **arguments})


def states(search):
    return [trial.state for trial in search.study.trials]


def test_a_run_without_an_end_has_no_budget():
    search = searcher()
    assert len(run_tune(parabola, SPACE, search, num_samples=-1, most=5, **GOAL)) == 5
    assert search.get_state()["budget"] is None


def test_directions_that_contradict_each_other_are_refused():
    with pytest.raises(
        SpecError, match="metric 'loss' is to be 'max' by AutotuneSearch and 'min' by TuneConf"
    ):
        run_tune(parabola, SPACE, searcher(metric="loss", mode="max"), **GOAL)
    several = searcher(metric=["loss", "size"], mode=["min", "min"])  # TuneConfig's is what its tables show
    assert several.set_search_properties("loss", "min", SPACE)


def test_a_searcher_goes_on_over_the_same_space_and_not_over_another():
    search = searcher(**GOAL)
    first = run_tune(parabola, SPACE, search, num_samples=3)
    second = run_tune(parabola, {"x": tune.uniform(0.0, 5.0), "constant": 1}, search, num_samples=3)
    assert len({trial.config["x"] for trial in first + second}) == 6
    with pytest.raises(SpecError, match="another param_space already"):
        run_tune(parabola, {"y": tune.uniform(0.0, 5.0)}, search)


@pytest.mark.filterwarnings("ignore:Mean of empty slice")  # of a Repeater whose trials all failed
@pytest.mark.parametrize("wrap", [lambda search: search, lambda search: ConcurrencyLimiter(search, 2)])
def test_repeats_are_one_trial_with_their_mean(wrap):
    def fails_at_times(config):
        if config["__trial_index__"] == 2:
            raise RuntimeError("lost")
        yield {"loss": config["x"] + config["__trial_index__"]}

    search = searcher(**GOAL)
    run_tune(fails_at_times, SPACE, wrap(Repeater(search, repeat=3)), num_samples=6)
    assert [t.metrics["loss"].value for t in search.study.trials] == [
        pytest.approx(t.config["x"] + 0.5) for t in search.study.trials
    ]

    def fails(config):
        raise RuntimeError("lost")
        yield

    search = searcher(**GOAL)
    run_tune(fails, SPACE, wrap(Repeater(search, repeat=2)), num_samples=4)
    assert states(search) == [TrialState.INFEASIBLE] * 2


def test_a_batch_of_a_limiter_is_told_at_its_end():
    search = searcher(**GOAL)
    run_tune(parabola, SPACE, ConcurrencyLimiter(search, 2, batch=True), num_samples=6)
    assert states(search) == [TrialState.COMPLETED] * 6


ODD = {
    "numpy": (np.float32(1.5), 1.5),
    "array": (np.array(2.0), 2.0),
    "true": (True, 1.0),
    "whole": (3, 3.0),
    "several": (np.array([1.0, 2.0]), None),
    "text": ("1.0", None),
    "none": (None, None),
    "list": ([1.0], None),
    "nan": (math.nan, None),
    "too large": (10**400, None),
}


def test_whatever_is_reported_is_a_number_or_a_failure():
    search = searcher(**GOAL)
    run_tune(
        lambda config: iter([{"loss": ODD[config["odd"]][0]}]),
        {"odd": tune.choice(list(ODD))},
        search,
        num_samples=10,
    )
    found = {t.config["odd"]: t.metrics["loss"].value if t.metrics else None for t in search.study.trials}
    assert found == {name: value for name, (_, value) in ODD.items()}
    known = searcher(SPACE, **GOAL)
    for x, value in enumerate((np.float32(0.5), True, None, math.nan)):
        known.add_evaluated_point({"x": float(x)}, value)
    assert states(known) == [TrialState.COMPLETED] * 2 + [TrialState.INFEASIBLE] * 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"engine": "gpp"}, "unknown engine 'gpp'"),
        ({"seed": "a"}, "seed must be a whole number"),
        ({"budget": 0}, "budget must be a whole number of at least 1"),
        ({"limits": "loss <= 3"}, "limits must be a list"),
        ({"limits": ["loss < = 3"]}, "cannot read the limit"),
        ({"path": 3}, "path must be"),
        ({"name": 3}, "name must be text"),
        ({"early_stopping": "no"}, "early_stopping must be"),
        ({"space": [1]}, "space must be"),
        ({"space": "vllmm"}, "did you mean 'vllm'|vllmm"),
    ],
)
def test_wrong_arguments_are_named_when_the_searcher_is_made(arguments, said):
    with pytest.raises(SpecError, match=said):
        searcher(**arguments)


def test_the_name_of_a_space_is_one():
    search = searcher("vllm", **GOAL)
    assert search.study.space == autotune.Study("vllm", {"minimize": "loss"}, engine="random").space
    assert "max_num_seqs" in search.suggest("a")


def test_what_tune_replaces_while_it_searches_is_whole_again_in_trials():
    class Model:
        def __init__(self, size):
            self.size = size

    space = {
        "x": tune.uniform(0.0, 5.0),
        "model": tune.choice([Model(1), Model(2)]),
        "data": np.zeros(2),
        "twice": tune.sample_from(lambda config: 2 * config["x"]),
        "grid": tune.grid_search([1, 2]),
        "shape": tune.choice([(1, 2), (3, 4)]),
        1: tune.randint(0, 3),
    }
    search = searcher(**GOAL)
    trials = run_tune(parabola, space, search, num_samples=8)
    for trial in trials:
        assert trial.config["twice"] == 2 * trial.config["x"]
        assert type(trial.config["shape"]) is tuple
    assert {trial.config["model"].size for trial in trials} == {1, 2}
    assert {t.config["model"] for t in search.study.trials} == {"option_0", "option_1"}
    found = search.get_state()["space"]
    again = AutotuneSearch()
    again.set_state(json.loads(json.dumps(search.get_state())))
    assert json.loads(json.dumps(again.get_state()["space"])) == json.loads(json.dumps(found))
    assert type(again.suggest("new")["shape"]) is tuple


@pytest.mark.parametrize(
    "scheduler",
    [
        ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3),
        MedianStoppingRule(time_attr="training_iteration", grace_period=2, min_samples_required=2),
    ],
    ids=["asha", "median"],
)
def test_the_best_is_never_one_that_was_stopped(scheduler):
    search = searcher()
    trials = run_tune(falling, SPACE, search, num_samples=20, parallel=3, scheduler=scheduler, **GOAL)
    reached = Counter(trial.iteration for trial in trials)
    assert reached[9] < 20
    ended = {trial.config["x"] for trial in trials if trial.iteration == 9}
    for trial in search.study.trials:
        if trial.metrics:
            assert trial.metrics["loss"].value == pytest.approx(trial.config["x"] + 10 / 9)
            assert (trial.metrics["loss"].sem is None) == (trial.config["x"] in ended)
    assert search.study.best.config["x"] == min(ended)


def test_a_trial_that_is_stopped_while_it_is_paused_has_its_last_partial_value():
    search = searcher(SPACE, **GOAL)
    for trial in "abcd":
        search.suggest(trial)
        search.on_trial_result(trial, {"training_iteration": 1, "loss": 5.0})
    search.on_trial_complete("d")  # as HyperBand ends one
    for i, trial in enumerate("abc"):
        search.on_trial_result(trial, {"training_iteration": 9, "loss": 1.0 + i})
        search.on_trial_complete(trial, {"training_iteration": 9, "loss": 1.0 + i, "done": True})
    assert search.study.trials[3].metrics["loss"].value == pytest.approx(2.0)


@pytest.mark.parametrize(
    "space",
    [{"x": tune.uniform(-5.0, 9.0)}, {"x": tune.uniform(4.0, 5.0)}, {**SPACE, "y": tune.choice("ab")}],
)
def test_what_was_learned_over_one_space_serves_a_wider_a_narrower_and_one_with_more(space):
    search = searcher()
    run_tune(parabola, SPACE, search, num_samples=3, **GOAL)
    again = searcher()
    again.set_state(json.loads(json.dumps(search.get_state())))
    trials = run_tune(parabola, space, again, num_samples=3, **GOAL)
    assert all(trial.config.keys() == space.keys() for trial in trials)
    assert states(again) == [TrialState.COMPLETED] * 6


def test_a_state_is_not_entered_into_the_ledger_of_another_study(tmp_path):
    search = searcher(SPACE, seed=1, **GOAL)
    search.suggest("a")
    search.on_trial_complete("a", {"training_iteration": 1, "loss": 1.0})
    other = searcher(SPACE, path=tmp_path / "other.sqlite", **GOAL)
    other.add_evaluated_point({"x": 4.25}, 1.0)
    other.study.close()
    again = searcher(SPACE, path=tmp_path / "other.sqlite", **GOAL)
    state = search.get_state()
    again.set_state(state)
    with pytest.raises(SpecError, match="is not that of the saved state"):
        again.suggest("b")
    copied = searcher(SPACE, path=tmp_path / "new.sqlite", **GOAL)
    copied.set_state(state)
    assert copied.study.trials[0].metrics["loss"].value == 1.0


def test_an_engine_that_is_an_object_is_given_again_by_whoever_restores(tmp_path):
    engine = autotune.Study({"x": {"type": "bool"}}, {"minimize": "loss"}, engine="sobol").engine
    search = AutotuneSearch(SPACE, engine=engine, **GOAL)
    search.suggest("a")
    search.save(str(tmp_path / "state.json"))
    again = AutotuneSearch(SPACE, engine=engine, **GOAL)
    again.restore(str(tmp_path / "state.json"))
    assert again.suggest("b") != again.suggest("a")


def saved_by_tune(folder, trials):
    """Write what Tune's controller does of its trials: id, configuration, status, last result."""
    data = []
    for trial_id, config, status, result in trials:
        trial = Trial("train", stub=True, config=config, trial_id=trial_id)
        trial.status = status
        trial.run_metadata.last_result = result
        data.append(trial.get_json_state())
    text = json.dumps({"trial_data": data}, cls=TuneFunctionEncoder)
    (folder / "experiment_state-2026-01-01_00-00-00.json").write_text(text)


@pytest.mark.parametrize("ledger", [False, True], ids=["memory", "ledger"])
def test_a_kill_between_the_states_of_tune_and_of_the_searcher_proposes_nothing_twice(tmp_path, ledger):
    arguments = {"path": tmp_path / "study.sqlite"} if ledger else {}
    search = searcher(SPACE, **GOAL, **arguments)
    configs = {name: search.suggest(name) for name in ("done", "early")}
    search.save_to_dir(str(tmp_path))
    configs["late"] = search.suggest("late")  # Tune wrote of it, and was killed before the searcher did
    search.study.close()
    saved_by_tune(tmp_path, [
        ("done", configs["done"], "TERMINATED", {"loss": 1.0, "training_iteration": 1, "done": True}),
        ("late", configs["late"], "RUNNING", {}),
    ])  # fmt: skip
    again = searcher(SPACE, **GOAL, **arguments)
    again.restore_from_dir(str(tmp_path))
    assert again.suggest("first") == configs["early"]  # Tune does not know its trial any more
    assert again.study.trials[0].metrics["loss"].value == 1.0
    assert again.suggest("second") not in configs.values()
    again.on_trial_complete("late", {"loss": 2.0, "training_iteration": 1, "done": True})
    told = [t for t in again.study.trials if t.metrics and t.metrics["loss"].value == 2.0]
    assert [trial.config for trial in told] == [configs["late"]]
    assert len({json.dumps(trial.config) for trial in again.study.trials}) == len(again.study.trials) == 4


def test_a_state_of_tune_that_cannot_be_read_is_left_alone(tmp_path):
    search = searcher(SPACE, **GOAL)
    config = search.suggest("a")
    search.save_to_dir(str(tmp_path))
    (tmp_path / "experiment_state-2026-01-01_00-00-00.json").write_text('{"trial_data": [["{')
    again = searcher(SPACE, **GOAL)
    again.restore_from_dir(str(tmp_path))
    assert again.suggest("a") == config


def test_a_space_that_is_tried_ends_the_run_with_a_word(caplog):
    assert (
        len(run_tune(lambda c: iter([{"loss": c["x"]}]), {"x": tune.choice([1, 2])}, searcher(), **GOAL)) == 2
    )
    assert "the run ends: all 2 configurations" in caplog.text


def test_the_number_of_samples_of_a_run_without_end_is_the_largest_there_is():
    assert searcher(**GOAL).set_search_properties("loss", "min", SPACE, num_samples=sys.maxsize)
