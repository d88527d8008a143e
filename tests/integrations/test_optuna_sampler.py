"""Our engine as a sampler of Optuna: what it learns from, and what it never does twice."""

import contextlib
import copy
import math
import pickle
import subprocess
import sys
import textwrap
import threading
import warnings

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

import autotune
from autotune.core.parameter import Categorical, Int
from autotune.core.space import Space
from autotune.engine.optuna_space import coordinate
from autotune.errors import SpecError
from autotune.integrations.optuna import PROPOSAL, AutotuneSampler, suggest


@pytest.fixture(autouse=True)
def quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


TEN = IntDistribution(0, 9)


def add(study, x, value=None, state=TrialState.COMPLETE, reports=None, constraints=None, d=TEN):
    attributes = {} if constraints is None else {"constraints": constraints}
    study.add_trial(
        create_trial(
            state=state, params={"x": x}, distributions={"x": d}, system_attrs=attributes,
            values=None if value is None else value if isinstance(value, list) else [value],
            intermediate_values=reports or {},
        )
    )  # fmt: skip


def next_x(study, distribution=TEN):
    return study.ask({"x": distribution}).params["x"]


def rising(sampler=None, upto=5):
    study = optuna.create_study(direction="maximize", sampler=sampler or AutotuneSampler(seed=1))
    for x in range(upto):
        add(study, x, float(x))
    return study


def test_it_goes_where_values_rise():
    assert next_x(rising()) >= 5


@pytest.mark.parametrize("state", [TrialState.FAIL, TrialState.PRUNED])
def test_failures_and_trials_pruned_without_a_report_are_kept_away_from(state):
    study = rising()
    for x in (9, 8, 7, 6):
        add(study, x, state=state)
    assert next_x(study) == 5


def test_failures_may_be_nobodys():
    study = rising(AutotuneSampler(seed=1, learn_from_failures=False))
    for x in (6, 7):
        add(study, x, state=TrialState.FAIL)
    assert next_x(study) > 7  # where values rise to; what failed was tried


def test_a_pruned_trial_was_not_better_than_half_of_the_others():
    study = rising(upto=7)
    add(study, 9, state=TrialState.PRUNED, reports={0: 50.0, 1: 40.0})  # promising, and given up all the same
    add(study, 8, state=TrialState.PRUNED, reports={0: -3.0})
    found = study.sampler._trial(study.trials[7], {"p0": 9}, study, study.trials)
    assert found.metrics["v0"].value == 3.0  # the median of 0 to 6
    found = study.sampler._trial(study.trials[8], {"p0": 8}, study, study.trials)
    assert found.metrics["v0"].value == -3.0
    assert next_x(study) == 7


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), 1e200])
def test_a_value_that_no_model_takes_is_survived_and_not_repeated(value):
    study = rising()
    add(study, 9, value)
    assert next_x(study) in (5, 6, 7, 8)


def test_constraints_are_kept_whichever_way_they_are_told():
    def make(told):
        study = optuna.create_study(
            direction="maximize",
            sampler=AutotuneSampler(
                seed=1, constraints_func=(lambda t: [t.params["x"] - 4.5]) if told else None
            ),
        )
        for x in (0, 2, 3, 6, 8):
            if told:
                study.enqueue_trial({"x": x})
                study.tell(study.ask({"x": TEN}), float(x))
            else:
                add(study, x, float(x), constraints=[x - 4.5])
        return study

    assert next_x(make(False)) == 4
    told = make(True)
    assert [next(iter(t.system_attrs["constraints"])) for t in told.trials] == [-4.5, -2.5, -1.5, 1.5, 3.5]
    assert next_x(told) == 4


@pytest.mark.skipif(not hasattr(optuna.Trial, "set_constraint"), reason="of Optuna 5")
def test_named_constraints_of_optuna_5():
    study = optuna.create_study(direction="maximize", sampler=AutotuneSampler(seed=1))
    for x in (0, 2, 3, 6, 8):
        study.enqueue_trial({"x": x})
        trial = study.ask({"x": TEN})
        trial.set_constraint("memory in GB", x - 4.5)
        study.tell(trial, float(x))
    assert next_x(study) == 4


