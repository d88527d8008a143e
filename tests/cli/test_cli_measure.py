"""What `autotune measure` says of one measurement."""

from autotune.cli.plan import result_lines
from autotune.core.measurement import DOUBT, Estimate, Measurement
from autotune.core.objective import Objective
from autotune.executor.base import AttemptResult


def said(sem, facts=None, limit="ttft.p95 <= 1500 ms"):
    metrics = {
        "request_throughput": Estimate(9.0, 0.1, 20, "requests/s"),
        "ttft.p95": Estimate(0.8, sem, 20, "s"),
    }
    objective = Objective.from_dict({"maximize": "request_throughput", "limits": [limit]})
    lines = result_lines(
        {"a": 1}, AttemptResult(("s", 0, 1), Measurement(metrics, facts=facts or {})), objective
    )
    return next(line for line in lines if line.startswith("limit "))


def test_a_limit_is_in_doubt_where_the_measurement_is():
    assert said(0.01).startswith("limit ttft.p95 <= 1500 ms: kept; chance that it holds ")
    doubtful = said(1.5, {DOUBT: "2 s are too short for ttft.p95"})
    assert doubtful.startswith("limit ttft.p95 <= 1500 ms: in doubt, kept as measured; chance that it holds ")
    chances = [
        float(text.split("holds ")[1].replace("over", "").split(" %")[0]) for text in (said(0.01), doubtful)
    ]
    assert chances[0] > 95 > chances[1]


def test_a_limit_that_a_certain_number_breaks_is_broken_though_the_rest_is_doubtful():
    text = said(0.0, {DOUBT: "not steady"}, "ttft.p95 <= 100 ms")
    assert text.startswith("limit ttft.p95 <= 100 ms: broken")


def test_a_limit_relative_to_the_default_is_not_judged_without_it():
    assert "not judged" in said(0.01, limit="ttft.p95 <= 110 % of default")
