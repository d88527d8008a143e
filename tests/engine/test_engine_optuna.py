"""Samplers of Optuna keep the contract of an engine: our conditions, limits, failures and resumption."""

import importlib.util
import math
import sys
import types

import optuna
import pytest

import autotune
from autotune.core.parameter import Bool, Categorical, Float, Int, Ordinal
from autotune.core.space import Space
from autotune.engine.registry import build_engine, stored_engine
from autotune.errors import EnvironmentProblem, SpecError
from autotune.study.plan import make_plan
from autotune.study.readiness import readiness
from autotune.study.study_file import read_study
from autotune.testing.engine_contract import OBJECTIVE, SPACE, TRADE_OFF, EngineContract, respond

HAS_CMAES = importlib.util.find_spec("cmaes") is not None
needs_cmaes = pytest.mark.skipif(not HAS_CMAES, reason="the package cmaes is not installed")


@pytest.mark.slow
class _Contract(EngineContract):
    use = ""

    def make(self, budget=None):
        return build_engine(self.use, budget=budget)

    @pytest.mark.parametrize("size", [1, 2, 3, 40])
    @pytest.mark.parametrize("kind", ["declared", "listed", "listed between levels"])
    def test_a_space_of_any_size_is_exhausted(self, size, kind):
        super().test_a_space_of_any_size_is_exhausted(size, kind)

    @pytest.mark.parametrize("size", [40])
    @pytest.mark.parametrize("kind", ["declared", "listed"])
    def test_the_next_one_is_given_wherever_a_sequence_or_a_list_of_points_ends(self, size, kind):
        super().test_the_next_one_is_given_wherever_a_sequence_or_a_list_of_points_ends(size, kind)

    def test_the_first_trials_of_a_list_spread_over_it(self):
        """Optuna's start is random: nothing spreads its first trials over a list."""


class TestTPE(_Contract):
    use = "optuna:tpe"


class TestNSGA2(_Contract):
    use = "optuna:nsga2"


class TestGP(_Contract):
    use = "optuna:gp"


class TestNamed(_Contract):
    use = "optuna:optuna.samplers:QMCSampler"


@needs_cmaes
class TestCMAES(_Contract):
    use = "optuna:cmaes"

    def test_several_goals_give_suggestions(self):
        with pytest.raises(SpecError, match="searches for one goal, found 2"):
            self.search(3, objective=TRADE_OFF)


SAMPLERS = ["optuna:tpe", "optuna:nsga2", pytest.param("optuna:gp", marks=pytest.mark.slow),
            pytest.param("optuna:cmaes", marks=needs_cmaes)]  # fmt: skip


def serve(study, trial):
    metrics = respond(trial.config)
    study.tell(trial, metrics) if metrics else study.tell(trial, failure="out_of_memory")


@pytest.mark.parametrize("use", SAMPLERS)
def test_a_resumed_study_proposes_what_the_uninterrupted_one_would_have(use, tmp_path):
    def make(path):
        return autotune.Study(SPACE, OBJECTIVE, engine=use, seed=4, path=path)

    whole = make(tmp_path / "whole.sqlite")
    for _ in range(12):
        serve(whole, whole.ask())
    expected = [trial.config for trial in whole.trials]
    for _ in range(2):  # two calls for six trials each
        with make(tmp_path / "parts.sqlite") as parts:
            for _ in range(6):
                serve(parts, parts.ask())
    with autotune.Study.open(tmp_path / "parts.sqlite") as parts:
        assert [trial.config for trial in parts.trials] == expected
        pending = [parts.ask(), *parts.ask(2)]  # asked for, and not told
        assert len({t.key for t in parts.trials}) == 15
    with autotune.Study.open(tmp_path / "parts.sqlite") as parts:
        assert parts.ask().key not in {t.key for t in pending}
        assert all(SPACE.validate(t.config) == t.config for t in parts.trials)


class Watching(optuna.samplers.RandomSampler):
    """Keeps what a sampler is shown."""

    seen = ()

    def sample_relative(self, study, trial, search_space):
        type(self).seen = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        return super().sample_relative(study, trial, search_space)


class WatchingTPE(optuna.samplers.TPESampler):
    """The same of a sampler that is told finished trials."""

    seen = ()

    def sample_relative(self, study, trial, search_space):
        type(self).seen = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        return super().sample_relative(study, trial, search_space)