def test_several_goals_are_traded_off():
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=AutotuneSampler(seed=1))
    for x in (0, 4, 9):
        add(study, x, [float(x), float(x * x)])
    found = [next_x(study) for _ in range(4)]
    assert len({0, 4, 9, *found}) == 7


def test_conditions_are_read_off_the_trials():
    """What a branch did not ask for is not proposed for it."""

    def objective(trial):
        depth = trial.suggest_int("depth", 1, 3)
        widths = [trial.suggest_int(f"width{i}", 1, 9) for i in range(depth)]
        kind = trial.suggest_categorical("kind", ["none", "small", "large"])
        draft = trial.suggest_float("draft", 0, 1) if kind != "none" else 0.0
        return sum(widths) + draft

    study = optuna.create_study(sampler=AutotuneSampler(seed=3, engine="sobol"))
    for depth, kind in ((1, "none"), (1, "small"), (2, "none"), (3, "large")):
        study.enqueue_trial({"depth": depth, "kind": kind})
    study.optimize(objective, n_trials=4)
    done = len(study.trials)
    study.optimize(objective, n_trials=8)
    for trial in study.trials[done:]:
        proposed = dict(trial.system_attrs[PROPOSAL])
        assert proposed.keys() == trial.params.keys()  # nothing too little, nothing too much
    assert len({t.params["depth"] for t in study.trials[done:]}) > 1


@pytest.mark.parametrize(("low", "high"), [(0, 4), (-5, 14), (20, 29)])
@pytest.mark.parametrize("kind", [IntDistribution, FloatDistribution])
def test_a_range_that_moved_is_the_one_that_is_proposed_from(low, high, kind):
    study = optuna.create_study(sampler=AutotuneSampler(seed=0))
    for x in range(4):
        add(study, kind(0, 9).to_external_repr(2.0 * x), float(x), d=kind(0, 9))
    add(study, kind(low, high).to_external_repr(low), 9.0, d=kind(low, high))  # the program's range now
    for _ in range(3):
        trial = study.ask({"x": kind(low, high)})
        assert low <= trial.params["x"] <= high
        proposed = study.trials[trial.number].system_attrs[PROPOSAL]
        assert proposed == {"x": trial.params["x"]}  # the engine's own, not a random one
        study.tell(trial, 1.0)


def test_what_is_enqueued_is_taken_and_the_rest_proposed():
    two = {"x": TEN, "y": CategoricalDistribution(["a", "b", "c"])}
    study = optuna.create_study(sampler=AutotuneSampler(seed=0))
    for i in range(4):
        study.tell(study.ask(two), float(i))
    study.enqueue_trial({"x": 7, "y": "b"})
    study.enqueue_trial({"y": "c"})
    assert study.ask(two).params == {"x": 7, "y": "b"}
    second = study.ask(two)
    assert second.params["y"] == "c"
    assert (second.params["x"], "c") not in {(t.params["x"], t.params["y"]) for t in study.trials[:-1]}


def test_an_enqueued_trial_is_pending():
    study = rising(upto=7)
    study.enqueue_trial({"x": 9})
    number = study.ask().number  # a worker has taken it, and has not come to its parameters
    assert study.trials[number].system_attrs["fixed_params"] == {"x": 9}
    assert study.trials[number].params == {}
    study.enqueue_trial({"x": 8})
    study.ask()
    for _ in range(3):
        add(study, 7, 7.0)
    assert next_x(study) not in (8, 9)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_fixed_parameters_are_what_the_others_are_chosen_for():
    two = {"x": TEN, "y": IntDistribution(0, 1)}
    study = optuna.create_study(direction="maximize", sampler=AutotuneSampler(seed=0))
    for x in (0, 3, 6, 9):
        for y in (0, 1):
            trial = create_trial(params={"x": x, "y": y}, distributions=two, value=float(x if y else -x))
            study.add_trial(trial)
    for fixed, wanted in ((0, (4, 5)), (1, (7, 8))):
        study.sampler = optuna.samplers.PartialFixedSampler({"y": fixed}, AutotuneSampler(seed=0))
        trial = study.ask(two)
        assert trial.params["y"] == fixed
        assert trial.params["x"] in wanted
        study.tell(trial, state=TrialState.FAIL)


