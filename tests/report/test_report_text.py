"""Durations, estimates and folded names for people."""

from dataclasses import replace

import pytest

from autotune.analysis.change import Change, Measured
from autotune.analysis.study_view import StudyView
from autotune.core.cells import cut
from autotune.core.estimate_text import show_estimate
from autotune.core.measurement import Estimate, Measurement
from autotune.core.objective import Objective
from autotune.core.ranking import Improvement, pool
from autotune.core.space import Space
from autotune.core.trial import Reason, Suggestion, Trial, TrialState
from autotune.report.summary import measurement_lines, summary
from autotune.report.text import fold, show_config, show_seconds, wrap
from autotune.report.verification import change_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (7.25, "7.2 s"), (42.4, "42 s"), (99.6, "1.66 min"), (5400, "1.5 h")],
)
def test_seconds_are_shown_in_a_unit_for_people(seconds, text):
    assert show_seconds(seconds) == text


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(812.34, 6.12, 30, "tokens/s"), "812 ± 12 tokens/s"),
        (Estimate(812.34, 61.2, 30, "tokens/s"), "812 ± 120 tokens/s"),
        (Estimate(1234.4, 456.7, 30, "tokens/s"), "1234 ± 895 tokens/s"),
        (Estimate(0.4123, 0.0093, 30, "s"), "412 ± 18 ms"),
        (Estimate(0.4123, 0.0998, 30, "s"), "412 ± 196 ms"),
        (Estimate(0.4123, None, 1, "s"), "412 ms"),
        (Estimate(0.4123, 0.0, 1, "s"), "412 ms"),
        (Estimate(1.5 * 2**30, 2.0**20, 5, "B"), "1.5000 ± 0.0019 GiB"),
        (Estimate(123.456, 0.000123, 5), "123.46"),
        (Estimate(0.0, 0.5, 5), "0.00 ± 0.98"),
        (Estimate(-3.21, 0.4, 5, "points"), "-3.21 ± 0.78 points"),
        (Estimate(1e12, 1e9, 5), "(1.0000 ± 0.0020) x 10^12"),
        # two to four runs or launches: Student's quantile, 12.7 and 3.18 in place of 1.96
        (Estimate(10.0, 0.1, 2), "10.0 ± 1.3"),
        (Estimate(10.0, 0.1, 4), "10.00 ± 0.32"),
        (Estimate(3e-9, 1e-9, 5), "(3.0 ± 2.0) x 10^-9"),
        (Estimate(7_190_000.0, 200_000.0, 30, "B/s"), "7.19 ± 0.39 MB/s"),
        (Estimate(977_123.0, 250_000.0, 30), "977000 ± 490000"),
        (Estimate(5_600_000.0, 6_122_449.0, 30), "6 ± 12 million"),
        (Estimate(10_100_000.0, 3_163_265.0, 30, "hops"), "10.1 ± 6.2 million hops"),
        (Estimate(3_998_030.0, 699_000.0, 30, "B/s"), "4.0 ± 1.4 MB/s"),
        (Estimate(123_456_789.0, 6.12, 30), "123456789 ± 12"),
        (Estimate(0.16, 1e-9, 30), "0.16000"),
        (Estimate(4e10, 1e9, 30), "40.0 ± 2.0 billion"),
        (Estimate(3.2e7, None, 30, "B/s"), "32 MB/s"),
        (Estimate(3.2e7, None, 30), "32 million"),
        (Estimate(4e10, None, 30), "40 billion"),
        (Estimate(0.0, 1e-30, 30), "0"),
        (Estimate(1e-9, 1000.0, 30), "0 ± 1960"),
        (Estimate(1e-9, 0.25, 30, "s"), "0 ± 490 ms"),
    ],
)
def test_estimates_are_shown_to_their_error(estimate, text):
    assert show_estimate(estimate) == text