@pytest.fixture
def sampler_module(monkeypatch):
    module = types.ModuleType("samplers_of_a_test")
    module.Watching, module.WatchingTPE, module.number = Watching, WatchingTPE, 3
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


@pytest.mark.parametrize("kind", ["Watching", "WatchingTPE"])
def test_what_a_sampler_is_told(kind, sampler_module):
    watching = globals()[kind]
    study = autotune.Study(SPACE, OBJECTIVE, engine=f"optuna:{sampler_module}:{kind}")
    study.add({"batch_size": 4, "bits": 8, "draft_length": 0}, {"throughput": 5.0, "latency": 0.2})
    study.add({"batch_size": 1, "bits": 4, "draft_length": 1, "draft_model": "small"},
              {"throughput": 9.0, "latency": 0.6})  # fmt: skip
    study.add({"batch_size": 32, "bits": 16, "draft_length": 0}, failure="out_of_memory")
    default, waiting = study.ask(2)
    study.ask()
    found = watching.seen[:5]
    state = optuna.trial.TrialState
    assert [t.state for t in found] == [
        state.COMPLETE,
        state.COMPLETE,
        state.FAIL,
        state.RUNNING,
        state.RUNNING,
    ]
    assert [t.values for t in found[:3]] == [[5.0], [9.0], None]
    first, second = (t.system_attrs["constraints"] for t in found[:2])
    assert first[0] < 0 < second[0]  # 0.2 s keeps 300 ms, 0.6 s does not
    assert second[0] == pytest.approx(math.log(2))
    assert ["draft_model" in t.params for t in found[:3]] == [False, True, False]
    assert [t.params["bits"] for t in found[:3]] == [1, 0, 2]  # ranks
    assert default.config == SPACE.default_config != waiting.config
    assert default.suggestion.reason == "default"


def test_options_are_arguments_of_the_sampler():
    engine = build_engine({"use": "optuna:tpe", "n_startup_trials": "3", "multivariate": "true"})
    assert engine.sampler(0)._n_startup_trials == 3
    assert engine.sampler(0)._multivariate is True
    assert engine.choices() == {"constant_liar": True, "n_startup_trials": 3, "multivariate": True,
                                "optuna": optuna.__version__}  # fmt: skip
    with pytest.raises(SpecError, match=r"has no option 'n_startup_trial'.*allowed: seed, ") as caught:
        build_engine({"use": "optuna:tpe", "n_startup_trial": 3})
    assert caught.value.hint == "did you mean 'n_startup_trials'?"


def test_names_that_are_no_samplers(sampler_module):
    with pytest.raises(SpecError, match="unknown engine 'optuna:tep'") as caught:
        build_engine("optuna:tep")
    assert caught.value.hint == "did you mean 'optuna:tpe'?"
    with pytest.raises(SpecError, match="has no 'Wachting'") as caught:
        build_engine(f"optuna:{sampler_module}:Wachting")
    assert caught.value.hint == "did you mean 'Watching'?"
    with pytest.raises(SpecError, match=r"'number' is no class of optuna\.samplers\.BaseSampler"):
        build_engine(f"optuna:{sampler_module}:number")
    with pytest.raises(SpecError, match="No module named 'nowhere'"):
        build_engine("optuna:nowhere:Sampler")
    for name in ("optuna::X", "optuna:x:", "optuna:.a:X", "optuna:a..b:X"):
        with pytest.raises(SpecError, match="is not of the form optuna:MODULE:CLASS"):
            build_engine(name)


@pytest.fixture
def strangers_module(tmp_path, monkeypatch):
    """A folder of modules that leave a file where they are imported."""
    monkeypatch.syspath_prepend(tmp_path)
    text = "open({!r}, 'w')\nfrom optuna.samplers import BaseSampler\n"
    text += "class Mine(BaseSampler): pass\nnumber = 3\n"
    (tmp_path / "pack").mkdir()
    for name in ("strangers_own.py", "pack/__init__.py", "pack/inner.py"):
        (tmp_path / name).write_text(text.format(str(tmp_path / "RUN")))
    yield tmp_path
    assert not (tmp_path / "RUN").exists()


HEAD = "name: n\nparameters: {x: {type: int, low: 1, high: 4}}\nsystem: {use: command, argv: [echo, '{x}']}\n"