def test_nothing_that_was_tried_comes_again_until_all_was():
    study = optuna.create_study(sampler=AutotuneSampler(seed=0))
    for i in range(10):
        study.tell(study.ask({"x": TEN}), float(i % 3))
    assert len({t.params["x"] for t in study.trials[1:]}) >= 9  # the first is drawn before anything is known
    assert 0 <= next_x(study) <= 9


@pytest.fixture
def storage_of(tmp_path, rdb_storage):
    """Open the test's storage of a kind."""

    def opened(kind):
        if kind == "rdb":
            return rdb_storage(f"sqlite:///{tmp_path}/study.db")
        journal = optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal.log"))
        return optuna.storages.JournalStorage(journal)

    return opened


@pytest.mark.parametrize("kind", ["rdb", "journal"])
def test_workers_of_a_storage_see_what_the_others_are_about_to_try(kind, storage_of):
    optuna.create_study(study_name="s", storage=storage_of(kind), direction="maximize")
    workers = [
        optuna.load_study(study_name="s", storage=storage_of(kind), sampler=AutotuneSampler(seed=7))
        for _ in range(3)
    ]
    for i in range(3):
        workers[0].tell(workers[0].ask({"x": TEN}), float(i))
    started = [worker.ask() for worker in workers]  # none has its parameters yet
    found = [trial.suggest_int("x", 0, 9) for trial in started]
    tried = {t.params["x"] for t in workers[0].trials[:3]}
    assert len({*tried, *found}) == len(tried) + 3


def test_workers_that_think_the_same_at_the_same_time_try_different_things(monkeypatch):
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [create_trial(params={"x": x}, distributions={"x": TEN}, value=float(x)) for x in (0, 9)]
    )
    together = threading.Barrier(3, timeout=60)
    store = study._storage.set_trial_system_attr

    waited = set()

    def stored(trial, key, value):
        store(trial, key, value)
        if key == PROPOSAL and trial not in waited:
            waited.add(trial)
            together.wait()  # each has proposed before any looks at the others

    monkeypatch.setattr(study._storage, "set_trial_system_attr", stored)
    found = []

    def work():
        worker = optuna.load_study(study_name=study.study_name, storage=study._storage,
                                   sampler=AutotuneSampler(seed=7, engine="random"))  # fmt: skip
        found.append(worker.ask({"x": TEN}).params["x"])

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len({0, 9, *found}) == 5


def test_a_worker_that_ends_while_another_thinks_has_tried_what_it_tried(monkeypatch):
    study = optuna.create_study(direction="maximize", sampler=AutotuneSampler(seed=7, engine="random"))
    study.add_trials(
        [create_trial(params={"x": x}, distributions={"x": TEN}, value=float(x)) for x in (0, 9)]
    )
    store = study._storage.set_trial_system_attr
    first = []

    def stored(trial, key, value):
        if key == PROPOSAL and not first:
            first.append(trial)
            other = study.ask(
                {"x": TEN}
            )  # asked for, tried and told before this proposal is known to anybody
            study.tell(other, 1.0)
        store(trial, key, value)

    monkeypatch.setattr(study._storage, "set_trial_system_attr", stored)
    study.sampler._lock = contextlib.nullcontext()  # another process has its own
    study.ask({"x": TEN})
    assert len({0, 9, *(t.params["x"] for t in study.trials)}) == 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rdb", "journal"])
def test_processes_share_a_storage(kind, tmp_path, storage_of):
    """Three real processes on one storage, one of which is killed: nothing is proposed twice."""
    program = textwrap.dedent(
        """
        import os, sys, optuna
        from autotune.integrations.optuna import AutotuneSampler
        where, kind, dies = sys.argv[1:]
        journal = optuna.storages.journal.JournalFileBackend(where + "/journal.log")
        storage = f"sqlite:///{where}/study.db" if kind == "rdb" else optuna.storages.JournalStorage(journal)
        study = optuna.load_study(study_name="s", storage=storage, sampler=AutotuneSampler(seed=7))
        def objective(trial):
            x, y = trial.suggest_int("x", 0, 19), trial.suggest_categorical("y", ["a", "b", "c"])
            if dies == "yes" and trial.number > 6:
                os._exit(9)
            return x * (1 + "abc".index(y))
        study.optimize(objective, n_trials=7)
        """
    )
    optuna.create_study(study_name="s", storage=storage_of(kind), direction="maximize")
    words = [sys.executable, "-c", program, str(tmp_path), kind]
    running = [subprocess.Popen([*words, dies]) for dies in ("no", "no", "yes")]
    assert sorted(process.wait(timeout=500) for process in running)[:2] == [0, 0]
    trials = optuna.load_study(study_name="s", storage=storage_of(kind)).trials
    assert sum(t.state is TrialState.COMPLETE for t in trials) >= 14
    proposed = [tuple(sorted(t.params.items())) for t in trials if PROPOSAL in t.system_attrs]
    assert len(set(proposed)) == len(proposed)


