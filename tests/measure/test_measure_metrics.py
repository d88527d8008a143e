import numpy as np
import pytest

from autotune.core.measurement import Estimate
from autotune.core.metric import METRICS, known_metrics
from autotune.core.request import Request, RequestRecord
from autotune.measure.batch import Batch
from autotune.measure.energy import EnergyMeter
from autotune.measure.metrics import MEASURED, metric_of, summarize
from autotune.measure.metrics.cost import cost
from autotune.measure.metrics.itl import values as itl
from autotune.measure.workload import RequestLimits

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
        kind = next(getattr(metric, n) for n in ("values", "events", "parts") if hasattr(metric, n))
        module = __import__(kind.__module__, fromlist=["__doc__"])
        assert "Formula:" in module.__doc__
        assert "Source:" in module.__doc__
    assert metric_of("memory.peak") is None


def test_goodput_counts_requests_that_keep_every_limit():
    slow, fast, bad_start = record_of(0.1, 0.30), record_of(0.1, 0.01), record_of(0.9, 0.01)
    batches = [batch(slow, fast, bad_start)]
    seconds = batches[0].seconds
    strict = RequestLimits(ttft=0.5, tpot=0.05)
    assert summarize(batches, limits=strict)["goodput"].value == pytest.approx(1 / seconds)
    assert summarize(batches)["goodput"].value == pytest.approx(2 / seconds)  # ttft <= 1 s, tpot <= 100 ms
    within = RequestLimits(ttft=None, tpot=None, e2e=0.5)
    assert summarize(batches, limits=within)["goodput"].value == pytest.approx(1 / seconds)
    assert metric_of("goodput", strict).name == "goodput"


def record_of(ttft, tpot, tokens=11):
    """Return a request whose first token comes after ``ttft`` seconds and each next one ``tpot`` later."""
    times = [int(1e9 * (ttft + i * tpot)) for i in range(tokens)]
    return RequestRecord(0, 8, 0, tuple((t, 1) for t in times), times[-1])


def test_cost_follows_from_price_and_throughput():
    metrics = {"output_throughput": Estimate(1000.0, 10.0, 5, "tokens/s")}
    found = cost(3.6, metrics)["cost.per_million_tokens"]
    assert found.value == pytest.approx(1.0)
    assert found.sem == pytest.approx(0.01)
    assert cost(None, metrics) == {}
    assert cost(3.6, {}) == {}


def test_energy_is_read_from_the_counters_of_the_packages(tmp_path):
    for name, start, most in (
        ("intel-rapl:0", 900, 1000),
        ("intel-rapl:1", 100, 1000),
        ("intel-rapl:0:0", 5, 9),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{start * 1_000_000}\n")
        (tmp_path / name / "max_energy_range_uj").write_text(f"{most * 1_000_000}\n")
    meter = EnergyMeter(tmp_path)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("50000000\n")  # it wrapped
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("130000000\n")
    assert meter.joules() == pytest.approx(150 + 30)
    assert EnergyMeter(tmp_path / "nowhere").joules() is None
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    assert meter.joules() is None
