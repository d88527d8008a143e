"""Values that are computed, not searched."""

import numpy as np
import pytest

from autotune.core import expression, grammar
from autotune.core.space import Space
from autotune.errors import SpecError

LENGTHS = {
    "prompt": {"type": "ordinal", "values": [512, 1024]},
    "output": {"type": "ordinal", "values": [128, 256]},
    "draft": {"type": "int", "low": 0, "high": 3},
    "margin": {"type": "int", "low": 1, "high": 2, "when": "draft > 0"},
}


def space_of(derived, constraints=(), **changes):
    return Space.from_dict({
        "parameters": {**LENGTHS, **changes}, "derived": derived, "constraints": list(constraints)
    })  # fmt: skip


def test_configurations_carry_derived_values():
    space = space_of({"max_model_len": "prompt + output", "doubled": "2 * max_model_len", "fixed": "4096"})
    config = space.validate({"prompt": 1024, "output": 128, "draft": 0})
    assert config == {"prompt": 1024, "output": 128, "draft": 0, "max_model_len": 1152, "doubled": 2304,
                      "fixed": 4096}  # fmt: skip
    assert type(config["max_model_len"]) is int
    for sampled in space.sample(20, np.random.default_rng(0)):
        assert sampled["max_model_len"] == sampled["prompt"] + sampled["output"]
    assert space.default_config["max_model_len"] == 640
    assert all("doubled" in c for c in space.neighbours(config))
    assert space.validate({**config, "max_model_len": 7}) == config  # what was written there does not count


def test_derived_values_are_not_searched():
    plain, computed = space_of({}), space_of({"total": "prompt + output"})
    assert plain.count() == computed.count()
    assert computed.names == plain.names
    assert computed.fingerprint != plain.fingerprint


def test_constraints_conditions_and_resources_may_mention_derived_values():
    space = space_of(
        {"total": "prompt + output"}, ["total <= 1152"],
        extra={"type": "bool", "when": "total > 1000"},
    )  # fmt: skip
    table = space.table()
    configs = table.configs(range(len(table)))
    assert max(c["total"] for c in configs) == 1152
    assert all(("extra" in c) == (c["total"] > 1000) for c in configs)
    assert "total" in space.to_dict()["constraints"][0]
    assert Space.from_dict(space.to_dict()) == space


def test_a_value_derived_from_an_inactive_parameter_is_inactive():
    space = space_of({"slack": "margin * 16"})
    assert "slack" not in space.validate({"prompt": 512, "output": 128, "draft": 0})
    assert space.validate({"prompt": 512, "output": 128, "draft": 1, "margin": 2})["slack"] == 32


@pytest.mark.parametrize(
    ("derived", "message", "path"),
    [
        ({"total": "prompt +"}, "expected a name or a number", ("derived", "total")),
        ({"total": "prompt + outptu"}, "unknown parameter 'outptu'", ("derived", "total")),
        ({"prompt": "output"}, "'prompt' is a parameter already", ("derived", "prompt")),
        ({"a": "b + 1", "b": "a + 1"}, "cyclic derived values: a -> b -> a", ("derived", "a")),
        ({"max": "output"}, "'max' is not a derived value's name", ("derived", "max")),
        ({"total": "prompt + 'x'"}, "needs a number", ("derived", "total")),
    ],
)
def test_a_wrong_derived_value_is_refused_where_it_stands(derived, message, path):
    with pytest.raises(SpecError, match=message) as caught:
        space_of(derived)
    assert caught.value.path == path


def test_text_and_truth_can_be_derived():
    space = space_of({"backend": "'flash'", "long": "prompt > 600"})
    config = space.validate({"prompt": 1024, "output": 128, "draft": 0})
    assert config["backend"] == "flash"
    assert config["long"] is True


CHAINS = {
    "doubled": lambda i: f"d{i - 1} + d{i - 1}",
    "longer": lambda i: f"d{i - 1} + 1",
    "alternating": lambda i: f"d{i - 1} {'+*'[i % 2]} 2",
    "of truths": lambda i: f"d{i - 1} < d{i - 1}" if i == 1 else f"d{i - 1} and d{i - 1}",
    "of calls": lambda i: f"max(d{i - 1}, d{i - 1}, d{i - 1})",
}


def chain(kind, n, first="prompt + 1"):
    return {"d0": first, **{f"d{i}": CHAINS[kind](i) for i in range(1, n)}}


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        pytest.param(kind, order, marks=() if (i % 2 == 0) is (order > 0) else pytest.mark.slow)
        for i, kind in enumerate(CHAINS)
        for order in (1, -1)
    ],
)
def test_a_chain_that_stands_for_too_much_is_refused_where_it_passes_the_limit(kind, order):
    derived = dict(list(chain(kind, 2_000).items())[::order])
    with pytest.raises(SpecError, match=r"names, numbers and operators .* allowed: at most 1,000") as caught:
        space_of(derived)
    assert caught.value.path[0] == "derived"


def test_what_mentions_a_derived_value_counts_what_it_stands_for():
    derived = chain("doubled", 8)
    assert space_of(derived, ["d7 > 4"]).table() is not None
    with pytest.raises(SpecError, match="'d7 \\+ d7 < d7' stands for") as caught:
        space_of(derived, ["d7 + d7 < d7"])
    assert caught.value.path == ("constraints", 0)
    with pytest.raises(SpecError, match="'d7 \\+ d7 < d7' stands for") as caught:
        space_of(derived, extra={"type": "bool", "when": "d7 + d7 < d7"})
    assert caught.value.path == ("parameters", "extra", "when")


@pytest.mark.parametrize("kind", ["doubled", "of calls"])
def test_a_shared_part_is_evaluated_once(kind, monkeypatch):
    seen = []
    rule = expression._evaluate
    monkeypatch.setattr(
        expression, "_evaluate", lambda node, *a, **k: seen.append(node) or rule(node, *a, **k)
    )
    n = 8 if kind == "doubled" else 6
    space = space_of(chain(kind, n))
    seen.clear()
    found = space.validate({"prompt": 512, "output": 128, "draft": 0})
    assert found[f"d{n - 1}"] == 513 * (2 ** (n - 1) if kind == "doubled" else 1)
    assert len(seen) == n - 1 + 3 + 3  # each derived value, `prompt + 1`, and the condition `draft > 0`
    seen.clear()
    space.derived_expressions[f"d{n - 1}"].value({"prompt": 512})
    assert len(seen) == n - 1 + 3


def test_a_long_chain_is_no_deeper_than_the_stack():
    space = space_of(chain("longer", 400))
    assert space.validate({"prompt": 512, "output": 128, "draft": 0})["d399"] == 513 + 399
    assert len(space.fingerprint) == 24


def test_what_was_found_for_a_part_is_dropped_after_its_last_use():
    class Found:
        alive = most = 0

        def __init__(self):
            Found.alive += 1
            Found.most = max(Found.most, Found.alive)

        def __del__(self):
            Found.alive -= 1

    tree = grammar.parse(" + ".join(["a"] * 50))
    grammar.fold(tree, lambda node, parts: Found())
    assert grammar.size_of(tree) == 99
    assert Found.most <= 4  # two operands and their sum, and a name