def test_seeds_copies_and_reseeding():
    def proposals(sampler):
        study = optuna.create_study(sampler=sampler)
        for i in range(3):
            study.tell(study.ask({"x": FloatDistribution(0, 1)}), float(i))
        return [t.params["x"] for t in study.trials]

    first = proposals(AutotuneSampler(seed=5))
    assert proposals(AutotuneSampler(seed=5)) == first
    assert proposals(pickle.loads(pickle.dumps(AutotuneSampler(seed=5)))) == first
    assert proposals(copy.deepcopy(AutotuneSampler(seed=5))) == first
    assert proposals(AutotuneSampler(seed=6)) != first
    other = AutotuneSampler(seed=5)
    other.reseed_rng()
    assert proposals(other) != first


def test_ranges_with_more_values_than_can_be_listed_and_single_values():
    study = optuna.create_study(sampler=AutotuneSampler(seed=0))
    wide = {"x": IntDistribution(0, 10**9, step=5), "y": FloatDistribution(0, 1, step=1e-7),
            "z": FloatDistribution(3, 3), "log": IntDistribution(1, 10**7, log=True)}  # fmt: skip
    for i in range(5):
        trial = study.ask(wide)
        for name, distribution in wide.items():
            assert distribution._contains(distribution.to_internal_repr(trial.params[name]))
        study.tell(trial, float(i))


def test_names_and_choices_may_be_anything():
    study = optuna.create_study(sampler=AutotuneSampler(seed=0))
    odd = {
        "model/lr (log)": FloatDistribution(1e-5, 1, log=True),
        "0": CategoricalDistribution([None, True, 1.5]),
        "größe": CategoricalDistribution([16, 4, 8]),
    }
    for i in range(5):
        study.tell(study.ask(odd), float(i))
    assert all(t.params.keys() == odd.keys() for t in study.trials)


def test_an_engine_is_named_as_in_a_study_file():
    study = optuna.create_study(sampler=AutotuneSampler(seed=0, engine={"use": "gp", "initial": 5}))
    assert study.sampler._engine.config.initial == 5
    with pytest.raises(SpecError, match="unknown engine 'pg'"):
        AutotuneSampler(engine="pg")


SPACE = Space(
    [
        Int("batch", 1, 64, powers_of=2, scale="log2", default=4, memory="up"),
        Categorical("draft", ("none", "eagle")),
        Int("length", 1, 8, when="draft != 'none'"),
    ],
    ["batch <= 32 or draft == 'none'"],
)


def test_a_space_that_is_known_is_searched_as_our_own_engine_searches_it():
    """Conditions, constraints and the default hold from the first trial on, and nothing else is proposed."""

    def objective(trial):
        config = suggest(trial, SPACE)
        assert SPACE.validate(config) == config
        return config["batch"] + config.get("length", 0)

    study = optuna.create_study(direction="maximize", sampler=AutotuneSampler(seed=2, space=SPACE))
    study.optimize(objective, n_trials=7)
    direct = autotune.Study(SPACE, {"maximize": "v0"}, seed=2)
    for _ in range(7):
        trial = direct.ask()
        direct.tell(trial, {"v0": float(trial.config["batch"] + trial.config.get("length", 0))})
    assert [t.params for t in study.trials] == [t.config for t in direct.trials]
    study.enqueue_trial({"draft": "eagle", "length": 8})
    study.optimize(objective, n_trials=1)
    assert {"draft": "eagle", "length": 8}.items() <= study.trials[-1].params.items()


