"""Any space, any history: each engine gives legal, untried suggestions or an end, the same ones twice."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from autotune.core.measurement import Cause, Estimate, Failure, Measurement
from autotune.core.objective import Objective
from autotune.core.parameter import Bool, Categorical, Float, Int, Ordinal
from autotune.core.parameter.base import RESTARTS, Prior
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial, TrialState, config_key
from autotune.engine.base import assess, model_quality
from autotune.engine.gp.config import ACQUISITIONS, SURROGATES
from autotune.engine.registry import build_engine
from autotune.errors import SpecError

quick = settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large],
)

OBJECTIVES = {
    "one goal": {"maximize": "speed"},
    "the least": {"minimize": "time"},
    "limits": {"maximize": "speed", "limits": ["time <= 300 ms", "quality >= 0.9"]},
    "limits never met": {"minimize": "time", "limits": ["speed >= 1e290", "quality <= -1"]},
    "relative limits": {"maximize": "speed", "limits": ["time <= 110 % of default"]},
    "two goals": {"maximize": "speed", "minimize": "time"},
    "three goals": {"maximize": ["speed", "quality"], "minimize": "time", "limits": ["time <= 1e300 s"]},
}

KINDS = ("int", "powers", "multiples", "float", "step", "log", "ordinal", "labels", "choice", "bool", "one")
NUMBERS = ("int", "powers", "multiples", "float", "step", "log", "ordinal", "one")


def parameter(draw, kind, name, when):
    """Return a parameter of some kind, sometimes with a belief about where its optimum lies."""
    shared = {
        "when": when,
        "memory": draw(st.sampled_from([None, None, "up", "down"])),
        "restart": draw(st.sampled_from(["system", *RESTARTS])),
    }
    high = draw(st.integers(1, 9))
    made = {
        "int": lambda: Int(name, 0, high, **shared),
        "powers": lambda: Int(name, 1, 2**high, powers_of=2, scale="log2", **shared),
        "multiples": lambda: Int(name, 0, 16 * high, multiple_of=16, **shared),
        "float": lambda: Float(name, -1.0, float(high), **shared),
        "step": lambda: Float(name, 0.0, 1.0, step=1 / high, **shared),
        "log": lambda: Float(name, 1e-4, 10.0 * high, scale="log10", **shared),
        "ordinal": lambda: Ordinal(name, (4, 8, 16, 32)[: 1 + high % 4], **shared),
        "labels": lambda: Ordinal(name, ("low", "middle", "high"), **shared),
        "choice": lambda: Categorical(name, ("a", "b", "c", "d")[: 1 + high % 4], **shared),
        "bool": lambda: Bool(name, **shared),
        "one": lambda: Int(name, 3, 3, **shared),
    }
    found = made[kind]()
    if draw(st.integers(0, 3)):
        return found
    if kind in ("ordinal", "labels", "choice", "bool"):
        return replace(found, prior=Prior(weights={draw(st.sampled_from(found.levels)): 3.0}))
    around = draw(st.sampled_from([found.low, found.high]))
    return replace(found, prior=Prior(around, draw(st.sampled_from([None, 0.01, 2.0]))))


def condition(draw, names):
    """Return a condition on one of the parameters there are, or ``None``."""
    if not names or draw(st.integers(0, 3)):
        return None
    name = draw(st.sampled_from(sorted(names)))
    kind = names[name]
    if kind in NUMBERS:
        return f"{name} {draw(st.sampled_from(['>', '<=', '!=']))} {draw(st.integers(0, 4))}"
    return name if kind == "bool" else f"{name} != '{draw(st.sampled_from(['a', 'low']))}'"


def constraint(draw, names):
    """Return a constraint on two of the numbers."""
    first, second = (draw(st.sampled_from(names)) for _ in range(2))
    form = draw(st.sampled_from(["{a} + {b} <= {n}", "{a} <= {b} + {n}", "{a} == {b}", "{a} * {b} != {n}"]))
    return form.format(a=first, b=second, n=draw(st.integers(0, 20)))


@st.composite
def spaces(draw):
    """Return a space of 1 to 12 parameters of all kinds, with conditions, constraints or a list."""
    names, parameters = {}, []
    for i in range(draw(st.one_of(st.integers(1, 4), st.integers(5, 12)))):
        kind = draw(st.sampled_from(KINDS))
        parameters.append(parameter(draw, kind, f"p{i}", condition(draw, names)))
        names[f"p{i}"] = kind
    numbers = sorted(name for name, kind in names.items() if kind in NUMBERS)
    count = draw(st.sampled_from([0, 0, 1, 2])) if numbers else 0
    try:
        space = Space(tuple(parameters), tuple(constraint(draw, numbers) for _ in range(count)))
        _ = space.default_config
        if not draw(st.integers(0, 4)):
            listed = space.sample(draw(st.integers(1, 12)), np.random.default_rng(0))
            space = Space(space.parameters, space.constraints, configurations=tuple(listed))
            _ = space.default_config
    except SpecError:
        assume(False)
    return space


def between_levels(space, config, share):
    """Return the configuration with its continuous values moved off the grid where that is allowed."""
    moved = dict(config)
    for p in space.parameters:
        if p.name in config and not p.discrete:
            moved[p.name] = p.low + share * (p.high - p.low)
    try:
        return space.validate(moved)
    except SpecError:
        return config


EVENTS = ("measured", "measured", "measured", "out of memory", "crashed", "lost", "given up", "incomplete")
VALUES = ("usual", "equal", "outlier", "extreme", "signs", "huge", "tiny")


def value_of(style, i, x):
    """Return a goal's value in the manner of a style."""
    return {
        "usual": 10.0 + 5.0 * x,
        "equal": 5.0,
        "outlier": 1e9 if i == 3 else 1.0 + x,
        "extreme": 1e-300 if i % 2 else 1e300,
        "signs": (-3.0, 0.0, 2.0)[i % 3] + x,
        "huge": 1e300 * (0.5 + x / 2),
        "tiny": 1e-300 * (1 + x),
    }[style]


