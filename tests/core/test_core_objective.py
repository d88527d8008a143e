"""Objectives: reading, scoring, violations."""

import math

import pytest

import autotune
from autotune.core.estimate_text import show_estimate
from autotune.core.measurement import Estimate
from autotune.core.objective import Goal, Limit, Objective
from autotune.errors import SpecError
from autotune.spec.sections import read_objective

OBJECTIVE = Objective.from_dict(
    {"maximize": "throughput", "limits": ["ttft.p99 <= 500 ms", "quality >= 0.9", "memory <= 2 GiB"]}
)


def test_scoring_keeps_limits_apart_from_goals():
    kept = OBJECTIVE.score({"throughput": Estimate(10.0), "ttft.p99": 0.4, "quality": 0.95, "memory": 1e9})
    assert kept.feasible
    assert kept.values == (10.0,)
    broken = OBJECTIVE.score({"throughput": 99.0, "ttft.p99": 1.0, "quality": 0.45, "memory": 1e9})
    assert not broken.feasible
    assert broken.violations == {
        "ttft.p99 <= 500 ms": pytest.approx(math.log(2)),
        "quality >= 0.9": pytest.approx(math.log(2)),
    }
    lacking = OBJECTIVE.score({"throughput": 1.0})
    assert not lacking.feasible
    assert lacking.missing == ("ttft.p99", "quality", "memory")


def test_goals_are_turned_so_that_more_is_better():
    objective = Objective.from_dict({"minimize": ["latency", "cost"], "maximize": "throughput"})
    assert objective.score({"latency": 2.0, "cost": 3.0, "throughput": 5.0}).values == (5.0, -2.0, -3.0)
    assert objective.metrics == ("throughput", "latency", "cost")


def test_a_limit_on_values_that_have_no_logarithm_uses_the_difference():
    assert Limit.parse("latency <= 150 ms").violation(3 * 0.05) == 0.0  # which is more by its last bit
    assert Limit.parse("latency <= 150 ms").violation(0.15 * (1 + 1e-6)) > 0
    assert Limit.parse("drift <= 0").violation(0.5) == 0.5
    assert Limit.parse("drift >= -1").violation(-3.0) == 2.0
    assert Limit.parse("drift <= 1e200").violation(1e-200) == pytest.approx(-400 * math.log(10))
    assert Limit.parse("drift >= 1e200").violation(1e-200) == pytest.approx(400 * math.log(10))


def test_round_trip_is_exact():
    for objective in (
        OBJECTIVE,
        Objective((Goal("a", False), Goal("b"), Goal("c")), (Limit("d", True, 1 / 3, "s"),), "text"),
    ):
        assert Objective.from_dict(objective.to_dict()) == objective


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"maximize": []},
        {"maximize": "a", "minimize": "a"},
        {"maximize": "a b"},
        {"maximise": "a"},
        {"maximize": 3},
        {"maximize": "a", "limits": "a <= 1"},
        {"maximize": "a", "limits": ["a < 1"]},
        {"maximize": "a", "limits": ["a <= 1 parsec"]},
        {"maximize": "a", "limits": ["<= 1"]},
        {"maximize": "a", "limits": [3]},
    ],
)
def test_a_wrong_objective_is_refused(wrong):
    with pytest.raises(SpecError):
        Objective.from_dict(wrong)


@pytest.mark.parametrize(
    ("text", "factor"),
    [("quality.perplexity <= 1.02 x default", 1.02), ("output_throughput >= 90 % of the default", 0.9),
     ("memory.peak <= .5x default", 0.5)],
)  # fmt: skip
def test_a_limit_may_be_relative_to_the_default(text, factor):
    limit = Limit.parse(text)
    assert limit.relative
    assert limit.bound == pytest.approx(factor)
    assert Limit.parse(limit.to_text()) == limit
    assert str(limit) == text