def test_a_failure_may_say_its_cause():
    """One out of memory speaks for all that need more of it."""
    study = optuna.create_study(direction="maximize", sampler=AutotuneSampler(seed=2, space=SPACE))
    distributions = {
        name: coordinate(SPACE[name], for_people=True).distribution for name in ("batch", "draft")
    }
    for batch in (1, 2, 4):
        params = {"batch": batch, "draft": "none"}
        study.add_trial(create_trial(params=params, distributions=distributions, value=float(batch)))
    params = {"batch": 16, "draft": "none"}
    study.add_trial(
        create_trial(state=TrialState.FAIL, params=params, distributions=distributions,
                     user_attrs={"failure": "out_of_memory"})
    )  # fmt: skip
    study.optimize(lambda trial: suggest(trial, SPACE)["batch"], n_trials=1)
    assert study.trials[-1].params["batch"] <= 8


def fails_late(trial):
    if trial.suggest_int("a", 0, 9) >= 5:
        raise MemoryError
    return trial.params["a"] + trial.suggest_float("x", 0, 1)


def prunes_by_choice(trial):
    if trial.suggest_categorical("kind", ["p", "q"]) == "q":
        raise optuna.TrialPruned
    return trial.suggest_float("x", 0, 1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("objective", "most"), [(fails_late, 5), (prunes_by_choice, 7)])
def test_a_trial_that_ends_before_it_has_all_parameters_is_learnt_from(objective, most, seed):
    study = optuna.create_study(direction="maximize", sampler=AutotuneSampler(seed=seed))
    study.optimize(objective, n_trials=12, catch=(MemoryError,))
    assert sum(t.state is not TrialState.COMPLETE for t in study.trials) <= most


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("fixed", [{"batch": 16}, {"draft": "none"}, {"batch": 2, "draft": "eagle"}])
def test_parameters_of_a_space_that_is_known_may_be_fixed(fixed):
    sampler = optuna.samplers.PartialFixedSampler(fixed, AutotuneSampler(seed=0, space=SPACE))
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda trial: suggest(trial, SPACE)["batch"], n_trials=4)
    for trial in study.trials:
        assert fixed.items() <= trial.params.items()
        assert SPACE.validate(trial.params) == trial.params
    assert len({str(t.params) for t in study.trials}) == 4


def test_a_space_that_is_known_may_have_a_parameter_of_one_value():
    space = Space([Int("a", 0, 9), Int("b", 3, 3)])
    study = optuna.create_study(sampler=AutotuneSampler(seed=0, space=space))
    study.optimize(lambda trial: suggest(trial, space)["a"], n_trials=5)
    assert len({t.params["a"] for t in study.trials}) == 5


@pytest.mark.parametrize(
    "distribution",
    [
        IntDistribution(0, 7 * 10**6, step=7),
        IntDistribution(1, 10**7, log=True),
        FloatDistribution(0, 1, step=1e-6),
    ],
)
def test_values_that_are_rounded_to_steps_do_not_come_again(distribution):
    study = optuna.create_study(sampler=AutotuneSampler(seed=0))
    for _ in range(25):
        trial = study.ask({"f": distribution})
        study.tell(trial, float(trial.params["f"]))
    found = [t.params["f"] for t in study.trials]
    assert all(distribution._contains(distribution.to_internal_repr(value)) for value in found)
    assert len(set(found)) == 25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine": 5}, "engine must be a name or a mapping, found 5"),
        ({"engine": None}, "engine must be a name or a mapping, found None"),
        ({"engine": {"use": 5}}, "use must be the name of an engine, found 5"),
        ({"engine": "gq"}, "unknown engine 'gq'; allowed: gp"),
        ({"space": "vllmm"}, "unknown search space 'vllmm'"),
        ({"space": 5}, "space must be a Space, found 5"),
        ({"space": []}, "parameters: a space needs at least one parameter"),
        ({"seed": "x"}, "seed must be a whole number of at least 0, found 'x'"),
        ({"seed": -1}, "seed must be a whole number of at least 0, found -1"),
        ({"seed": 1.5}, "seed must be a whole number of at least 0, found 1.5"),
        ({"constraints_func": 5}, "constraints_func must be a function or None, found 5"),
        ({"learn_from_failures": "no"}, "learn_from_failures must be True or False, found 'no'"),
        ({"sede": 5}, "AutotuneSampler has no argument 'sede'"),
    ],
)
def test_wrong_arguments_are_named_when_the_sampler_is_made(arguments, message):
    with pytest.raises(SpecError) as caught:
        AutotuneSampler(**arguments)
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize("found", [[[]], ["a"], 3, None, [None], [1j], {"a": 1}])
def test_constraints_that_are_no_numbers_are_refused_before_they_are_stored(found):
    told = [found, [1.0]]
    study = optuna.create_study(
        sampler=AutotuneSampler(engine="random", constraints_func=lambda _: told.pop(0))
    )
    with pytest.raises(SpecError, match="constraints_func must return a list of numbers"):
        study.optimize(lambda trial: trial.suggest_int("x", 0, 9), n_trials=1)
    study.optimize(lambda trial: trial.suggest_int("x", 0, 9), n_trials=1)  # the study goes on
    assert study.trials[1].state.name == "COMPLETE"