def measurement(event, metrics):
    """Return state and measurement of a trial with which something happened."""
    if event == "out of memory":
        return TrialState.INFEASIBLE, Measurement(failure=Failure(Cause.OUT_OF_MEMORY, shortfall=1.5))
    if event == "crashed":
        return TrialState.INFEASIBLE, Measurement(failure=Failure(Cause.CRASHED_UNDER_LOAD))
    if event == "lost":
        return TrialState.FAILED, Measurement(failure=Failure(Cause.NODE_LOST))
    if event == "given up":
        return TrialState.ABANDONED, None
    if event == "incomplete":
        metrics = dict(list(metrics.items())[:1])
    return TrialState.COMPLETED, Measurement(metrics)


@st.composite
def histories(draw, space, most=16):
    """Return finished trials of a space, with repetitions, and configurations that are pending."""
    n = draw(st.integers(0, most))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    configs = space.sample(n + 3, rng)
    if draw(st.booleans()):
        configs = [
            between_levels(space, config, rng.random()) if rng.random() < 0.3 else config
            for config in configs
        ]
    events = draw(st.sampled_from([EVENTS, ("measured",), ("out of memory",), ("measured", "incomplete")]))
    style, sem = draw(st.sampled_from(VALUES)), draw(st.sampled_from([None, 0.0, 0.01, 1.0]))
    trials = []
    for i in range(n):
        x = rng.random(3)
        found = {
            name: Estimate(value, None if sem is None else sem * abs(value), 8, unit)
            for name, value, unit in (
                ("speed", value_of(style, i, x[0]), "1/s"),
                ("time", abs(value_of(style, i, x[1])), "s"),
                ("quality", 0.8 + 0.2 * x[2], "1"),
            )
        }
        state, result = measurement(events[rng.integers(len(events))], found)
        config = configs[0] if rng.random() < 0.1 else configs[i]
        reason = (Reason.ADDED, Reason.INITIAL, Reason.EXPLORE, Reason.EXPLOIT)[rng.integers(4)]
        trials.append(Trial(i, Suggestion(config, reason), state, 1, result))
    return trials, configs[n : n + draw(st.integers(0, 3))]


def check(engine, space, objective, trials, pending, n, seed):
    """Ask twice, and hold the engine to what it promises; return the suggestions."""
    asked = engine.ask(space, objective, trials, pending, n, seed)
    again = engine.ask(space, objective, list(trials), list(pending), n, seed)
    assert [s.to_dict() for s in asked] == [s.to_dict() for s in again]
    tried = {config_key(t.config) for t in trials} | {config_key(c) for c in pending}
    keys = [config_key(s.config) for s in asked]
    assert len(keys) <= n
    assert max(Counter(keys).values(), default=0) <= 1
    for suggestion, key in zip(asked, keys, strict=True):
        assert space.validate(suggestion.config) == suggestion.config
        assert key not in tried
        plain = json.loads(json.dumps(suggestion.to_dict(), allow_nan=False))
        assert Suggestion.from_dict(plain) == suggestion
        assert suggestion.p_feasible is None or 0.0 <= suggestion.p_feasible <= 1.0
    if len(asked) < n:  # an end is said only when everything was tried
        table = space.table()
        assert table is not None
        assert {config_key(c) for c in table.configs(range(len(table)))} <= tried | set(keys)
    return asked


@pytest.mark.parametrize("name", ["random", "sobol"])
@quick
@given(data=st.data())
def test_simple_engines_take_any_space_and_history(name, data):
    space = data.draw(spaces())
    trials, pending = data.draw(histories(space))
    n, seed = data.draw(st.integers(1, 5)), data.draw(st.integers(0, 2**31))
    check(build_engine(name), space, Objective.from_dict(OBJECTIVES["one goal"]), trials, pending, n, seed)


