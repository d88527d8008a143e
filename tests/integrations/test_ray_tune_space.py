"""Search spaces of Ray Tune as ours and back, each distribution of them."""

import json

import numpy as np
import pytest
from ray import tune

import autotune
from autotune.engine.untried import random_untried
from autotune.errors import SpecError
from autotune.integrations.ray_tune import AutotuneSearch, TuneSpace, read_space, write_space

TUNED = {
    "uniform": tune.uniform(-1.0, 5.0),
    "quniform": tune.quniform(0.0, 1.0, 0.25),
    "loguniform": tune.loguniform(1e-4, 1e-1),
    "qloguniform": tune.qloguniform(1.0, 64.0, 1.0),
    "randint": tune.randint(1, 9),
    "qrandint": tune.qrandint(0, 12, 4),
    "lograndint": tune.lograndint(1, 65),
    "randn": tune.randn(1.0, 2.0),
    "nested": {"rate": tune.choice([1, 2, 4]), "constant": "kept"},
    "listed": [1, tune.uniform(2, 3), {"deep": tune.choice(["a", "b"])}],
    "odd": tune.choice(["none", None, [1, 2], max, "none"]),
    "kind": tune.choice([{"name": "tree", "depth": tune.randint(1, 5)}, {"name": "line"}]),
}


@pytest.mark.parametrize(
    ("domain", "entry"),
    [
        (tune.uniform(-1.0, 5.0), {"type": "float", "low": -1.0, "high": 5.0}),
        (tune.quniform(0.0, 1.0, 0.25), {"type": "float", "low": 0.0, "high": 1.0, "step": 0.25}),
        (tune.loguniform(1e-4, 0.1), {"type": "float", "low": 1e-4, "high": 0.1, "scale": "log10"}),
        (tune.qloguniform(1.0, 64.0, 1.0), {"type": "float", "scale": "log10", "step": 1.0}),
        (tune.randint(1, 9), {"type": "int", "low": 1, "high": 8}),
        (tune.qrandint(0, 12, 4), {"type": "int", "low": 0, "high": 12, "step": 4}),
        (tune.lograndint(1, 65), {"type": "int", "low": 1, "high": 64, "scale": "log2"}),
        (tune.qlograndint(4, 64, 4), {"type": "int", "low": 4, "high": 64, "scale": "log2", "step": 4}),
        (tune.randn(1.0, 2.0), {"type": "float", "prior": {"around": 1.0, "spread": 2.0}}),
        (tune.qrandn(0.0, 1.0, 0.5), {"type": "float", "step": 0.5, "low": -3.0, "high": 3.0}),
        (tune.choice([4, 1, 2]), {"type": "ordinal", "values": [1, 2, 4]}),
        (tune.choice([True, False]), {"type": "bool"}),
        (tune.choice(["a", "b"]), {"type": "categorical", "values": ["a", "b"]}),
        (tune.grid_search([1, 2]), {"type": "ordinal", "values": [1, 2]}),
    ],
)
def test_each_distribution_has_its_parameter(domain, entry):
    (parameter,) = read_space({"x": domain}).space
    found = parameter.to_dict()
    assert {key: found[key] for key in entry} == entry


def test_configurations_keep_shape_constants_and_objects_there_and_back():
    found = read_space(TUNED)
    assert set(found.space.names) >= {"nested_rate", "listed_1", "listed_2_deep", "kind_depth"}
    for config in random_untried(found.space, (), 60, np.random.default_rng(0)):
        given = found.config(config)
        assert given["nested"] == {"rate": config["nested_rate"], "constant": "kept"}
        assert given["listed"][0] == 1
        assert given["odd"] in ("none", None, [1, 2]) or given["odd"] is max
        assert given["kind"]["name"] == ("tree" if "depth" in given["kind"] else "line")
        assert found.values(given) == config
    assert found.values({"nested/rate": 4, "randint": 2})["nested_rate"] == 4  # as Tune flattens them


def test_what_is_not_in_the_space_is_refused():
    found = read_space(TUNED)
    with pytest.raises(SpecError, match="nested/other"):
        found.values({"nested": {"other": 1}})
    with pytest.raises(SpecError, match=r"odd cannot be 'gone'"):
        found.values({"odd": "gone"})
    with pytest.raises(SpecError, match="must be a mapping"):
        found.values([1])


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"a": {"x": tune.sample_from(lambda spec: 1)}}, "a/x: tune.sample_from has no equivalent"),
        ({"x": tune.choice([])}, "x: tune.choice needs a list"),
        ({"x": tune.randint(3, 3)}, "x: tune.randint from 3 to 2 has no values"),
        ({}, "nothing varies"),
    ],
)
def test_what_has_no_equivalent_is_said(space, said):
    with pytest.raises(SpecError, match=said):
        read_space(space)


def test_a_space_is_kept_as_json_unless_it_holds_objects():
    found = read_space({key: domain for key, domain in TUNED.items() if key != "odd"})
    again = TuneSpace.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.space == found.space
    config = found.space.default_config
    assert again.config(config) == found.config(config)
    with pytest.raises(TypeError):
        read_space(TUNED).to_dict()


def test_a_space_of_ours_becomes_one_of_tunes_and_what_tune_lacks_is_said():
    space = autotune.Space(
        [
            autotune.Float("share", 0.0, 1.0),
            autotune.Float("rate", 1e-4, 0.1, scale="log10"),
            autotune.Float("step", 0.5, 2.0, step=0.5),
            autotune.Int("size", 1, 64, scale="log2"),
            autotune.Int("power", 1, 64, powers_of=2),
            autotune.Int("even", 2, 8, step=2),
            autotune.Int("odd", 1, 7, step=2),
            autotune.Bool("draft"),
            autotune.Int("length", 1, 4, when="draft == true"),
            autotune.Categorical("kind", ("a", "b")),
        ],
        constraints=("size * power <= 256",),
    )
    found, notes = write_space(space)
    drawn = [{name: domain.sample() for name, domain in found.items()} for _ in range(40)]
    for values in drawn:
        assert all(space[name].coerce(value) == pytest.approx(value, rel=1e-9)
                   for name, value in values.items() if name not in ("kind",))  # fmt: skip
    assert {values["odd"] for values in drawn} <= {1, 3, 5, 7}
    assert {values["power"] for values in drawn} <= {1, 2, 4, 8, 16, 32, 64}
    assert len(notes) == 2
    assert "constraint 'size * power <= 256'" in notes[0]
    assert "condition of 'length' (draft == true)" in notes[1]
    search = AutotuneSearch(space, metric="loss", mode="min", engine="random")
    for i in range(20):  # as it is, it is searched with its constraint and its condition
        config = search.suggest(str(i))
        assert config["size"] * config["power"] <= 256
        assert ("length" in config) == config["draft"]


def test_a_space_is_written_by_its_name_too():
    assert write_space("vllm")[0].keys() == set(autotune.load_space("vllm").names)
