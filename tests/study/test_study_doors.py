"""Every public door: whatever is given to it, the answer is right or one error that names what is wrong."""

import asyncio
import datetime as dt
import inspect
import math
import re
from pathlib import Path

import numpy as np
import pytest
from optuna.trial import FixedTrial

import autotune
from autotune import plot
from autotune.analysis.importance import importance
from autotune.core.objective import Limit
from autotune.errors import SpecError
from autotune.integrations.optuna import suggest
from autotune.integrations.ray_tune import write_space

SPACE = autotune.Space([autotune.Int("batch", 1, 8), autotune.Ordinal("bits", (4, 8, 16))])
GOAL = {"maximize": "t"}
OBJECTIVE = autotune.Objective(maximize="t", limits=["u <= 3 ms", "t >= 0.5 x default"])
ESTIMATE = autotune.Estimate(1.0, 0.1, 3)
METRICS = {"t": ESTIMATE}
CONFIG = {"batch": 1, "bits": 4}
RNG = np.random.default_rng(0)
PARAMETER = {"unit": "", "description": "", "when": None, "restart": "system", "memory": "up"}


class Odd:
    """Something of somebody's own."""


def generator():
    yield 1


HOSTILE = {
    "None": None,
    "True": True,
    "zero": 0,
    "negative": -1,
    "fraction": 1.5,
    "nan": math.nan,
    "inf": math.inf,
    "large": 10**400,
    "complex": 1j,
    "no text": "",
    "text": "no such thing",
    "nul": "a\0b",
    "surrogate": "\udcff",
    "half of a pair": "\ud800",
    "home of nobody": "~no-such-user/x",
    "bytes": b"x",
    "no list": [],
    "numbers": [1],
    "nothings": [None],
    "nested": [[["x"]]],
    "no mapping": {},
    "number keys": {1: 2},
    "nothing by name": {"a": None},
    "nothing by nothing": {None: None},
    "deep": {"maximize": {"a": [1]}},
    "set": {1, 2},
    "object": Odd(),
    "class": Odd,
    "array": np.zeros(3),
    "matrix": np.zeros((2, 2)),
    "scalar array": np.array(1.0),
    "numpy nan": np.float64("nan"),
    "numpy text": np.str_("x"),
    "numpy bool": np.bool_(True),
    "path": Path("no/such/file"),
    "function": lambda *_: None,
    "range": range(3),
    "date": dt.date(2026, 1, 1),
    "generator": generator,  # called for each
}


def study(asked=2):
    found = autotune.Study(SPACE, GOAL, engine="sobol")
    for _ in range(asked):
        trial = found.ask()
        found.tell(trial, {"t": float(trial.config["batch"])})
    return found


STUDY = study(3)
TRIAL = STUDY.trials[0]


def asked(**given):
    found = study(1)
    trial = found.ask()
    return found.tell(**{"trial": trial, **given})


def started(method, **given):
    found = study(1)
    attempt = found.start_attempt(found.ask().number, executor="test")
    usual = {"attempt": attempt, "measurement": autotune.Measurement(METRICS), "state": TRIAL.state}
    return getattr(found, method)(1, **{**usual, **given}) if given else getattr(found, method)(1)


def tuned(**given):
    def function(config):
        return {"t": 1.0}

    return autotune.tune(**{"space": SPACE, "function": function, "objective": GOAL, **given}, progress=False)


def tuned_async(**given):
    async def run():
        return await study(1).tune_async(**{"function": lambda config: {"t": 1.0}, "trials": 2, **given})

    return asyncio.run(run())


