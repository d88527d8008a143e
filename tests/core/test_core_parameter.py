"""Parameters: values, scales, strict reading, round trips."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.core.parameter import Bool, Categorical, Float, Int, Ordinal, parameter_from_dict
from autotune.core.space import Space
from autotune.errors import SpecError


def test_levels_follow_bounds_steps_and_scales():
    assert Int("n", 1, 8, powers_of=2).levels == (1, 2, 4, 8)
    assert Int("n", 3, 20, multiple_of=8).levels == (8, 16)
    assert Int("n", 1, 10, step=4).levels == (1, 5, 9)
    assert Float("x", 0.7, 0.9, step=0.05).levels == (0.7, 0.75, 0.8, 0.85, 0.9)
    assert Bool("b").levels == (False, True)
    assert Ordinal("o", (4, 8, 16)).levels == (4, 8, 16)
    grid = Float("x", 1e-3, 1.0, scale="log10", default=0.123).levels
    assert grid[0] == 1e-3
    assert grid[-1] == 1.0
    assert 0.123 in grid


def test_positions_follow_the_scale():
    n = Int("n", 1, 256, powers_of=2, scale="log2")
    assert [round(n.position(v), 6) for v in (1, 16, 256)] == [0.0, 0.5, 1.0]
    assert Float("x", 0.0, 10.0).position(2.5) == 0.25
    assert Ordinal("o", (1, 2, 100)).position(2) == 0.5


@pytest.mark.parametrize(
    ("parameter", "raw", "value"),
    [
        (Int("n", 0, 20), "017", 17),
        (Int("n", 0, 10_000), "1e3", 1000),
        (Float("x", 0, 1), "0.10", 0.1),
        (Bool("b"), "true", True),
        (Ordinal("o", ("4", "8")), "8", 8),
        (Categorical("c", ("no", "yes")), "no", "no"),
    ],
)
def test_text_is_read_by_the_type(parameter, raw, value):
    assert parameter.coerce(raw) == value
    assert type(parameter.coerce(raw)) is type(value)


@pytest.mark.parametrize("raw", ["1_000", "0x10", "nan", "inf", "1,5", True, None, "1 2", 2.5, "9" * 80, [1]])
def test_what_is_no_whole_number_is_refused(raw):
    with pytest.raises(SpecError, match="n cannot be"):
        Int("n", 0, 10**6).coerce(raw)


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "int", "low": 5, "high": 1},
        {"type": "int", "low": 0, "high": 8, "scale": "log2"},
        {"type": "int", "low": 1, "high": 8, "scale": "cubic"},
        {"type": "int", "low": 5, "high": 6, "multiple_of": 4},
        {"type": "int", "low": 0, "high": 10**12},
        {"type": "float", "low": 0, "high": "inf"},
        {"type": "float", "low": 0, "high": 1, "step": 0},
        {"type": "ordinal", "values": []},
        {"type": "ordinal", "values": [1, 1]},
        {"type": "categorical"},
        {"type": "bool", "default": "maybe"},
        {"type": "int", "low": 1, "high": 2, "memory": "sideways"},
        {"type": "int", "low": 1, "high": 2, "restart": "never"},
        {"type": "int", "low": 1, "high": 2, "prior": {"spread": 1}},
        {"type": "int", "low": 1, "high": 2, "when": 3},
        {"low": 1, "high": 2},
        "int",
    ],
)
def test_a_wrong_parameter_is_refused(wrong):
    with pytest.raises(SpecError):
        parameter_from_dict("n", wrong)


@pytest.mark.parametrize("value", [math.nan, math.inf, 10**400, "\ud800"])
def test_a_listed_value_that_no_ledger_can_hold_is_refused(value):
    with pytest.raises(SpecError, match="a value must be") as caught:
        parameter_from_dict("n", {"type": "categorical", "values": [1, value]})
    assert caught.value.path == ("values", 1)


@pytest.mark.parametrize("key", ["scale", "restart", "memory"])
@pytest.mark.parametrize("found", [["log2"], {"log2": 1}, 3])
def test_a_word_that_is_no_text_is_one_error_in_python_as_in_a_file(key, found):
    for make in (
        lambda: Int("n", 1, 2, **{key: found}),
        lambda: parameter_from_dict("n", {"type": "int", "low": 1, "high": 2, key: found}),
    ):
        with pytest.raises(SpecError, match=f"{key} must be text, found") as caught:
            make()
        assert caught.value.path == (key,)


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "and", "log2", "x" * 65, None])
def test_a_parameters_name_that_is_no_identifier_is_refused(name):
    with pytest.raises(SpecError):
        Int(name, 1, 2)


PARAMETERS = st.one_of(
    st.builds(
        lambda low, extra, step: Int("p", low, low + extra, step=step, description="d", memory="up"),
        st.integers(-50, 50), st.integers(0, 60), st.integers(1, 7),
    ),
    st.builds(
        lambda low, extra, scale: Float("p", low, low + extra, scale=scale),
        st.floats(0.01, 10), st.floats(0.01, 10), st.sampled_from(["linear", "log2", "log10"]),
    ),
    st.builds(lambda d: Bool("p", default=d), st.booleans()),
    st.builds(lambda v: Ordinal("p", tuple(v)), st.lists(st.integers(0, 99), min_size=1, unique=True)),
    st.builds(
        lambda v: Categorical("p", tuple(v)), st.lists(st.sampled_from("abcdefg"), min_size=1, unique=True)
    ),
)  # fmt: skip


@given(PARAMETERS)
def test_round_trip_and_consistency(parameter):
    assert parameter_from_dict("p", parameter.to_dict()) == parameter
    for index, value in enumerate(parameter.levels[:20]):
        assert parameter.coerce(value) == value
        assert parameter.level_of(value) == index
        assert 0.0 <= parameter.position(value) <= 1.0
        assert not isinstance(value, float) or math.isfinite(value)
    assert parameter.fallback in parameter.levels


def test_ranges_of_whole_numbers_take_sizes():
    space = Space.from_dict(
        {
            "parameters": {
                "tokens": {"type": "int", "low": "8k", "high": "32k", "step": "8k", "default": "16k"},
                "context": {"type": "int", "low": "2K", "high": "8K", "powers_of": 2},
                "cache": {"type": "int", "low": "1.5k", "high": "3k", "multiple_of": "1.5k"},
            }
        }
    )
    assert space["tokens"].levels == (8000, 16000, 24000, 32000)
    assert space["context"].levels == (2048, 4096, 8192)
    assert space["cache"].levels == (1500, 3000)
    assert space.default_config["tokens"] == 16000
    assert space.validate({"tokens": "24k", "context": "4K", "cache": 3000})["context"] == 4096
    assert Space.from_dict(space.to_dict()) == space
    for odd in ("1.5K", "8q", "k", "-8k", "8 k", "8kk", "1" + "0" * 16 + "k"):
        with pytest.raises(SpecError, match="low must be a whole number, found"):
            Int("a", odd, 10**6)


@pytest.mark.parametrize(
    "wide", [Float("y", 1e-300, 1e300, scale="log10"), Float("y", -1.7e308, 1.7e308)], ids=["log10", "linear"]
)
def test_a_range_wider_than_any_number_has_levels_and_positions_as_others_have(wide):
    positions = [wide.position(level) for level in wide.levels]
    assert len(positions) == 33
    assert positions == pytest.approx([i / 32 for i in range(33)], abs=1e-5)
    assert wide.value_at(0.25) == pytest.approx(wide.levels[8], rel=1e-5)
