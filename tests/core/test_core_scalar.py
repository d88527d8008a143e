"""Scalars of a file: text, typed by YAML's core schema where nothing else types it."""

import json
import pickle

import numpy as np
import pytest

from autotune.core.scalar import Comparable, PlainText, reads_as, typed, typed_scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7), ("-7", -7), ("+7", 7), ("017", 17), ("0x1F", 31), ("0o17", 15), ("0.10", 0.1),
        ("1e3", 1000.0),
        (".5", 0.5), ("5.", 5.0), ("1e-3", 0.001), ("true", True), ("False", False),
        ("null", None), ("~", None),
        ("", None), ("no", "no"), ("on", "on"), ("tRue", "tRue"), ("1_000", "1_000"), ("1.2.3", "1.2.3"),
        (".inf", ".inf"), (".nan", ".nan"), ("1e999", "1e999"), ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("9" * 400, "9" * 400), ("nan", "nan"), ("e3", "e3"),
    ],
)  # fmt: skip
def test_text_without_quotes_means_what_the_core_schema_says(text, value):
    found = typed_scalar(text)
    assert found == value
    assert type(found) is type(value)


def test_only_what_stands_without_quotes_is_typed():
    data = {"a": PlainText("7"), "b": "7", "c": [PlainText("true"), {"d": PlainText("x")}], "e": 2.5}
    assert typed(data) == {"a": 7, "b": "7", "c": [True, {"d": "x"}], "e": 2.5}
    assert type(typed(PlainText("x"))) is str
    assert pickle.loads(pickle.dumps(PlainText("7"))) == "7"
    assert json.dumps(data["a"]) == '"7"'


def test_a_value_beside_text_compares_by_what_it_is():
    assert Comparable(32) == "32"
    assert Comparable(32) == 32.0
    assert Comparable(0.1) == "0.10"
    assert Comparable(True) == "true"
    assert Comparable(True) != 1
    assert Comparable(1) != np.True_
    assert Comparable("auto") != 0
    assert Comparable("1.10") != "1.1"


@pytest.mark.parametrize(
    ("stored", "now", "same"),
    [
        ({"a": "0.70", "b": ["true", "x"]}, {"a": 0.7, "b": [True, "x"]}, True),
        ({"a": "1"}, {"a": True}, False),
        ({"a": "1"}, {"a": 1, "b": 2}, False),
        ({"a": 1}, {"a": 1}, False),
        ({"a": "null"}, {"a": None}, True),
    ],
)
def test_what_was_stored_as_text_is_known_again(stored, now, same):
    assert reads_as(stored, now) is same