def test_relative_limits_bound_once_the_default_is_measured():
    objective = Objective.from_dict(
        {
            "maximize": "output_throughput",
            "limits": ["quality.perplexity <= 1.1 x default", "tpot.p95 <= 1 s"],
        }
    )
    worse = {"output_throughput": 9.0, "quality.perplexity": 23.0, "tpot.p95": 0.5}
    assert objective.score(worse).feasible  # nothing says yet what it is a multiple of
    unmeasured = objective.anchored({})
    assert [limit.metric for limit in unmeasured.limits] == ["tpot.p95"]
    anchored = objective.anchored({"quality.perplexity": Estimate(20.0, 0.1, 4, "1")})
    assert [str(limit) for limit in anchored.limits] == ["quality.perplexity <= 22", "tpot.p95 <= 1 s"]
    assert list(anchored.score(worse).violations) == ["quality.perplexity <= 22"]
    assert objective.to_dict()["limits"][0] == "quality.perplexity <= 1.1 x default"


@pytest.mark.parametrize(
    ("limit", "default", "bound"),
    [("q >= 95 % of default", -2.0, -2.1), ("q <= 105 % of default", -2.0, -1.9),
     ("q <= 0.9 x default", -2.0, -2.2), ("q >= 1.1 x default", -2.0, -1.8),
     ("q >= 95 % of default", 2.0, 1.9), ("q <= 2 x default", 0.0, 0.0)],
)  # fmt: skip
def test_relative_limits_count_from_a_negative_default_by_its_size(limit, default, bound):
    anchored = Objective(maximize="y", limits=[limit]).anchored({"q": Estimate(default)})
    assert anchored.limits[0].bound == pytest.approx(bound)
    assert anchored.limits[0].upper is ("<=" in limit)


def test_a_study_keeps_what_the_default_must_not_lose():
    space = autotune.Space((autotune.Ordinal("bits", (16, 8, 4), default=16),))
    limits = ["quality <= 1.5 x default"]
    with autotune.Study(space, {"maximize": "speed", "limits": limits}, engine="sobol") as study:
        measured = {16: (1.0, 20.0), 8: (2.0, 20.5), 4: (4.0, 45.0)}
        for _ in range(3):
            trial = study.ask()
            speed, quality = measured[trial.config["bits"]]
            study.tell(trial, {"speed": speed, "quality": quality})
        assert study.best.config == {"bits": 8}
        assert not study.outcome(next(t for t in study.trials if t.config["bits"] == 4)).feasible
        assert str(study.anchored).endswith("with quality <= 30")
        assert str(study.objective).endswith("with quality <= 1.5 x default")


@pytest.mark.parametrize(
    "name", ["val/loss", "train/acc@5", "eval-loss", "a:b", "top#1", "p95%", "loss+kl", "größe"]
)
def test_a_metric_of_ones_own_may_have_any_name(name):
    objective = Objective.from_dict({"minimize": name, "limits": [f"{name} <= 0.5", f"{name}>=0.1"]})
    assert [limit.metric for limit in objective.limits] == [name, name]
    assert Objective.from_dict(objective.to_dict()) == objective
    assert objective.score({name: 0.3}).feasible
    assert not objective.score({name: 0.7}).feasible
    assert read_objective(objective.to_dict()) == objective


@pytest.mark.parametrize(
    "text", ["val/loss < 1", "val / loss <= 1", "/loss <= 1", "a,b <= 1", "a<b <= 1", "1/a <= 1"]
)
def test_what_is_no_name_is_no_limit(text):
    with pytest.raises(SpecError, match="cannot read the limit"):
        Objective.from_dict({"minimize": "y", "limits": [text]})


@pytest.mark.parametrize("name", ["ttft/p99", "ttft-p99", "quality:perplexity", "output-throughput"])
def test_a_metric_of_ours_in_another_spelling_is_no_new_one(name):
    with pytest.raises(SpecError, match="unknown metric") as caught:
        read_objective({"minimize": name})
    assert "did you mean" in caught.value.hint


