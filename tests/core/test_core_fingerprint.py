"""Two spaces that mean the same have the same fingerprint; two that do not, do not."""

import pytest

from autotune.core.space import Space

BASE = {
    "parameters": {
        "batch": {"type": "int", "low": 1, "high": 64, "multiple_of": 8},
        "bits": {"type": "ordinal", "values": [4, 8, 16], "default": 16},
        "draft": {"type": "int", "low": 0, "high": 4},
        "model": {"type": "categorical", "values": ["ngram", "eagle"], "when": "draft > 0"},
        "memory": {"type": "float", "low": 0.5, "high": 1.0, "prior": {"around": 0.9, "spread": 0.1}},
    },
    "constraints": ["batch * bits <= 512", "draft < 4 and batch > 2 * draft"],
}


def changed(**parameters):
    merged = {name: {**BASE["parameters"][name], **entry} for name, entry in parameters.items()}
    return {**BASE, "parameters": {**BASE["parameters"], **merged}}


def fingerprint(data):
    return Space.from_dict(data).fingerprint


@pytest.mark.parametrize(
    "same",
    [
        {**BASE, "parameters": dict(reversed(BASE["parameters"].items()))},
        changed(batch={"low": "1", "high": "64", "multiple_of": "8"}),
        changed(batch={"low": 8, "high": 71, "step": 8, "multiple_of": None}),
        changed(batch={"default": 8, "restart": "engine", "scale": "linear"}),
        changed(batch={"restart": "system"}),
        changed(bits={"values": ["4", "8", "16"], "description": "of the weights", "unit": "bit"}),
        changed(model={"when": " 0 <  (draft) "}),
        changed(memory={"low": "5e-1", "high": 1, "prior": {"spread": "0.10", "around": "0.9"}}),
        {**BASE, "constraints": list(reversed(BASE["constraints"]))},
        {**BASE, "constraints": ["512 >= bits*batch", "draft < 4", "(2.0 * draft) < batch", "draft < 4"]},
    ],
)
def test_the_same_meaning_has_the_same_fingerprint(same):
    assert fingerprint(same) == fingerprint(BASE)
    assert Space.from_dict(same) == Space.from_dict(BASE)


@pytest.mark.parametrize(
    "other",
    [
        changed(batch={"high": 72}),
        changed(batch={"default": 16}),
        changed(batch={"scale": "log2"}),
        changed(batch={"memory": "up"}),
        changed(bits={"values": [16, 8, 4]}),
        changed(bits={"restart": "request"}),
        changed(model={"when": "draft >= 0"}),
        changed(memory={"prior": {"around": 0.9, "spread": 0.2}}),
        {**BASE, "constraints": BASE["constraints"][:1]},
        {**BASE, "constraints": ["batch * bits < 512", BASE["constraints"][1]]},
        {**BASE, "constraints": ["batch * bits <= 512", "draft < 4 or batch > 2 * draft"]},
        {**BASE, "derived": {"total": "batch * bits"}},
    ],
)
def test_another_meaning_has_another_fingerprint(other):
    assert fingerprint(other) != fingerprint(BASE)