@pytest.mark.parametrize("place", ["strangers_own:Mine", "pack:Mine", "pack.inner:Mine"])
@pytest.mark.parametrize("here", [True, False])
def test_a_file_that_is_checked_imports_no_module_that_it_names(strangers_module, place, here):
    file = strangers_module / "study.yaml"
    file.write_text(HEAD + f"objective: {{minimize: y}}\nengine: 'optuna:{place}'\n")
    spec = read_study(file, here=here)
    assert readiness(spec).errors == ()
    make_plan(spec, strangers_module / "runs")
    assert stored_engine(spec.engine.section) is None


@pytest.mark.parametrize(
    ("engine", "said", "hint"),
    [
        ("optuna:strangers_own:Mien", "5:9: .*has no class 'Mien'", "did you mean 'Mine'"),
        ("optuna:strangers_own:number", "5:9: .*'number' is no class: it is 3", "allowed: Mine"),
        ("optuna:strangers:Mine", "5:9: .*no module 'strangers'", "PYTHONPATH"),
        ("optuna:pack.iner:Mine", "5:9: .*no module 'pack.iner'", "PYTHONPATH"),
        ("optuna:this:S", "5:9: .*has no class 'S'", ""),
        ("optuna:strangers_own.py:Mine", "5:9: .*is not of the form optuna:MODULE:CLASS", ""),
        ("{use: 'optuna:pack:Mien', seed: 1}", "5:15: .*has no class 'Mien'", "did you mean 'Mine'"),
    ],
)
def test_a_sampler_that_is_not_there_is_refused_by_its_source(strangers_module, engine, said, hint):
    file = strangers_module / "study.yaml"
    file.write_text(HEAD + f"objective: {{minimize: y}}\nengine: {engine}\n")
    with pytest.raises(SpecError, match=said) as refused:
        read_study(file)
    assert hint in refused.value.hint
    assert "this" not in sys.modules


def test_a_strangers_sampler_is_known_to_have_no_model(strangers_module):
    file = strangers_module / "study.yaml"
    text = "objective: {minimize: y}\nengine: optuna:pack:Mine\nbudget: {stop_when: converged}\n"
    file.write_text(HEAD + text)
    with pytest.raises(SpecError, match="has no model that could tell"):
        read_study(file)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"use": "optuna:tpe", "n_startup_trials": "x"},
            "n_startup_trials must be a whole number, found 'x'",
        ),
        ({"use": "optuna:tpe", "multivariate": 3}, "multivariate must be True or False.*, found 3"),
        ({"use": "optuna:tpe", "seed": "x"}, "seed must be a whole number of at least 0, found 'x'"),
        ({"use": "gp", "seed": -1}, "seed must be a whole number of at least 0, found -1"),
    ],
)
def test_options_of_another_type(section, message):
    with pytest.raises(SpecError, match=message):
        build_engine(section)
    assert build_engine({"use": "gp", "seed": "7"})


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("autotune.core.dependencies.find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match=r"^cmaes is not installed here\n  pip install cmaes$"):
        build_engine("optuna:cmaes")


def test_values_of_every_kind_of_parameter_come_back():
    space = Space(
        [Int("even", 2, 9, step=2), Int("log", 1, 100, scale="log2"), Int("powers", 1, 64, powers_of=2),
         Ordinal("bits", (4, 8, 16)), Categorical("word", ("a", "b")), Bool("flag"), Ordinal("one", (7,)),
         Float("share", 0.1, 0.95, step=0.05), Float("rate", 1e-4, 1.0, scale="log10")],
    )  # fmt: skip
    study = autotune.Study(space, {"maximize": "y"}, engine="optuna:tpe")
    for i in range(14):
        study.tell(study.ask(), {"y": float(i)})
    assert all(space.validate(t.config) == t.config for t in study.trials)
    for name in space.names[:6]:
        assert len({t.config[name] for t in study.trials}) > 1


def test_tune_runs_a_sampler(tmp_path):
    space = Space([Int("n", 0, 40), Bool("on")])
    study = autotune.tune(
        space,
        lambda c: float(c["n"] + 3 * c["on"]),
        {"maximize": "y"},
        trials=8,
        engine="optuna:tpe",
        parallel=2,
    )
    assert len({t.key for t in study.trials}) == len(study.trials) == 8
    assert study.result.to_dict()