@pytest.mark.parametrize(
    ("name", "limit", "lines"),
    [
        ("batch_size", 12, ("batch_size",)),
        ("batch_size", 8, ("batch", "size")),
        ("quantization_bits", 12, ("quantization", "bits")),
        ("quantization_bits", 8, ("quanti-", "zation", "bits")),
        ("quantization_bits", 6, ("quan-", "tiza-", "tion", "bits")),
        ("tensor_parallel", 6, ("tensor", "paral-", "lel")),
        ("ttft.p99", 6, ("ttft", ".p99")),
        ("x", 4, ("x",)),
        ("_hidden", 8, ("_hidden",)),
        ("a_b_c_d", 4, ("a_b", "c_d")),
    ],
)
def test_long_names_are_folded_at_their_joints(name, limit, lines):
    assert fold(name, limit) == lines


def test_text_is_cut_or_wrapped_to_a_width():
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdef", 4) == "abc~"
    assert wrap("one two three", 9) == ["one two", "  three"]
    assert wrap("a-word-longer-than-the-line x", 5) == ["a-word-longer-than-the-line", "  x"]


def test_config_reads_like_the_command_line():
    assert show_config({"batch_size": 8, "fast": True, "share": 0.5, "kind": "int8"}) == (
        "batch_size=8 fast=true share=0.5 kind=int8"
    )


OBJECTIVE = Objective.from_dict({"maximize": "speed", "limits": ["disk <= 2 GB", "speed >= 600 tokens/min"]})


def test_what_one_measurement_gave_has_the_units_of_the_limits():
    metrics = {"speed": Estimate(20.0, 0.1, 9, "tokens/s"), "disk": Estimate(1.5e9, None, 1, "B")}
    assert [line.split("  ")[2].strip() for line in measurement_lines(metrics, OBJECTIVE)[:2]] == [
        "1200 ± 12 tokens/min", "1.5 GB",
    ]  # fmt: skip


def test_a_change_of_a_limit_s_metric_has_the_unit_of_the_limit():
    def level(speed):
        return Measured(Estimate(speed, 0.1, 9, "tokens/s"), 0.2)

    gain = Improvement(0.5, 0.4, 0.6, True, (3, 3))
    change = Change("speed", level(20.0), level(10.0), gain, symbol=OBJECTIVE.symbol_of("speed"))
    text = change_text(change, "worse", 0.05)
    assert "1200 ± 12 tokens/min -> 600 ± 12 tokens/min" in text


def test_a_bound_is_named_wherever_it_is_shown():
    bound = Estimate(9.57, None, 2, "requests/s", bound="at most")
    assert show_estimate(bound) == "at most 9.57 requests/s"
    assert measurement_lines({"max_rate": bound}, OBJECTIVE) == ["  max_rate  at most 9.57 requests/s  n=2"]
    assert Estimate.from_dict(bound.to_dict()) == bound
    exact, other = replace(bound, bound=""), replace(bound, bound="at least")
    pooled = [pool([{"x": bound}, {"x": one}])["x"].bound for one in (bound, exact, other)]
    assert pooled == ["at most", "at most", "about"]
    assert "bound" not in exact.to_dict()


def test_a_study_of_bounds_says_so_in_its_table_and_its_verdict():
    space = Space.from_dict({"a": {"type": "ordinal", "values": [1, 2]}})
    goal = Objective.from_dict({"maximize": "max_rate"})
    trials = tuple(
        Trial(
            i,
            Suggestion({"a": i + 1}, Reason.DEFAULT),
            TrialState.COMPLETED,
            1,
            Measurement({"max_rate": Estimate(9.5 + i, None, 2, "requests/s", bound="at least")}),
        )
        for i in range(2)
    )
    text = summary(StudyView("s", space, goal, trials, state="completed"))
    assert text.partition("best:")[0].count("at least") == 2
    assert "max_rate of trial 1 is only a bound: at least 10.5 requests/s" in text
    assert "max_rate of trial 0 is only a bound: at least 9.5 requests/s" in text


def test_millions_without_a_unit_are_told_in_words():
    assert show_estimate(Estimate(32_300_000.0, 9e6, 30, "1"), 18e6) == "32 ± 18 million"
    assert show_estimate(Estimate(4_567_890.0, None, 1, "requests")) == "4.57 million requests"
    assert show_estimate(Estimate(123_456.0, None, 1, "1")) == "123000"
