"""Spaces: conditions, constraints, counting, sampling, default, fingerprint, explicit lists."""

import itertools
import time

import numpy as np
import pytest

from autotune.core.parameter import Bool, Categorical, Float, Int, Ordinal
from autotune.core.space import Space
from autotune.core.trial import config_key
from autotune.errors import SpecError

SERVING = Space(
    (
        Int("batch", 1, 16, powers_of=2, default=2),
        Int("draft_length", 0, 3),
        Categorical("draft_model", ("ngram", "eagle"), when="draft_length > 0"),
        Bool("eager", when="draft_model == 'eagle'"),
    ),
    ("draft_length == 0 or batch <= 4",),
)


def brute_force():
    found = []
    for batch, length in itertools.product((1, 2, 4, 8, 16), range(4)):
        if length and batch > 4:
            continue
        if not length:
            found.append({"batch": batch, "draft_length": 0})
            continue
        found.append({"batch": batch, "draft_length": length, "draft_model": "ngram"})
        found += [
            {"batch": batch, "draft_length": length, "draft_model": "eagle", "eager": eager}
            for eager in (False, True)
        ]
    return found


def test_the_table_holds_every_allowed_configuration_once():
    table = SERVING.table()
    found = [config_key(c) for c in table.configs(range(len(table)))]
    assert len(set(found)) == len(found)
    assert set(found) == {config_key(c) for c in brute_force()}
    assert str(SERVING.count()) == str(len(found))
    for row, config in enumerate(table.configs(range(len(table)))):
        assert SERVING.validate(config) == config
        assert table.row(config) == row


def test_values_of_inactive_parameters_are_dropped_and_active_ones_needed():
    wanted = {"batch": 8, "draft_length": 0}
    assert SERVING.validate({**wanted, "draft_model": "ngram", "eager": True}) == wanted
    with pytest.raises(SpecError, match="lacks 'draft_model'"):
        SERVING.validate({"batch": 1, "draft_length": 2})
    with pytest.raises(SpecError, match=r"breaks constraint 'draft_length == 0 or batch <= 4'"):
        SERVING.validate({"batch": 8, "draft_length": 1, "draft_model": "ngram"})
    with pytest.raises(SpecError, match="did you mean 'batch'"):
        SERVING.validate({"batsh": 8})


def test_samples_are_allowed_distinct_and_reach_everything():
    rng = np.random.default_rng(0)
    keys = {config_key(c) for c in SERVING.sample(len(SERVING.table()), rng)}
    assert len(keys) == len(SERVING.table())


def test_the_default_configuration_keeps_the_constraints_or_says_why_not():
    assert SERVING.default_config == {"batch": 2, "draft_length": 0}
    moved = Space((Int("a", 1, 4), Int("b", 1, 4)), ("a * b >= 6",)).default_config
    assert moved["a"] * moved["b"] >= 6
    with pytest.raises(SpecError, match="default configuration breaks"):
        _ = Space((Int("a", 1, 4, default=1), Int("b", 1, 4, default=1)), ("a * b >= 6",)).default_config
    with pytest.raises(SpecError, match="no configuration is allowed"):
        _ = Space((Int("a", 1, 4),), ("a > 9",)).default_config


def test_an_explicit_list_is_the_whole_space():
    data = {"parameters": {"a": {"type": "int", "low": 1, "high": 9}, "b": {"type": "bool"}}}
    listed = [{"a": 3, "b": True}, {"a": 5, "b": False}, {"a": 3, "b": True}]
    space = Space.from_dict(data, configurations=listed)
    assert str(space.count()) == "2"
    assert space.table().configs([0, 1]) == listed[:2] or len(space.table()) == 2
    assert space.default_config in listed
    with pytest.raises(SpecError, match="list of allowed configurations"):
        space.validate({"a": 4, "b": True})
    with pytest.raises(SpecError, match="a cannot be 99") as caught:
        Space.from_dict(data, configurations=[{"a": 99, "b": True}])
    assert caught.value.path[:2] == ("configurations", 0)
    assert Space.from_dict(space.to_dict()) == space
    assert Space.from_dict(data["parameters"], configurations=listed) == space


def test_the_fingerprint_is_of_the_meaning():
    a = Space((Int("x", 1, 4, description="one"), Bool("y")), ("x<=3 or y", "x > 0"))
    b = Space((Bool("y"), Int("x", 1, 4, description="two")), ("x > 0", "(x <= 3) or y"))
    assert a == b
    assert hash(a) == hash(b)
    assert a != Space((Int("x", 1, 5), Bool("y")), ("x<=3 or y", "x > 0"))
    assert a != Space((Int("x", 1, 4), Bool("y")), ("x<=2 or y", "x > 0"))


@pytest.mark.parametrize(
    ("parameters", "constraints", "message"),
    [
        ((), (), "at least one parameter"),
        ((Int("a", 1, 2), Int("a", 1, 2)), (), "duplicate parameter 'a'"),
        ((Int("a", 1, 2, when="b > 1"), Int("b", 1, 2, when="a > 1")), (), "cyclic conditions: a -> "),
        ((Int("a", 1, 2, when="a > 1"),), (), "cyclic conditions: a -> "),
        ((Int("a", 1, 2, when="c > 1"),), (), "unknown parameter 'c'"),
        ((Int("a", 1, 2, when="a + 1"),), (), "true or false"),
        ((Int("a", 1, 2),), ("a + 1",), "true or false"),
        ((Int("a", 1, 2),), ("a > 'x'",), "needs a number"),
    ],
)
def test_a_wrong_space_is_refused_with_its_reason(parameters, constraints, message):
    with pytest.raises(SpecError, match=message):
        Space(parameters, constraints)


def test_a_large_space_counts_and_samples_without_being_enumerated():
    parameters = tuple(Ordinal(f"p{i}", tuple(range(3))) for i in range(32))
    space = Space(parameters, ("p0 + p1 <= 2",))
    started = time.process_time()
    assert space.table() is None
    count = space.count()
    assert count.exact
    assert count.value == 6 * 3**30
    assert count.value == pytest.approx(3**32 * 6 / 9, rel=0.1)
    sample = space.sample(100, np.random.default_rng(0))
    assert all(c["p0"] + c["p1"] <= 2 for c in sample)
    assert time.process_time() - started < 20


def test_a_tight_space_is_enumerated_though_few_draws_would_hit_it():
    parameters = tuple(Int(f"p{i}", 0, 9) for i in range(6))
    constraints = tuple(f"p{i} == p{i + 1}" for i in range(5))
    space = Space(parameters, constraints)
    assert str(space.count()) == "10"
    assert len(space.sample(10, np.random.default_rng(0))) == 10


def test_continuous_parameters_keep_values_between_the_levels():
    space = Space((Float("x", 0.0, 1.0),))
    assert space.validate({"x": 0.12345}) == {"x": 0.12345}
    assert space.table().row({"x": 0.5}) is not None