@pytest.mark.parametrize(
    ("written", "base"),
    [
        ("peak_memory <= 8 GB", "peak_memory <= 8000000000.0 B"),
        ("peak_memory <= 7.3 kB", "peak_memory <= 7300.0 B"),
        ("error_rate <= 5 %", "error_rate <= 0.05"),
        ("output_throughput >= 90 tokens/min", "output_throughput >= 1.5 tokens/s"),
    ],
)
def test_a_limit_is_shown_in_the_unit_that_its_author_wrote(written, base):
    """Also from the ledger; whatever the unit, the meaning is that of the base unit."""
    data = {"maximize": "speed", "limits": [written]}
    objective = Objective.from_dict(data)
    assert str(objective.limits[0]) == written
    again = Objective.from_dict(objective.to_dict())
    assert again == objective
    assert str(again.limits[0]) == written
    earlier = Objective.from_dict({**data, "limits": [base]})
    assert earlier == objective
    assert earlier.fingerprint == objective.fingerprint
    metric = objective.limits[0].metric
    symbol = written.split()[-1]
    assert objective.symbol_of(metric) == symbol
    assert (objective.symbol_of("speed"), earlier.symbol_of(metric)) == ("", "")
    limit = objective.limits[0]
    measured = Estimate(0.75 * limit.bound, 0.01 * limit.bound, 30, limit.unit)
    assert show_estimate(measured, None, symbol).endswith(f" {symbol}")
    assert show_estimate(Estimate(1.0, None, 1, "J"), None, symbol) == "1 J"


@pytest.mark.parametrize(
    ("written", "shown", "symbol"),
    [
        ("ttft.p99<=0.5s", "ttft.p99 <= 0.5 s", "s"),
        ("ttft.p99 <= 500  ms", "ttft.p99 <= 500 ms", ""),
        ("ttft.p99 <= 1.2345 s", "ttft.p99 <= 1.2345 s", ""),
        ("ttft.p99 <= 60 s", "ttft.p99 <= 60 s", "s"),
        ("a <= 2048 MiB", "a <= 2048 MiB", "MiB"),
        ("a <= 90 min", "a <= 90 min", "min"),
        ("a <= 2e9 B", "a <= 2e9 B", "B"),
        ("a >= 1e3", "a >= 1e3", ""),
        ("a <= 102 %  of default", "a <= 102 % of default", ""),
    ],
)
def test_a_limit_is_shown_as_it_was_written(written, shown, symbol):
    """Numbers and units of a person stay; blanks are made alike. A ledger keeps the same text."""
    objective = Objective.from_dict({"maximize": "speed", "limits": [written]})
    (limit,) = objective.limits
    assert str(limit) == limit.to_text() == shown
    assert objective.symbol_of(limit.metric) == symbol
    again = Objective.from_dict(objective.to_dict())
    assert again == objective
    assert again.fingerprint == objective.fingerprint
    assert str(again) == f"maximize speed with {shown}"


def test_a_number_that_a_program_wrote_is_shown_in_the_unit_that_reads_best():
    """Earlier ledgers hold limits in base units, as Python writes a number."""
    for stored, shown in (("a <= 8589934592.0 B", "8 GiB"), ("a <= 30.0 s", "30 s"), ("a >= 90.0", "90")):
        assert str(Limit.parse(stored)) == f"{stored[:4]} {shown}"
    assert str(Limit("a", True, 2.0**33, "B")) == "a <= 8 GiB"
    default = {"a": Estimate(0.2, None, 1, "s")}
    relative = Objective(maximize="speed", limits=["a <= 1.5 x default"])
    assert str(relative.anchored(default).limits[0]) == "a <= 300 ms"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0.0021000000000000003 s", "2.1 ms"),
        ("1.5e-05 s", "15 us"),
        ("120.0 s", "2 min"),
        ("0.3333333333333333", "0.333"),
        ("2e-1 s", "2e-1 s"),  # as somebody may write it
        ("0.0021 s", "0.0021 s"),
        ("8589934592 B", "8589934592 B"),
    ],
)
def test_a_bound_that_a_program_wrote_has_the_unit_that_reads_best(text, shown):
    limit = Limit.parse(f"metric <= {text}")
    assert str(limit) == f"metric <= {shown}"
    assert Limit.parse(limit.to_text()) == limit
