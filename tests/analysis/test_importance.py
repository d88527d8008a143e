"""Importances that are known by arithmetic: of functions without noise, fitted by the model."""

import math
from itertools import permutations

import numpy as np
import pytest

import autotune
from autotune.analysis.effects import effect, pair_effect
from autotune.analysis.importance import importance
from autotune.errors import SpecError

GRID = np.linspace(0.0, 1.0, 33)


def additive(c):
    return 4.0 * c["a"] + 2.0 * c["b"] + 1.0 * c["c"]


def interacting(c):
    return (2.0 * c["a"] - 1.0) * (2.0 * c["b"] - 1.0) + 0.0 * c["c"]


def ishigami(c):
    x, y, z = (math.pi * (2.0 * c[name] - 1.0) for name in "abc")
    return math.sin(x) + 7.0 * math.sin(y) ** 2 + 0.1 * z**4 * math.sin(x)


def sobol_g(c):
    weighed = zip("abc", (0, 1, 9), strict=True)
    return math.prod((abs(4 * c[name] - 2) + weight) / (1 + weight) for name, weight in weighed)


def cube(names="abc"):
    return autotune.Space.from_dict(
        {"parameters": {name: {"type": "float", "low": 0.0, "high": 1.0} for name in names}}
    )


def study_of(function, space, trials, *, seed=0, engine="random", objective=None):
    """A study that has measured some random configurations; metrics are what the function returns."""
    objective = objective or autotune.Objective.from_dict({"minimize": "loss"})
    study = autotune.Study(space, objective, engine=engine, seed=seed)
    for config in space.sample(trials, np.random.default_rng(seed)):
        found = function(config)
        study.add(config, found if isinstance(found, dict) else {"loss": found})
    return study


def exact_shapley(function, names="abc"):
    """Shapley effects and main effects over the grid that the space has, by summing over all of it."""
    axes = np.meshgrid(*[GRID] * len(names), indexing="ij")
    values = np.vectorize(lambda *v: function(dict(zip(names, v, strict=True))))(*axes)

    def explained(known):
        rest = tuple(i for i in range(len(names)) if i not in known)
        return values.mean(axis=rest).var() if rest else values.var()

    effects = np.zeros(len(names))
    orders = list(permutations(range(len(names))))
    for order in orders:
        for k, i in enumerate(order):
            effects[i] += explained(order[: k + 1]) - explained(order[:k])
    total = values.var()
    alone = [explained((i,)) / total for i in range(len(names))]
    return dict(zip(names, effects / len(orders) / total, strict=True)), dict(zip(names, alone, strict=True))


