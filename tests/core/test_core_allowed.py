"""Counting, drawing and moving about in constrained spaces, against brute force and in the hard cases."""

import itertools
import math
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.core import allowed
from autotune.core.space import Space
from autotune.core.trial import config_key
from autotune.errors import SpecError


def brute_force(space):
    """Return the keys of every allowed configuration, one by one."""
    found = set()
    for values in itertools.product(*(p.levels for p in space)):
        try:
            found.add(config_key(space.validate(dict(zip(space.names, values, strict=True)))))
        except SpecError:
            continue
    return found


@st.composite
def spaces(draw):
    """Return a small space with conditions on conditions and constraints over what may be inactive."""
    parameters = {}
    for i in range(draw(st.integers(2, 5))):
        kind = draw(st.sampled_from(["int", "bool", "categorical"]))
        entry = {"type": kind}
        if kind == "int":
            entry |= {"low": 0, "high": draw(st.integers(1, 4))}
        elif kind == "categorical":
            entry["values"] = ["a", "b", "c"]
        if i and draw(st.booleans()):
            other = draw(st.sampled_from(sorted(parameters)))
            entry["when"] = {
                "int": f"{other} > {draw(st.integers(0, 2))}",
                "bool": other,
                "categorical": f"{other} != 'a'",
            }[parameters[other]["type"]]
        parameters[f"p{i}"] = entry
    ints = [name for name, entry in parameters.items() if entry["type"] == "int"]
    bools = [name for name, entry in parameters.items() if entry["type"] == "bool"]
    constraints = []
    if len(ints) > 1:
        constraints.append(f"{ints[0]} + {ints[1]} <= {draw(st.integers(0, 5))}")
    if ints and bools:
        constraints.append(f"not {bools[0]} or {ints[-1]} % 2 == 0")
    return Space.from_dict({"parameters": parameters, "constraints": constraints})


@settings(max_examples=60, deadline=None)
@given(spaces())
def test_counts_tables_draws_and_neighbours_agree_with_brute_force(space):
    wanted = brute_force(space)
    assert space.count() == allowed.Count(len(wanted), exact=True)
    table = space.table()
    assert {config_key(c) for c in table.configs(range(len(table)))} == wanted
    assert len(table) == len(wanted)
    assert list(map(tuple, table.indices)) == sorted(map(tuple, table.indices))
    rows = space.draw(64, np.random.default_rng(0))
    drawn = space.as_table(rows).configs(range(len(rows)))
    assert {config_key(c) for c in drawn} <= wanted
    for config in drawn[:3]:
        near = {config_key(c) for c in space.neighbours(config)}
        assert near <= wanted - {config_key(config)}
        changes = (table.indices != table.encode(config)).sum(axis=1)
        single = table.configs(np.flatnonzero(changes == 1))
        assert {config_key(c) for c in single} <= near


@settings(max_examples=30, deadline=None)
@given(spaces(), st.integers(0, 2**32 - 1))
def test_the_nearest_configuration_costs_least(space, seed):
    rng = np.random.default_rng(seed)
    wished = np.array([rng.integers(0, len(p.levels)) for p in space], np.int32)
    rows = space.table().indices
    found = space.constraint_graph.nearest(wished)
    costs = ((rows != wished) & (rows >= 0)).sum(axis=1)
    assert ((found != wished) & (found >= 0)).sum() == costs.min()


def test_draws_are_uniform_over_what_is_allowed_whatever_the_conditions_weigh():
    space = Space.from_dict({
        "parameters": {
            "draft": {"type": "bool"},
            "length": {"type": "int", "low": 1, "high": 9, "when": "draft"},
            "batch": {"type": "int", "low": 1, "high": 5},
        },
        "constraints": ["length * batch <= 10"],
    })  # fmt: skip
    n = 20_000
    rows = space.draw(n, np.random.default_rng(1))
    found = Counter(map(bytes, rows))
    count = space.count().value
    assert len(found) == count
    chi2 = sum((seen - n / count) ** 2 / (n / count) for seen in found.values())
    assert chi2 < count + 5 * math.sqrt(2 * count)


@pytest.mark.parametrize(
    ("parameters", "constraints", "count"),
    [
        # one in 10,000: eight digits that must be equal in pairs
        ({f"d{i}": {"type": "int", "low": 0, "high": 9} for i in range(8)},
         [f"d{2 * i} == d{2 * i + 1}" for i in range(4)], 10**4),
        # one in 18,000: six digits that add up to three
        ({f"d{i}": {"type": "int", "low": 0, "high": 9} for i in range(6)},
         ["d0 + d1 + d2 + d3 + d4 + d5 == 3"], 56),
        # a chain through forty parameters: no draw of them all at once would ever be ordered
        ({f"d{i}": {"type": "int", "low": 1, "high": 3} for i in range(40)},
         [f"d{i} <= d{i + 1}" for i in range(39)], 861),
        # products that must meet exactly, under a condition
        ({"on": {"type": "bool"}, "a": {"type": "int", "low": 1, "high": 400, "when": "on"},
          "b": {"type": "int", "low": 1, "high": 400}}, ["a * b == 720", "on"], 28),
    ],
    ids=["pairs", "sum", "chain", "product"],
)  # fmt: skip
def test_a_space_with_one_in_ten_thousand_allowed_is_counted_drawn_and_walked(parameters, constraints, count):
    space = Space.from_dict({"parameters": parameters, "constraints": constraints})
    assert space.count() == allowed.Count(count, exact=True)
    sample = space.sample(min(count, 50), np.random.default_rng(0))
    assert len({config_key(c) for c in sample}) == min(count, 50)
    for config in sample[:5]:
        assert not space.explain(config)
        near = space.neighbours(config)
        assert near
        assert all(not space.explain(c) for c in near)
    assert not space.explain(space.default_config)


