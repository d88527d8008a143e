"""Data that nests deep: one rule for every Python, and one error instead of a crash."""

import json
from types import MappingProxyType

import pytest

from autotune.core.endpoint import foreign_json, message_of
from autotune.core.nesting import MOST_LEVELS, nests_too_deep
from autotune.core.redact import MASK, redact_json

DEEP = (MOST_LEVELS + 1, 5000, 9000, 100_000)  # 3.11 reads fewer than a thousand levels, 3.13 ten thousand


def nested(levels):
    value = []
    for level in range(levels - 1):
        value = ([1, value], {"a": value}, (value,), MappingProxyType({"b": value}))[level % 4]
    return value


def test_levels_are_counted_through_lists_and_mappings_alike():
    assert not nests_too_deep("x" * 10_000)
    assert not nests_too_deep([[]] * 10_000)
    assert not nests_too_deep(nested(MOST_LEVELS))
    assert nests_too_deep(nested(MOST_LEVELS + 1))


def test_what_is_in_itself_is_no_deeper_and_takes_no_longer():
    itself = []
    itself += [itself, itself, {"again": itself}]
    assert not nests_too_deep(itself)


@pytest.mark.parametrize("levels", DEEP)
def test_json_that_nests_too_deep_is_refused(levels):
    with pytest.raises(ValueError, match="nested too deep"):
        foreign_json("[" * levels + "]" * levels)


def test_json_that_nests_less_deep_is_read():
    assert foreign_json("[" * 800 + "]" * 800)


@pytest.mark.parametrize("levels", [600, *DEEP])
def test_a_secret_in_json_that_nests_deep_is_masked(levels):
    line = "[" * levels + json.dumps({"api_key": "planted0123"}) + "]" * levels
    assert redact_json(line) == line.replace("planted0123", MASK)


@pytest.mark.parametrize("levels", DEEP)
def test_a_servers_error_that_nests_deep_is_one_short_line(levels):
    assert len(message_of('{"error": ' * levels + "1" + "}" * levels)) <= 400