NUMBERS = {"low": 1, "high": 8, "default": 2, "prior": {"around": 2}, "scale": "linear", "step": 1}
DOORS = {
    "Int": (autotune.Int, {"name": "b", **NUMBERS, **PARAMETER, "multiple_of": None, "powers_of": None}),
    "Float": (autotune.Float, {"name": "b", **NUMBERS, **PARAMETER}),
    "Bool": (autotune.Bool, {"name": "b", "default": True, "prior": {"weights": {True: 2}}, **PARAMETER}),
    "Ordinal": (autotune.Ordinal, {"name": "b", "values": (1, 2), "default": 1, "prior": None, **PARAMETER}),
    "Categorical": (
        autotune.Categorical,
        {"name": "b", "values": ("a", "b"), "default": "a", "prior": None, **PARAMETER},
    ),
    "Int.coerce": (autotune.Int("b", 1, 8).coerce, {"raw": 1}),
    "Float.coerce": (autotune.Float("b", 1, 8).coerce, {"raw": 1}),
    "Bool.coerce": (autotune.Bool("b").coerce, {"raw": True}),
    "Ordinal.coerce": (autotune.Ordinal("b", (1, 2)).coerce, {"raw": 1}),
    "Categorical.coerce": (autotune.Categorical("b", ("x", "y")).coerce, {"raw": "x"}),
    "Prior": (autotune.Prior, {"around": 1, "spread": 1}),
    "Prior, weights": (autotune.Prior, {"weights": {1: 2}}),
    "Space": (
        autotune.Space,
        {
            "parameters": [autotune.Int("a", 1, 2)],
            "constraints": ["a < 2"],
            "configurations": [{"a": 1}],
            "derived": {"c": "a * 2"},
        },
    ),
    "Space.from_dict": (
        autotune.Space.from_dict,
        {"data": {"parameters": {"a": {"type": "int", "low": 1, "high": 2}}}, "configurations": None},
    ),
    "Space.from_dict, an entry": (
        lambda **given: autotune.Space.from_dict({"parameters": {"a": {"type": "int", **given}}}),
        {"low": 1, "high": 2, "default": 1, "prior": {"around": 1}, "scale": "linear", "unit": "x"},
    ),
    "Space.from_yaml": (autotune.Space.from_yaml, {"path": "no/such.yaml"}),
    "Space.validate": (SPACE.validate, {"config": CONFIG}),
    "Space.validate, a value": (lambda batch: SPACE.validate({**CONFIG, "batch": batch}), {"batch": 1}),
    "Space.explain": (SPACE.explain, {"config": CONFIG}),
    "Space.neighbours": (SPACE.neighbours, {"config": CONFIG}),
    "Space.sample": (SPACE.sample, {"n": 2, "rng": RNG}),
    "Space.draw": (SPACE.draw, {"n": 2, "rng": RNG}),
    "Space.table": (SPACE.table, {"limit": 100}),
    "Space.searchable": (SPACE.searchable, {"trials": 10}),
    "Space, an entry": (lambda name: SPACE[name], {"name": "batch"}),
    "Objective": (
        autotune.Objective,
        {
            "goals": (),
            "limits": ["t <= 3"],
            "description": "",
            "confidence": 0.9,
            "maximize": "t",
            "minimize": "u",
        },
    ),
    "Objective.from_dict": (autotune.Objective.from_dict, {"data": GOAL}),
    "Objective.from_dict, a key": (
        lambda **given: autotune.Objective.from_dict({**GOAL, **given}),
        {"minimize": "u", "limits": ["t <= 3"], "confidence": 0.9},
    ),
    "Objective.from_yaml": (autotune.Objective.from_yaml, {"path": "no/such.yaml"}),
    "Objective.score": (OBJECTIVE.score, {"metrics": METRICS}),
    "Objective.score, a value": (lambda t: OBJECTIVE.score({"t": t}), {"t": 1.0}),
    "Objective.in_units": (OBJECTIVE.in_units, {"metrics": METRICS}),
    "Objective.anchored": (OBJECTIVE.anchored, {"default": METRICS}),
    "Objective.surely_broken": (OBJECTIVE.surely_broken, {"metrics": METRICS}),
    "Objective.symbol_of": (OBJECTIVE.symbol_of, {"metric": "t"}),
    "Objective.shown_unit": (OBJECTIVE.shown_unit, {"metric": "t"}),
    "Objective.value_of": (OBJECTIVE.value_of, {"metric": "t", "estimate": ESTIMATE}),
    "Estimate": (
        autotune.Estimate,
        {"value": 1.0, "sem": 0.1, "n": 3, "unit": "s", "projected": False, "bound": ""},
    ),
    "Estimate.mean_of": (autotune.Estimate.mean_of, {"samples": [1.0, 2.0], "unit": "s"}),
    "Estimate.interval": (ESTIMATE.interval, {"z": 2.0}),
    "Estimate.from_dict": (autotune.Estimate.from_dict, {"data": {"value": 1.0}}),
    "Measurement": (
        autotune.Measurement,
        {"metrics": METRICS, "failure": None, "facts": {}, "started_ns": 0, "ended_ns": 0, "artifacts": {}},
    ),
    "Measurement.from_dict": (autotune.Measurement.from_dict, {"data": {}}),
    "Failure": (
        autotune.Failure,
        {"cause": autotune.Cause.DISK_FULL, "message": "m", "log_tail": "l", "shortfall": 1.5},
    ),
    "Failure.from_dict": (autotune.Failure.from_dict, {"data": {"cause": "disk_full"}}),
    "Infeasible": (autotune.Infeasible, {"message": "m", "cause": "rejected_flags"}),
    "Trial": (
        autotune.Trial,
        {"number": 0, "suggestion": TRIAL.suggestion, "state": TRIAL.state, "attempts": 0, "node": ""},
    ),
    "StudyResult": (autotune.StudyResult, {"view": STUDY.view}),
    "StudyResult.text": (STUDY.result.text, {"width": 80}),
    "load_space": (autotune.load_space, {"name": "moe", "trust_space": False}),
    "load_objective": (autotune.load_objective, {"name": "throughput", "trust_space": False}),
    "Study": (
        autotune.Study,
        {
            "space": SPACE,
            "objective": GOAL,
            "engine": "sobol",
            "seed": 0,
            "name": "study",
            "path": None,
            "budget": 5,
            "spec": None,
            "widen": False,
        },
    ),
    "Study.open": (autotune.Study.open, {"path": "no/such.sqlite", "name": None, "engine": None}),
    "Study.ask": (lambda **given: study(1).ask(**given), {"n": 1}),
    "Study.tell": (asked, {"metrics": {"t": 1.0}}),
    "Study.tell, a trial": (lambda trial: asked(trial=trial, metrics={"t": 1.0}), {"trial": 1}),
    "Study.tell, a value": (lambda t: asked(metrics={"t": t}), {"t": 1.0}),
    "Study.tell, a failure": (asked, {"failure": "out_of_memory"}),
    "Study.add": (lambda **given: study(0).add(**given), {"config": CONFIG, "metrics": {"t": 1.0}}),
    "Study.add, a failure": (lambda **given: study(0).add(CONFIG, **given), {"failure": "out_of_memory"}),
    "Study.enqueue": (lambda configs: study(0).enqueue(configs), {"configs": {"batch": 1}}),
    "Study.in_units": (STUDY.in_units, {"metrics": METRICS}),
    "Study.checked": (STUDY.checked, {"measurement": autotune.Measurement(METRICS)}),
    "Study.outcome": (STUDY.outcome, {"trial": TRIAL}),
    "Study.decide": (STUDY.decide, {"confirm": 0}),
    "Study.stop": (lambda **given: study(0).stop(**given), {"reason": "x"}),
    "Study.export": (STUDY.export, {"as_": "yaml", "trial": 0, "under": (), "image": ""}),
    "Study.suggest": (lambda **given: study(0).suggest(**given), {"suggestion": TRIAL.suggestion}),
    "Study.start_attempt": (
        lambda **given: study(0).start_attempt(**{"number": study(0).ask().number, **given}),
        {"number": 99, "executor": "test", "scratch": ""},
    ),
    "Study.finish_attempt": (
        lambda **given: started("finish_attempt", **given),
        {"attempt": 1, "measurement": autotune.Measurement(METRICS), "state": TRIAL.state, "node": ""},
    ),
    "Study.requeue": (lambda number: study(1).requeue(number), {"number": 9}),
    "Study.reopen": (lambda number: study(1).reopen(number), {"number": 0}),
    "Study.abandon": (lambda number: study(1).abandon(number), {"number": 9}),
    "Study.tune_async": (
        tuned_async,
        {
            "function": lambda config: 1.0,
            "trials": 2,
            "parallel": 1,
            "stop_when": "budget",
            "timeout": None,
            "start": (),
            "callbacks": (),
            "progress": False,
            "mlflow": None,
            "on": None,
        },
    ),
    "tune": (
        tuned,
        {
            "space": SPACE,
            "function": lambda config: 1.0,
            "objective": GOAL,
            "trials": 1,
            "parallel": 1,
            "stop_when": "budget",
            "engine": "sobol",
            "seed": 0,
            "name": "study",
            "path": None,
            "timeout": None,
            "start": (),
            "callbacks": (),
            "mlflow": None,
            "on": None,
        },
    ),
    "tune, a result": (
        lambda result: tuned(function=lambda config: result, trials=1),
        {"result": {"t": 1.0}},
    ),
}
DOORS["optuna.suggest"] = (suggest, {"trial": FixedTrial({"batch": 2, "bits": 4}), "space": SPACE})
DOORS["ray_tune.write_space"] = (write_space, {"space": SPACE})
for _name in plot.__all__:
    _usual = {"study": STUDY, "parameter": "batch", "a": "batch", "b": "bits", "metric": None, "most": 2}
    _made = getattr(plot, _name)
    _names = inspect.signature(_made).parameters
    DOORS[f"plot.{_name}"] = (_made, {name: _usual[name] for name in _names})