@pytest.mark.parametrize("examples", [2, pytest.param(8, marks=pytest.mark.slow)])
@pytest.mark.parametrize("wanted", OBJECTIVES)
def test_the_models_take_any_space_and_history(wanted, examples):
    objective = Objective.from_dict(OBJECTIVES[wanted])

    @settings(quick, max_examples=examples)
    @given(data=st.data())
    def holds(data):
        space = data.draw(spaces())
        trials, pending = data.draw(histories(space))
        check(build_engine("gp"), space, objective, trials, pending, data.draw(st.integers(1, 3)), 0)

    holds()


@pytest.mark.parametrize("examples", [4, pytest.param(25, marks=pytest.mark.slow)])
def test_every_model_and_acquisition_takes_any_space_and_history(examples):
    @settings(quick, max_examples=examples)
    @given(data=st.data())
    def holds(data):
        space = data.draw(spaces())
        trials, pending = data.draw(histories(space))
        section = {
            "use": "gp",
            "surrogate": data.draw(st.sampled_from(sorted(SURROGATES))),
            "acquisition": data.draw(st.sampled_from(sorted(ACQUISITIONS))),
            "initial": data.draw(st.integers(1, 4)),
        }
        objective = Objective.from_dict(OBJECTIVES[data.draw(st.sampled_from(sorted(OBJECTIVES)))])
        n = data.draw(st.sampled_from([1, 2, 12]))
        check(build_engine(section), space, objective, trials, pending, n, data.draw(st.integers(0, 99)))

    holds()


@pytest.mark.parametrize("examples", [3, pytest.param(25, marks=pytest.mark.slow)])
def test_any_history_gets_an_account_of_the_model(examples):
    @settings(quick, max_examples=examples)
    @given(data=st.data())
    def holds(data):
        space = data.draw(spaces())
        trials, _ = data.draw(histories(space))
        objective = Objective.from_dict(OBJECTIVES[data.draw(st.sampled_from(sorted(OBJECTIVES)))])
        engine = build_engine("gp")
        found = assess(engine, space, objective, trials, 0)
        assert found == assess(engine, space, objective, trials, 0)
        json.dumps(found.to_dict(), allow_nan=False)
        assert isinstance(model_quality(engine, space, objective, trials), dict)

    holds()


LARGE = Space(
    (
        *(Int(f"n{i}", 0, 30) for i in range(5)),
        Float("x", 0.001, 10.0, scale="log10"),
        Float("y", -1.0, 1.0, when="n0 > 3"),
        Categorical("c", ("a", "b", "c", "d"), when="n0 > 3"),
        *(Bool(f"b{i}", when="c == 'a' or n1 == n2") for i in range(9)),
    ),
    ("n0 + n1 <= 40", "n2 == n3 or x < 1"),
)


@settings(quick, max_examples=10)
@given(data=st.data())
def test_a_space_too_large_to_enumerate_takes_any_history(data):
    assert LARGE.table() is None
    trials, pending = data.draw(histories(LARGE))
    objective = Objective.from_dict(OBJECTIVES[data.draw(st.sampled_from(sorted(OBJECTIVES)))])
    n = data.draw(st.sampled_from([1, 2, 12]))
    assert len(check(build_engine("gp"), LARGE, objective, trials, pending, n, 0)) == n


@pytest.mark.parametrize("style", ["equal", "usual", "extreme"])
def test_one_configuration_three_hundred_times_is_survived(style):
    space = Space((Int("n", 0, 30), Float("x", 0.0, 1.0), Bool("b")))
    config = space.default_config
    rng = np.random.default_rng(0)
    trials = []
    for i in range(300):
        metrics = {"speed": Estimate(value_of(style, i, rng.random())), "time": Estimate(0.1)}
        again = config if i else space.sample(1, rng)[0]
        trials.append(
            Trial(i, Suggestion(again, Reason.EXPLOIT), TrialState.COMPLETED, 1, Measurement(metrics))
        )
    objective = Objective.from_dict(OBJECTIVES["one goal"])
    assert len(check(build_engine("gp"), space, objective, trials, [], 1, 0)) == 1


@pytest.mark.parametrize("name", ["random", "sobol", "gp"])
@settings(quick, max_examples=8)
@given(data=st.data())
def test_a_small_space_is_searched_to_its_end(name, data):
    space = data.draw(spaces())
    table = space.table()
    assume(table is not None and len(table) <= 24 and all(p.discrete for p in space.parameters))
    engine = build_engine(name)
    objective = Objective.from_dict(OBJECTIVES["one goal"])
    trials = []
    while len(trials) <= len(table):
        asked = engine.ask(space, objective, trials, [], 1, 0)
        if not asked:
            break
        state, result = measurement("measured", {"speed": Estimate(1.0 + len(trials) % 5)})
        trials.append(Trial(len(trials), asked[0], state, 1, result))
    assert len({config_key(t.config) for t in trials}) == len(trials) == len(table)


@quick
@given(st.sampled_from([float("nan"), float("inf"), float("-inf")]), st.booleans())
def test_what_is_no_number_never_becomes_a_measurement(number, as_error):
    with pytest.raises(SpecError, match="finite"):
        Estimate(1.0, number) if as_error else Estimate(number)
