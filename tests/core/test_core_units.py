import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autotune.core.estimate_text import show_estimate
from autotune.core.improvement_text import show_change
from autotune.core.measurement import Estimate
from autotune.core.ranking import Improvement
from autotune.core.units import DIMENSIONS, Quantity, base_unit, counted, format_quantity, parse_quantity
from autotune.errors import SpecError


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("500 ms", 0.5, "s"),
        ("500ms", 0.5, "s"),
        ("60 s", 60.0, "s"),
        ("1.5 h", 5400.0, "s"),
        (".5 min", 30.0, "s"),
        ("2 d", 172800.0, "s"),
        ("3 us", 3e-6, "s"),
        ("3 \u00b5s", 3e-6, "s"),
        ("3 \u03bcs", 3e-6, "s"),
        ("7 ns", 7e-9, "s"),
        ("1 B", 1.0, "B"),
        ("2 KB", 2e3, "B"),
        ("2 kB", 2e3, "B"),
        ("2 KiB", 2048.0, "B"),
        ("2 MiB", 2.0**21, "B"),
        ("2 GB", 2e9, "B"),
        ("2 GiB", 2.0**31, "B"),
        ("5 %", 0.05, "1"),
        ("5%", 0.05, "1"),
        ("1e-3", 1e-3, "1"),
        ("-2", -2.0, "1"),
        ("017", 17.0, "1"),
        (3, 3.0, "1"),
        (0.25, 0.25, "1"),
        ("800 tokens/s", 800.0, "tokens/s"),
        ("800 tok/s", 800.0, "tokens/s"),
        ("30 requests/min", 0.5, "requests/s"),
        ("4 req/s", 4.0, "requests/s"),
        ("2 Wh", 7200.0, "J"),
        ("1.2 kW", 1200.0, "W"),
        ("3 USD", 3.0, "USD"),
    ],
)
def test_a_quantity_is_read_in_its_base_unit(text, value, unit):
    found = parse_quantity(text)
    assert found.unit == unit
    assert found.value == pytest.approx(value, rel=1e-12)


def test_default_unit_applies_to_plain_numbers_only():
    assert parse_quantity("60", default_unit="s") == Quantity(60.0, "s")
    assert parse_quantity("2", default_unit="min") == Quantity(120.0, "s")
    assert parse_quantity("500 ms", default_unit="s") == Quantity(0.5, "s")
    assert parse_quantity("8", default_unit="GiB", dimension="size") == Quantity(2.0**33, "B")


def test_a_default_unit_of_another_dimension_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="not of dimension"):
        parse_quantity("5", default_unit="s", dimension="size")


@pytest.mark.parametrize(
    ("text", "options", "message", "hint"),
    [
        (
            "500 MB",
            {"dimension": "time"},
            "'500 MB' is a size; a time is wanted, in one of: ns, us, ms, s, min, h, d",
            "for example '500 s'",
        ),
        (
            "500 mss",
            {"dimension": "s"},
            "unknown unit 'mss' in '500 mss'; a time is wanted, in one of: ns, us, ms, s, min, h, d",
            "did you mean 'ms'?",
        ),
        (
            "500",
            {"dimension": "time"},
            "'500' has no unit; a time is wanted, in one of: ns, us, ms, s, min, h, d",
            "for example '500 s'",
        ),
        (
            "5 gib",
            {"dimension": "size"},
            "unknown unit 'gib' in '5 gib'; a size is wanted, in one of: "
            "B, KB, MB, GB, TB, KiB, MiB, GiB, TiB",
            "did you mean 'GiB'?",
        ),
        ("5 ms", {"dimension": "number"}, "'5 ms' is a time; a plain number is wanted, or one with: %", ""),
        ("fast", {"dimension": "time"}, "expected a time, found 'fast'", "for example '1 s'"),
        (
            "1,000",
            {},
            "expected a number with an optional unit, found '1,000'",
            "write digits without separators, such as 1000 or 1e3",
        ),
        ("nan", {}, "expected a number with an optional unit, found 'nan'", ""),
        ("inf s", {}, "expected a number with an optional unit, found 'inf s'", ""),
        ("1e999", {}, "'1e999' is not a finite number", ""),
        ("1e300 TiB", {}, "'1e300 TiB' is not a finite number", ""),
        (math.inf, {}, "inf is not a finite number", ""),
        (
            True,
            {},
            "expected a number with an optional unit, found True (true or false is not a number)",
            "",
        ),
        ("", {"dimension": "energy"}, "expected an energy, found ''", "for example '1 J'"),
    ],
)
def test_a_wrong_quantity_is_refused_with_a_hint(text, options, message, hint):
    with pytest.raises(SpecError) as caught:
        parse_quantity(text, **options)
    assert caught.value.message == message
    assert caught.value.hint == hint


