"""Values that are computed, not searched."""

import numpy as np
import pytest

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
        ({"a": "b + 1", "b": "a + 1"}, "derived values form a circle: a, b", ("derived", "a")),
        ({"max": "output"}, "'max' is not a derived value's name", ("derived", "max")),
        ({"total": "prompt + 'x'"}, "needs a number", ("derived", "total")),
    ],
)
def test_mistakes_are_named(derived, message, path):
    with pytest.raises(SpecError, match=message) as caught:
        space_of(derived)
    assert caught.value.path == path


def test_text_and_truth_can_be_derived():
    space = space_of({"backend": "'flash'", "long": "prompt > 600"})
    config = space.validate({"prompt": 1024, "output": 128, "draft": 0})
    assert config["backend"] == "flash"
    assert config["long"] is True