@pytest.mark.parametrize(
    ("function", "trials"),
    [
        (additive, 25),
        (interacting, 40),
        (ishigami, 150),
        pytest.param(sobol_g, 120, marks=pytest.mark.slow),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_importance_is_that_which_arithmetic_gives(function, trials):
    shares, alone = exact_shapley(function)
    found = importance(study_of(function, cube(), trials).view)
    assert sum(each.share.value for each in found.parameters) == pytest.approx(1.0)
    for each in found.parameters:
        assert each.share.value == pytest.approx(shares[each.name], abs=0.06)
        assert each.alone.value == pytest.approx(alone[each.name], abs=0.06)
        assert each.share.low - 0.02 <= shares[each.name] <= each.share.high + 0.02


def test_an_interaction_is_found_between_those_that_interact_and_an_irrelevant_parameter_has_none():
    found = importance(study_of(interacting, cube(), 40).view)
    by_name = {each.name: each for each in found.parameters}
    assert by_name["c"].share.value < 0.02
    assert by_name["a"].alone.value < 0.05 < by_name["a"].share.value
    assert set(found.pairs[0].names) == {"a", "b"}
    assert found.pairs[0].share.value > 0.85 > 0.1 > found.pairs[1].share.value


def test_few_trials_say_little_and_more_say_more():
    def widest(trials):
        found = importance(study_of(ishigami, cube(), trials).view)
        return max(each.share.high - each.share.low for each in found.parameters)

    assert widest(6) > 0.4 > 0.2 > widest(150)


class Sampled:
    """Functions whose shares are known: the first parameter has between a fifth and four fifths."""

    logarithm = {"loss": False}  # noqa: RUF012

    def values(self, metric, rows):
        part = np.sqrt(np.linspace(0.2, 0.8, 64))[:, None]
        a, b = rows[:, 0] / 32, rows[:, 1] / 32
        return part * a + np.sqrt(1 - part**2) * b


def test_an_interval_covers_what_the_sampled_functions_miss():
    """The more trials, the more of the error is that no function is as the model supposes."""

    def width(trials):
        view = study_of(additive, cube(), trials).view
        view.__dict__["model"] = Sampled()
        share = {each.name: each.share for each in importance(view).parameters}["a"]
        assert share.value == pytest.approx(0.5, abs=0.02)
        return share.high - share.low

    few, some, many = (width(trials) for trials in (5, 20, 30))
    assert few == pytest.approx(0.57 * math.sqrt(1 + 5 / 60), rel=0.1)
    assert some / few == pytest.approx(math.sqrt(80 / 65), rel=0.01)
    assert many / few == pytest.approx(math.sqrt(90 / 65), rel=0.01)


def test_importance_needs_no_engine_with_a_model():
    by_random = importance(study_of(additive, cube(), 25, engine="random").view)
    by_gp = importance(study_of(additive, cube(), 25, engine="gp").view)
    assert by_random == by_gp


class Counted:
    """A model that counts the configurations it is asked for."""

    def __init__(self, model):
        self.logarithm, self._model, self.rows = model.logarithm, model, 0

    def values(self, metric, rows):
        self.rows += len(rows)
        return self._model.values(metric, rows)


def test_the_model_is_asked_for_a_bounded_number_of_configurations():
    view = study_of(additive, cube("abcde"), 24).view
    view.__dict__["model"] = counted = Counted(view.model)
    assert importance(view).names[0] == "a"
    assert counted.rows <= 8_500
    before = counted.rows
    effect(view, "a")
    assert counted.rows - before <= 1_300


def test_equal_studies_give_equal_importances():
    first, second = (importance(study_of(ishigami, cube(), 20).view) for _ in range(2))
    assert first == second


def test_a_metric_of_a_limit_has_its_own_importance():
    objective = autotune.Objective.from_dict({"minimize": "loss", "limits": ["heat <= 3"]})
    study = study_of(lambda c: {"loss": c["a"] + 1, "heat": 5 * c["b"] + 1}, cube(), 25, objective=objective)
    assert importance(study.view).names[0] == "a"
    assert importance(study.view, "heat").names[0] == "b"


def test_ties_are_credited_to_both_that_are_tied():
    """With b == a only one of them is news: each has half of what either explains."""
    space = autotune.Space.from_dict(
        {
            "parameters": {
                "a": {"type": "int", "low": 0, "high": 7},
                "b": {"type": "int", "low": 0, "high": 7},
                "c": {"type": "int", "low": 0, "high": 7},
            },
            "constraints": ["a == b"],
        }
    )
    found = importance(study_of(lambda c: c["a"] + 0.5 * c["c"] + 1.0, space, 40).view)
    by_name = {each.name: each for each in found.parameters}
    assert by_name["a"].share.value == pytest.approx(by_name["b"].share.value, abs=0.05)
    assert by_name["a"].alone.value == pytest.approx(0.8, abs=0.1)


def test_a_parameter_counts_only_where_it_is_active():
    space = autotune.Space.from_dict(
        {
            "parameters": {
                "draft": {"type": "bool"},
                "length": {"type": "int", "low": 1, "high": 8, "when": "draft"},
                "other": {"type": "int", "low": 1, "high": 8},
            }
        }
    )
    study = study_of(lambda c: 10.0 + c.get("length", 0), space, 50)
    found = importance(study.view)
    assert {each.name for each in found.parameters} == {"draft", "length", "other"}
    assert found.names[2] == "other"
    assert found.parameters[2].share.value < 0.03
    shown = effect(study.view, "length")
    assert shown.average[-1].value is None
    assert shown.average[-1].mean == pytest.approx(10.0, abs=0.5)


def test_the_effect_is_the_mean_over_allowed_configurations_and_holds_the_truth():
    study = study_of(lambda c: 5.0 + additive(c), cube(), 30)
    found = effect(study.view, "a")
    assert len(found.points) == 30
    assert [level.value for level in found.average] == [*cube()["a"].levels]
    for level in found.average:  # of 5 + 4a + 2b + c with b and c between 0 and 1
        assert level.low <= level.mean <= level.high
        assert level.mean == pytest.approx(6.5 + 4.0 * level.value, rel=0.05)
    best = study.view.best.config
    for level in found.slice:
        assert level.mean == pytest.approx(5.0 + additive({**best, "a": level.value}), rel=0.05)


def test_a_pair_shows_only_what_is_allowed_together():
    space = autotune.Space.from_dict(
        {
            "parameters": {
                "tensor": {"type": "ordinal", "values": [1, 2, 4]},
                "pipeline": {"type": "ordinal", "values": [1, 2, 4]},
            },
            "constraints": ["tensor * pipeline <= 4"],
        }
    )
    study = study_of(lambda c: 1.0 * c["tensor"] + 10.0 * c["pipeline"], space, 6)
    found = pair_effect(study.view, "tensor", "pipeline")
    allowed = [[a * b <= 4 for b in (1, 2, 4)] for a in (1, 2, 4)]
    assert np.isfinite(found.mean).tolist() == allowed
    assert found.mean[0, 2] == pytest.approx(41.0, rel=0.1)


def test_nothing_is_said_of_nothing():
    study = autotune.Study(cube(), autotune.Objective.from_dict({"minimize": "loss"}))
    assert importance(study.view) is None
    study.add(study.space.default_config, {"loss": 1.0})
    assert importance(study.view) is None
    same = study_of(lambda _: 1.0, cube(), 10)
    assert importance(same.view) is None


def test_a_metric_that_the_study_does_not_have_is_one_clear_error():
    study = study_of(additive, cube(), 5)
    with pytest.raises(SpecError) as error:
        importance(study.view, "los")
    assert str(error.value) == "the study has no metric 'los'; allowed: loss\n  did you mean 'loss'?"
