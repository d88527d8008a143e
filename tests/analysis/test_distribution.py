"""Draws over the allowed configurations: even, conditional, exact where parameters are tied."""

from collections import Counter

import numpy as np
import pytest

import autotune
from autotune.analysis.distribution import MOST_ROWS, AllowedDistribution

TIED = autotune.Space.from_dict(
    {
        "parameters": {
            "a": {"type": "int", "low": 0, "high": 3},
            "b": {"type": "int", "low": 0, "high": 3},
            "c": {"type": "categorical", "values": ["x", "y"], "when": "a > 0"},
            "free": {"type": "int", "low": 0, "high": 4},
        },
        "constraints": ["a + b <= 4"],
    }
)
LISTED = autotune.Space.from_dict(
    {"parameters": {"a": {"type": "int", "low": 0, "high": 3}, "b": {"type": "int", "low": 0, "high": 3}}},
    configurations=[{"a": 0, "b": 0}, {"a": 1, "b": 3}, {"a": 3, "b": 1}],
)


def shares(rows):
    counts = Counter(map(tuple, rows.tolist()))
    return {row: count / len(rows) for row, count in counts.items()}


@pytest.mark.parametrize("space", [TIED, LISTED], ids=["tied", "listed"])
def test_every_allowed_configuration_weighs_the_same(space):
    rows = AllowedDistribution(space).draw(40_000, np.random.default_rng(0))
    allowed = {tuple(row) for row in space.table().indices.tolist()}
    found = shares(rows)
    assert set(found) == allowed
    assert max(found.values()) < 1.3 / len(allowed)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 1, 0, 3), (3, 1, 2, 0)])
def test_every_step_of_a_walk_is_an_allowed_configuration_that_knows_what_it_learned(order):
    distribution = AllowedDistribution(TIED)
    walks = distribution.walks(order, 8_000, np.random.default_rng(0))
    allowed = {tuple(row) for row in TIED.table().indices.tolist()}
    for k in range(5):
        step = walks[:, k]
        assert {tuple(row) for row in step.tolist()} <= allowed
        known = list(order[:k])
        assert (step[:, known] == walks[:, -1][:, known]).all()
        for i in range(4):  # each step by itself is an even draw
            wanted = np.bincount(TIED.table().indices[:, i] + 1, minlength=6) / len(TIED.table())
            assert np.abs(np.bincount(step[:, i] + 1, minlength=6) / len(step) - wanted).max() < 0.03


def test_given_a_value_the_others_are_drawn_from_what_it_allows():
    rows = AllowedDistribution(TIED).draw_with({0: 3}, 500, np.random.default_rng(0))
    assert set(rows[:, 0]) == {3}
    assert set(rows[:, 1]) == {0, 1}
    assert not len(AllowedDistribution(TIED).draw_with({0: 3, 1: 3}, 5, np.random.default_rng(0)))


def test_a_number_on_a_logarithmic_scale_weighs_each_factor_alike():
    space = autotune.Space.from_dict(
        {"parameters": {"n": {"type": "int", "low": 1, "high": 1024, "scale": "log2"}}}
    )
    distribution = AllowedDistribution(space)
    values = np.array(space["n"].levels)[distribution.levels(0)]
    assert len(values) <= 33
    assert values[0] == 1
    assert values[-1] == 1024
    assert 10 <= np.median(values) <= 60


def test_a_block_too_large_to_list_is_thinned_and_stays_allowed():
    names = "pqrstu"
    space = autotune.Space.from_dict(
        {
            "parameters": {name: {"type": "float", "low": 0.0, "high": 1.0} for name in names},
            "constraints": [f"{' + '.join(names)} <= 3"],
        }
    )
    distribution = AllowedDistribution(space)
    (block,) = distribution.blocks
    assert 1000 < len(block.rows) <= MOST_ROWS
    for config in space.as_table(distribution.draw(50, np.random.default_rng(0))).configs(range(50)):
        assert space.explain(config) == []


def test_a_condition_on_a_derived_value_ties_what_it_is_made_of():
    space = autotune.Space.from_dict(
        {
            "parameters": {
                "a": {"type": "int", "low": 1, "high": 100},
                "b": {"type": "int", "low": 1, "high": 100},
                "c": {"type": "int", "low": 1, "high": 100, "when": "product > 50"},
            },
            "derived": {"product": "a * b"},
        }
    )
    rows = AllowedDistribution(space).draw(200, np.random.default_rng(0))
    for config in space.as_table(rows).configs(range(200)):
        assert ("c" in config) == (config["a"] * config["b"] > 50)
