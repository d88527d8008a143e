"""Listed values keep their types: in configurations, keys, fingerprints, constraints and priors."""

import itertools
import json

import pytest

import autotune
from autotune.core.parameter import Categorical, Ordinal, Prior
from autotune.core.scalar import PlainText
from autotune.core.space import Space
from autotune.core.trial import config_key
from autotune.errors import SpecError

ALIKE = (1, True, "1", "true", "True", 0, False, 0.5, "0.5")


@pytest.mark.parametrize("kind", [Categorical, Ordinal])
def test_values_that_are_equal_to_python_are_told_apart(kind):
    parameter = kind("m", ALIKE)
    assert parameter.levels == ALIKE
    assert [type(level) for level in parameter.levels] == [type(value) for value in ALIKE]
    assert [parameter.level_of(value) for value in ALIKE] == list(range(len(ALIKE)))
    space = Space((parameter,))
    table = space.table()
    assert [table.row(config) for config in table.configs(range(len(table)))] == list(range(len(ALIKE)))
    assert len({config_key(config) for config in table.configs(range(len(table)))}) == len(ALIKE)
    for value in ALIKE:
        found = space.validate(json.loads(json.dumps({"m": value})))["m"]
        assert (found, type(found)) == (value, type(value))
    again = Space.from_dict(json.loads(json.dumps(space.to_dict())))
    assert again == space
    assert again["m"].levels == ALIKE


def test_spaces_of_other_types_are_other_spaces():
    kinds = [(1, 2), ("1", "2"), (True, 2), (1.0, 2.0), (True, False), ("true", "false")]
    spaces = [Space((Categorical("m", values),)) for values in kinds]
    for one, other in itertools.combinations(spaces, 2):
        assert one.fingerprint != other.fingerprint


def test_a_space_of_text_has_the_fingerprint_that_it_always_had():
    assert Space((Categorical("m", ("ngram", "true", "32")),)).fingerprint == "e78a23eb261cead04bcf3f5b"


def test_a_file_and_python_agree():
    text = ["auto", "16", "0.5", "true"]
    from_file = Space.from_dict({"m": {"type": "categorical", "values": [PlainText(t) for t in text]}})
    assert from_file == Space((Categorical("m", ("auto", 16, 0.5, True)),))
    quoted = Space.from_dict({"m": {"type": "categorical", "values": text}})
    assert quoted == Space((Categorical("m", tuple(text)),))
    assert Ordinal("m", (True, False)).levels == (True, False)
    assert Ordinal("m", ("auto", 16)).levels == ("auto", 16)
    assert Ordinal("m", ("4", "8")).levels == (4, 8)


def test_the_function_of_tune_is_given_the_values_of_the_space():
    seen = []

    def f(config):
        seen.append(config["m"])
        return {"val/loss": float(len(seen))}

    space = Space((Ordinal("m", (True, False, 1, "1")),))
    autotune.tune(space, f, {"minimize": "val/loss"}, trials=4)
    assert sorted(map(repr, seen)) == ["'1'", "1", "False", "True"]


def test_constraints_mention_numbers_beside_text_either_way():
    base = {
        "m": {"type": "categorical", "values": ["auto", 16, 32, True]},
        "n": {"type": "int", "low": 1, "high": 2},
    }
    for constraint, kept in (
        ("m == 32 or n == 1", {"auto": {1}, 16: {1}, 32: {1, 2}, "true": {1}}),
        ("m != '16' or n == 1", {"auto": {1, 2}, 16: {1}, 32: {1, 2}, "true": {1, 2}}),
        ("m == true or n == 2", {"auto": {2}, 16: {2}, 32: {2}, "true": {1, 2}}),
    ):
        space = Space.from_dict({"parameters": base, "constraints": [constraint]})
        found = {}
        for config in space.table().configs(range(len(space.table()))):
            found.setdefault("true" if config["m"] is True else config["m"], set()).add(config["n"])
            assert space.constraint_expressions[0].holds(config)
        assert found == kept
    alike = Space.from_dict({"parameters": {"m": {"type": "categorical", "values": [1, True]}},
                             "constraints": ["m == 1"]})  # fmt: skip
    assert alike.table().configs([0])[0]["m"] is not True
    assert len(alike.table()) == 1
    with pytest.raises(SpecError, match="needs a number, found the mixed 'm'"):
        Space.from_dict({"parameters": base, "constraints": ["m > 3"]})


def test_a_prior_weighs_the_value_that_it_names():
    parameter = Categorical("m", (1, True, "auto"), prior=Prior(weights=((True, 3.0), ("auto", 1.0))))
    assert parameter.belief() == pytest.approx((0.2, 0.6, 0.2))
    read = Space.from_dict({"m": {"type": "categorical", "values": [16, True, "auto"],
                                  "prior": {"weights": {"16": 1, "true": 3, "auto": 1}}}})  # fmt: skip
    assert read["m"].belief() == pytest.approx((0.2, 0.6, 0.2))


def test_equal_numbers_are_one_value():
    with pytest.raises(SpecError, match="duplicate value"):
        Categorical("m", (1, 1.0))