SETTINGS = {("tune", "function", "class")}
"""What is right and fails by itself: a class is a function that takes no configuration."""
SAYS = re.compile(r"found|unknown|cannot|allowed|already|breaks|no (trial|ledger|such file)|needs")
"""Whatever a message says that names the value and not the argument."""


@pytest.mark.parametrize("door", DOORS)
def test_a_wrong_argument_has_one_error_that_says_what_is_wrong(door, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    call, usual = DOORS[door]
    wrong = []
    for name in usual:
        for kind, value in HOSTILE.items():
            given = value() if value is generator else value
            if (door, name, kind) in SETTINGS:
                continue
            try:
                call(**{**usual, name: given})
            except autotune.AutotuneError as error:
                if name.rstrip("_") not in error.message and not SAYS.search(error.message):
                    wrong.append(f"{name}={kind}: {error.message}")
            except Exception as error:  # noqa: BLE001 - all that are wrong are told together
                wrong.append(f"{name}={kind}: {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)


def test_every_public_function_and_method_is_among_them():
    takes = []
    for name in autotune.__all__:
        found = getattr(autotune, name)
        if name in ("AutotuneError", "SpecError", "StopStudy", "Cause", "Config", "__version__"):
            continue
        takes.append(name)
        for method, value in vars(found).items() if inspect.isclass(found) else ():
            function = getattr(value, "__func__", value)
            own = inspect.isfunction(function) and not method.startswith("_")
            if own and len(inspect.signature(function).parameters) > 1:
                takes.append(f"{name}.{method}")
    inside = {f"{kind}.{method}" for kind in ("Int", "Float") for method in ("position", "with_levels")}
    inside |= {"Space.as_table", "Trial.from_dict", "Ordinal.level_of", "Float.value_at"}
    assert sorted(set(takes) - set(DOORS) - inside) == []


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: autotune.Int("b", 1, 64, log=True),
            "Int has no argument 'log'; allowed: name, low, high",
        ),
        (lambda: autotune.Int("b", 1, 64, scal="log2"), "did you mean 'scale'?"),
        (lambda: autotune.Int("b"), "Int: missing a required argument: 'low'; arguments: name, low"),
        (lambda: autotune.tune(SPACE, len, GOAL, trails=3), "did you mean 'trials'?"),
        (lambda: STUDY.export("yaml", trail=3), "did you mean 'trial'?"),
        (lambda: autotune.Failure("disk_full"), "cause must be a Cause, found 'disk_full'"),
        (lambda: STUDY.outcome(3), "trial must be a Trial, found 3"),
        (lambda: autotune.Int("b", 1, 8, default=9), "default: b cannot be 9; allowed: int from 1 to 8"),
        (lambda: SPACE.sample(-1, RNG), "n must be a whole number of at least 0, found -1"),
        (
            lambda: SPACE.sample(1, 7),
            "rng must be a numpy Generator such as numpy.random.default_rng(0), found 7",
        ),
        (lambda: plot.progress(7), "study must be a Study, its result or its view, found 7"),
        (
            lambda: autotune.Space.from_dict({"a": {"type": "int", "low": 1, "high": 2, "prior": 3}}),
            "parameters.a.prior: a prior is {around, spread} or {weights}, found 3",
        ),
    ],
)
def test_the_error_names_argument_place_and_the_nearest_name(call, said):
    with pytest.raises(autotune.SpecError) as caught:
        call()
    assert said in str(caught.value)