def test_the_name_of_a_space_of_the_catalogue_is_one():
    study = optuna.create_study(sampler=AutotuneSampler(space="vllm", engine="random", seed=0))
    study.optimize(lambda trial: suggest(trial, "vllm")["max_num_seqs"], n_trials=3)
    space = autotune.Study("vllm", {"minimize": "value"}, engine="random").space
    for trial in study.trials:
        assert space.validate(suggest(optuna.trial.FixedTrial(trial.params), space))
    with pytest.raises(SpecError, match="vllmm"):
        AutotuneSampler(space="vllmm")


def every_kind(trial):
    trial.suggest_int("many", 0, 3)
    trial.suggest_float("real", 0, 1)
    trial.suggest_float("stepped", 0, 1, step=0.25)
    trial.suggest_categorical("word", ["a", "b"])
    trial.suggest_categorical("size", [1, 2, 4])
    return trial.params["real"]


NO_VALUES = ["q", [1], None, {"a": 1}, math.inf, math.nan, 10**400]
NAMES = ["many", "real", "stepped", "word", "size"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(name, value, marks=() if (i + k) % len(NAMES) == 0 else pytest.mark.slow)
        for i, name in enumerate(NAMES)
        for k, value in enumerate(NO_VALUES)
    ],
)
def test_a_value_that_no_distribution_holds_costs_nobody_but_its_own_trial(name, value):
    study = optuna.create_study(sampler=AutotuneSampler(seed=0))
    study.optimize(every_kind, n_trials=3)
    study.enqueue_trial({name: value})
    bad = study.ask()
    healthy = study.ask()
    study.tell(healthy, every_kind(healthy))
    with warnings.catch_warnings(), contextlib.suppress(Exception):  # Optuna warns of it, or refuses it
        warnings.simplefilter("ignore")
        every_kind(bad)
    study.optimize(every_kind, n_trials=1)  # the bad one is under way
    study.tell(bad, state=TrialState.FAIL)
    study.optimize(every_kind, n_trials=1)
    assert PROPOSAL in study.trials[healthy.number].system_attrs
    assert len(study.trials) == 7


def test_a_value_that_a_space_of_ours_has_not_costs_nobody_but_its_own_trial():
    space = Space((Int("x", 0, 3), Categorical("kind", ("a", "b"))))
    study = optuna.create_study(sampler=AutotuneSampler(seed=0, space=space))
    for config in ({"x": "a"}, {"kind": ["c"]}, {"x": 7}):
        study.enqueue_trial(config)
        study.ask()
        study.optimize(lambda trial: float(suggest(trial, space)["x"]), n_trials=1)
    assert len(study.get_trials(states=[TrialState.COMPLETE])) == 3


@pytest.mark.parametrize("said", [["out_of_memory"], {"cause": 1}, 3, "no cause"])
def test_a_failure_that_names_no_cause_ends_no_study(said):
    study = rising()
    trial = study.ask({"x": TEN})
    trial.set_user_attr("failure", said)
    study.tell(trial, state=TrialState.FAIL)
    assert next_x(study) != trial.params["x"]