def test_a_constraint_too_wide_to_solve_is_drawn_from_in_bounded_time():
    parameters = {f"d{i}": {"type": "int", "low": 0, "high": 9} for i in range(12)}
    names = " + ".join(parameters)
    # 12 digits that add up to 21 or less: 0.07 % of 10^12, by convolution
    space = Space.from_dict({"parameters": parameters, "constraints": [f"{names} <= 21"]})
    ways = np.array([1.0])
    for _ in range(12):
        ways = np.convolve(ways, np.ones(10))
    true = ways[:22].sum()
    count = space.count()
    assert not count.exact
    assert abs(count.value - true) < 4 * count.error * true
    assert count.error < 0.05
    sample = space.sample(20, np.random.default_rng(0))
    assert all(sum(c.values()) <= 21 for c in sample)
    assert all(sum(c.values()) <= 21 for c in space.neighbours(sample[0]))


def test_what_cannot_be_found_is_said_and_ends():
    parameters = {f"d{i}": {"type": "int", "low": 0, "high": 9} for i in range(12)}
    space = Space.from_dict({"parameters": parameters, "constraints": [" + ".join(parameters) + " == 108"]})
    with pytest.raises(SpecError, match="no allowed configuration was found in 4,194,304 random ones"):
        space.sample(1, np.random.default_rng(0))


def test_a_condition_too_wide_to_solve_places_its_parameter_last():
    space = Space.from_dict({
        "parameters": {
            "a": {"type": "int", "low": 1, "high": 4096},
            "b": {"type": "int", "low": 1, "high": 4096},
            "c": {"type": "int", "low": 1, "high": 50, "when": "a > b"},
            "d": {"type": "bool", "when": "c > 25"},
        },
        "constraints": ["c != 13"],
    })  # fmt: skip
    pairs = 4096 * 4095 // 2
    true = (4096**2 - pairs) + pairs * (24 + 25 * 2)
    count = space.count()
    assert not count.exact
    assert abs(count.value - true) < 4 * count.error * true
    for config in space.sample(200, np.random.default_rng(0)):
        assert space.validate(config) == config
        assert ("c" in config) == (config["a"] > config["b"])


def test_forty_parameters_and_a_million_billion_configurations_take_less_than_a_second(tmp_path):
    lines = ["system: {use: transformers, model: tiny}", "parameters:"]
    lines += [f"  p{i}: {{type: int, low: 1, high: {[2, 3, 4][i % 3]}}}" for i in range(40)]
    lines += ["constraints:"] + [f"  - p{i} * p{i + 1} * p{i + 2} <= 12" for i in range(0, 37, 3)]
    (tmp_path / "space.yaml").write_text("\n".join(lines))
    started = time.process_time()
    space = Space.from_yaml(tmp_path / "space.yaml")
    count = space.count()
    sample = space.sample(100, np.random.default_rng(0))
    seconds = time.process_time() - started
    assert count.exact
    assert count.value > 10**15
    assert len({config_key(c) for c in sample}) == 100
    assert seconds < 10  # 0.06 s where nothing else runs; tests do not judge speed


def test_shares_that_constraints_exclude():
    space = Space.from_dict({
        "parameters": {"a": {"type": "int", "low": 1, "high": 4}, "b": {"type": "int", "low": 1, "high": 4}},
        "constraints": ["a <= b", "a != 2"],
    })  # fmt: skip
    assert space.excluded() == [6 / 16, 4 / 16]


def test_an_empty_space_names_the_constraint_to_blame():
    parameters = {"a": {"type": "int", "low": 1, "high": 4}, "b": {"type": "bool"}}
    with pytest.raises(SpecError, match="without 'a > 9' some would be"):
        _ = Space.from_dict({"parameters": parameters, "constraints": ["b", "a > 9"]}).default_config
    with pytest.raises(SpecError, match=r"no configuration is allowed by the constraints$"):
        _ = Space.from_dict({"parameters": parameters, "constraints": ["a > 8", "a > 9"]}).default_config


def test_neighbours_in_a_list_of_configurations_are_the_nearest_of_it():
    listed = [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 2}, {"a": 3, "b": 3}]
    numbers = {"type": "int", "low": 1, "high": 3}
    space = Space.from_dict({"parameters": {"a": numbers, "b": numbers}}, configurations=listed)
    assert space.neighbours(listed[0]) == [listed[1]]
    assert space.neighbours(listed[3]) == listed[:3]
    assert len(space.draw(5, np.random.default_rng(0))) == 5
