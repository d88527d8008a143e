import numpy as np
import pytest

from autotune.core.metric import METRICS, known_metrics
from autotune.core.request import Request, RequestRecord
from autotune.measure.batch import Batch
from autotune.measure.metrics import MEASURED, metric_of, summarize
from autotune.measure.metrics.itl import values as itl

MS = 1_000_000


def record(request, send, arrivals, end, prompt_tokens=10, error=None):
    return RequestRecord(
        request, prompt_tokens, send * MS, tuple((t * MS, n) for t, n in arrivals), end * MS, error
    )


def batch(*records):
    requests = tuple(Request(r.id, "x", max(r.output_tokens, 1), r.prompt_tokens) for r in records)
    return Batch(requests, records, min(r.send_ns for r in records), max(r.end_ns for r in records))


# Two batches by hand. The first: two requests over 0..50 ms. The second: one over 100..140 ms.
PLAIN = record(0, 0, [(10, 1), (20, 1), (40, 1)], 44)
DRAFTED = record(1, 0, [(12, 1), (30, 3), (48, 2)], 50, prompt_tokens=20)
SINGLE = record(2, 100, [(130, 1)], 140)
BATCHES = [batch(PLAIN, DRAFTED), batch(SINGLE)]


def test_values_computed_by_hand():
    found = summarize(BATCHES)
    assert found["output_throughput"].value == pytest.approx(10 / 0.090)  # 3 + 6 + 1 tokens in 50 + 40 ms
    assert found["total_throughput"].value == pytest.approx(50 / 0.090)
    assert found["request_throughput"].value == pytest.approx(3 / 0.090)
    assert found["ttft.mean"].value == pytest.approx((10 + 12 + 30) / 3e3)
    assert found["ttft.p50"].value == pytest.approx(0.012)
    assert found["ttft.p95"].value == pytest.approx(np.quantile([0.010, 0.012, 0.030], 0.95))
    assert found["e2e.mean"].value == pytest.approx((44 + 50 + 40) / 3e3)
    assert found["e2e.p99"].value == pytest.approx(np.quantile([0.044, 0.050, 0.040], 0.99))
    assert found["tpot.mean"].value == pytest.approx(((44 - 10) / 2 + (50 - 12) / 5) / 2e3)  # SINGLE has none


def test_the_error_of_a_rate_by_hand():
    found = summarize(BATCHES)["output_throughput"]
    rate = 10 / 0.090
    z = np.array([9 - rate * 0.050, 1 - rate * 0.040])
    plain = np.sqrt(z @ z / 2) / 0.045  # n = 2: (n - 1) n = 2
    assert found.sem == pytest.approx(
        plain * 12.706 / 1.96, rel=1e-4
    )  # Student's t with one degree of freedom
    assert found.n == 2


def test_gaps_are_shared_among_the_tokens_that_came_together():
    assert itl(PLAIN) == pytest.approx([0.010, 0.020])
    assert itl(DRAFTED) == pytest.approx([0.006] * 3 + [0.009] * 2)
    assert sum(itl(DRAFTED)) == pytest.approx(0.036)  # the time that passed between first and last arrival
    assert itl(SINGLE) == []


def test_failed_requests_cost_time_and_give_no_tokens():
    failed = record(3, 0, [(10, 5)], 100, error="boom")
    empty = record(4, 0, [], 100)
    found = summarize([batch(PLAIN, failed, empty)])
    assert found["output_throughput"].value == pytest.approx(3 / 0.100)
    assert found["e2e.mean"].value == pytest.approx(0.044)


def test_metrics_without_values_are_left_out():
    found = summarize([batch(SINGLE), batch(SINGLE)])
    assert not any(name.startswith(("tpot", "itl")) for name in found)
    assert "ttft.p99" in found
    assert summarize([]) == {}


def test_one_batch_has_no_error():
    found = summarize([batch(PLAIN, DRAFTED)])
    assert {estimate.sem for estimate in found.values()} == {None}
    assert {estimate.n for estimate in found.values()} == {1}


def test_names_units_and_formulas_agree_with_the_table():
    found = summarize(BATCHES)
    assert set(found) <= set(known_metrics())
    for name, estimate in found.items():
        metric = metric_of(name)
        assert metric is not None
        assert estimate.unit == METRICS[metric.name].unit
    for metric in MEASURED:
        kind = metric.values if hasattr(metric, "values") else metric.amount
        module = __import__(kind.__module__, fromlist=["__doc__"])
        assert "Formula:" in module.__doc__
        assert "Source:" in module.__doc__
    assert metric_of("memory.peak") is None