def test_scalars_of_numpy_and_paths_work_like_those_of_python(tmp_path):
    space = autotune.Space(
        [
            autotune.Int("batch", np.int64(1), np.int32(8), default=np.int64(2)),
            autotune.Float("share", np.float32(0.25), np.float64(1)),
            autotune.Ordinal("bits", np.array([4, 8])),
            autotune.Categorical("kind", [np.str_("a"), np.int64(3)]),
            autotune.Bool("on", default=np.bool_(True)),
        ]
    )
    config = {
        "batch": np.int64(3),
        "share": np.float32(0.5),
        "bits": np.int64(8),
        "kind": np.int64(3),
        "on": np.bool_(0),
    }
    plain = {"batch": 3, "share": 0.5, "bits": 8, "kind": 3, "on": False}
    assert space.validate(config) == plain
    assert {type(value) for value in space.validate(config).values()} == {int, float, bool}
    for path in (tmp_path / "a.sqlite", str(tmp_path / "b.sqlite")):
        with autotune.Study(space, GOAL, seed=np.int64(3), budget=np.int64(9), path=path) as made:
            assert made.enqueue(config) == [plain]
            (trial,) = made.ask(np.int64(1))
            told = made.tell(
                np.int64(trial.number),
                {"t": np.float32(2), "u": autotune.Estimate(np.int64(4), n=np.int64(2))},
            )
            assert (told.config, told.metrics["t"].value, told.metrics["u"].n) == (plain, 2.0, 2)


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("gpp", "unknown engine 'gpp'; allowed: gp"),
        ({"use": "gpp"}, "engine.use: unknown engine 'gpp'; allowed: gp"),
        ({"use": "gp", "inital": 3}, "engine 'gp' has no option 'inital'"),
        ({"use": 5}, "use must be the name of an engine, found 5"),
    ],
)
def test_a_wrong_engine_is_named_once(engine, said):
    with pytest.raises(autotune.SpecError) as caught:
        autotune.Study(autotune.Space([autotune.Int("a", 0, 9)]), {"minimize": "loss"}, engine=engine)
    assert str(caught.value).startswith(said)