def test_an_unknown_unit_lists_every_unit():
    with pytest.raises(SpecError) as caught:
        parse_quantity("3 parsec")
    assert caught.value.message.startswith(
        "unknown unit 'parsec' in '3 parsec'; allowed: ns, us, ms, s, min,"
    )


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.41234, "s", "412 ms"),
        (0.9996, "s", "1 s"),
        (0.0, "s", "0 s"),
        (59.4, "s", "59.4 s"),
        (90, "s", "1.5 min"),
        (7200, "s", "2 h"),
        (-0.002, "s", "-2 ms"),
        (3e-12, "s", "0.003 ns"),
        (1.5 * 2**30, "B", "1.5 GiB"),
        (1023.9, "B", "1 KiB"),
        (512, "B", "512 B"),
        (812.3, "tokens/s", "812 tokens/s"),
        (12345, "tokens/s", "12300 tokens/s"),
        (0.97123, "1", "0.971"),
        (0.0001234, "1", "0.000123"),
        (1.23e-7, "1", "1.23e-07"),
        (4321, "J", "4.32 kJ"),
        (3, "BLEU", "3 BLEU"),
        (math.inf, "s", "inf s"),
        (math.nan, "1", "nan"),
    ],
)
def test_a_quantity_is_shown_in_a_unit_for_people(value, unit, text):
    assert format_quantity(value, unit) == text


@given(
    value=st.floats(1e-12, 1e15) | st.floats(-1e15, -1e-12),
    unit=st.sampled_from(sorted(DIMENSIONS.values())),
)
def test_what_is_shown_reads_back_to_three_digits(value, unit):
    found = parse_quantity(format_quantity(value, unit), dimension=unit)
    assert found.unit == unit
    assert found.value == pytest.approx(value, rel=0.0051)


@given(
    value=st.floats(allow_nan=False, allow_infinity=False), unit=st.sampled_from(sorted(DIMENSIONS.values()))
)
def test_a_number_in_its_base_unit_reads_back_exactly(value, unit):
    text = repr(value) if unit == "1" else f"{value!r} {unit}"
    assert parse_quantity(text) == Quantity(value, unit)


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused_with_a_spec_error(text):
    try:
        found = parse_quantity(text)
    except SpecError:
        return
    assert math.isfinite(found.value)


def test_units_and_dimensions_have_one_base_unit():
    assert base_unit("ms") == "s"
    assert base_unit("token rate") == "tokens/s"
    assert str(Quantity(0.5, "s")) == "500 ms"
    with pytest.raises(SpecError, match="unknown unit 'second'"):
        base_unit("second")


def test_a_count_has_its_noun_in_the_right_number():
    assert [counted(n, "trial") for n in (0, 1, "1", 2, "about 1e+06")] == [
        "0 trials", "1 trial", "1 trial", "2 trials", "about 1e+06 trials",
    ]  # fmt: skip


def test_nothing_is_never_minus_nothing():
    gain = Improvement(-0.001, -5.0, 5.0, False, (2, 2), True, "1")
    assert format_quantity(-0.0) == format_quantity(0.0) == "0"
    assert show_estimate(Estimate(-0.3, None, 1), 2037.0) == "0 ± 2037"
    assert "-0" not in show_estimate(Estimate(-0.0, 0.0, 5)).split()
    assert show_change(gain).split()[0] in ("+0", "+0.00", "+0.000")


@given(
    value=st.floats(-1e-290, 1e-290) | st.floats(allow_nan=False, allow_infinity=False, max_value=1e150),
    share=st.none() | st.floats(0.0, 100.0),
    unit=st.sampled_from(["", "1", "s", "bytes", "tokens/s"]),
)
@example(value=5e-324, share=None, unit="1").via("a study of a user")
@example(value=1e-310, share=0.02, unit="s").via("a study of a user")
def test_a_number_of_any_size_has_a_text(value, share, unit):
    value = max(value, -1e150)
    said = show_estimate(Estimate(value, None, 1, unit), None if share is None else share * abs(value))
    assert said
    assert "nan" not in said
    assert "inf" not in said