def test_tune_and_tune_async_are_one_door():
    doors = (autotune.tune, autotune.Study.tune_async)
    first, second = ({p.name: p for p in inspect.signature(door).parameters.values()} for door in doors)
    studys_own = {"space", "objective", "engine", "seed", "name", "path"}
    assert first.keys() - second.keys() == studys_own
    assert second.keys() - first.keys() == {"self"}
    assert all(first[name].default == second[name].default for name in second.keys() & first.keys())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: importance(3), "view must be a StudyView, found 3"),
        (lambda: autotune.Study(SPACE, GOAL, spec={"a": object()}), "spec must be plain data"),
        (lambda: suggest(None, SPACE), "trial must be a Trial, a FrozenTrial or a FixedTrial, found None"),
        (lambda: write_space(None), "space must be a Space, found None"),
        (lambda: autotune.Study(SPACE, GOAL, path="\ud800"), r"path must name a ledger file, found '\ud800'"),
        (lambda: autotune.Study(SPACE, GOAL, path=" "), "path must name a ledger file, found ' '"),
        (lambda: Limit(None, True, 1.0), "metric must be a metric's name"),
        (lambda: Limit("t", "<=", 1.0), "upper must be True or False, found '<='"),
        (lambda: Limit("t", True, None), "bound must be a number, found None"),
    ],
)
def test_doors_beside_the_table_name_what_is_wrong(call, said):
    with pytest.raises(SpecError, match=re.escape(said)):
        call()
