from dataclasses import replace

import numpy as np
import pytest

from autotune.core.measurement import Estimate
from autotune.core.metric import METRICS, known_metrics
from autotune.core.request import HIDDEN_UNCOUNTED, Request, RequestRecord
from autotune.measure.metrics import MEASURED, OUTPUT_THROUGHPUT, known, metric_of, summarize
from autotune.measure.metrics.cost import cost
from autotune.measure.metrics.errors import error_rate
from autotune.measure.metrics.fluidity import deadlines
from autotune.measure.metrics.itl import values as itl
from autotune.measure.metrics.quantiles import LEVELS, latency_quantiles
from autotune.measure.statistics.samples import Batch, cut_windows
from autotune.measure.watch.energy import EnergyMeter
from autotune.measure.workload import RequestLimits
from autotune.testing.metric_contract import MetricContract

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


class TestMetrics(MetricContract):
    @pytest.fixture(params=known(RequestLimits(ttft=1.0, tpot=0.02)), ids=lambda metric: metric.name)
    def metric(self, request):
        return request.param


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


def reasoning(hidden, arrivals):
    return replace(record(0, 0, arrivals, 44), hidden=hidden)


def test_tokens_that_are_not_shown_are_no_part_of_what_is_per_shown_token():
    """One token at 10, 20 and 40 ms, with and without 500 before the first that are counted with it."""
    limits = RequestLimits(ttft=1.0, tpot=0.02)
    plain = summarize([batch(PLAIN)], limits=limits)
    found = summarize([batch(reasoning(500, [(10, 501), (20, 1), (40, 1)]))], limits=limits)
    same = ("ttft.mean", "tpot.mean", "itl.mean", "itl.p99", "e2e.mean", "decode_throughput", "goodput",
            "fluidity_index", "request_throughput")  # fmt: skip
    assert {name: found[name].value for name in same} == {name: plain[name].value for name in same}
    assert found["output_throughput"].value == pytest.approx(503 / 0.044)
    assert "prefill_throughput" not in found


def test_where_nobody_counts_what_is_not_shown_nothing_is_per_token():
    limits = RequestLimits(ttft=1.0, tpot=0.02)
    untold = reasoning(HIDDEN_UNCOUNTED, [(10, 168), (20, 168), (40, 167)])
    found = summarize([batch(untold)], limits=limits)
    families = {name.partition(".")[0] for name in found}
    assert not families & {"tpot", "itl", "decode_throughput", "prefill_throughput", "fluidity_index"}
    assert found["goodput"].value == 0.0  # not known to be fast enough
    assert found["output_throughput"].value == pytest.approx(503 / 0.044)
    assert summarize([batch(untold)], limits=RequestLimits(ttft=1.0, tpot=None))["goodput"].value > 0


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


def test_the_fluidity_index_agrees_with_one_computed_by_hand():
    # Due after 100 ms, then every 50 ms. 60: in time, 40 left. 150 (gap 90 = 50 + 40): in time, 0 left.
    # 270 (gap 120): late by 70, which is 2 deadlines. 280: in time, 40 left; two at once are free.
    stream = record(0, 0, [(60, 1), (150, 1), (270, 1), (280, 3)], 300)
    assert deadlines(stream, 0.1, 0.05) == (5, 7)
    limits = RequestLimits(ttft=0.1, tpot=0.05)
    assert summarize([batch(stream)], limits=limits)["fluidity_index"].value == pytest.approx(5 / 7)
    assert "fluidity_index" not in summarize([batch(stream)], limits=RequestLimits(ttft=None, tpot=0.1))


def test_a_stall_late_in_a_stream_is_absorbed_by_slack_and_an_early_one_is_not():
    early = record(0, 0, [(10, 1), (110, 1), *((110 + 10 * i, 1) for i in range(1, 9))], 200)
    late = record(0, 0, [*((10 * i, 1) for i in range(1, 10)), (190, 1)], 200)
    assert deadlines(late, 0.02, 0.03) == (10, 10)
    met, total = deadlines(early, 0.02, 0.03)
    assert met < total


def test_the_speed_of_the_phases_by_hand():
    found = summarize(BATCHES)
    assert found["prefill_throughput"].value == pytest.approx((10 + 20 + 10) / (0.010 + 0.012 + 0.030))
    assert found["decode_throughput"].value == pytest.approx((2 + 5) / (0.030 + 0.036))
    queued = RequestRecord(0, 10, 0, ((50 * MS, 1), (60 * MS, 1)), 60 * MS, prefill_ns=30 * MS)
    assert summarize([batch(queued)])["prefill_throughput"].value == pytest.approx(10 / 0.020)


def test_the_error_rate_counts_what_failed_and_not_what_was_cut_off():
    records = [PLAIN] * 7 + [
        record(1, 0, [], 5, error="HTTP 500"),
        record(2, 0, [(3, 1)], 5, error="cut off"),
    ]
    found = error_rate(records)["error_rate"]
    assert (found.value, found.n) == (pytest.approx(1 / 8), 8)
    assert error_rate([PLAIN] * 50)["error_rate"].sem > 0
    assert error_rate([]) == {}


def test_windows_count_requests_when_sent_and_tokens_when_they_arrive():
    requests = [
        record(0, 90, [(110, 2), (130, 2)], 140),  # sent before, flows in the first window
        record(1, 120, [(150, 1), (210, 4)], 220),  # sent in the first, flows in both
        record(2, 250, [(290, 3)], 320, error="cut off"),  # its tokens flowed, it did not end
        record(3, 260, [(270, 5)], 280, error="HTTP 500"),
    ]
    first, second = cut_windows(requests, 100 * MS, 300 * MS, 2)
    assert ([r.id for r in first.sent], [r.id for r in second.sent]) == ([1], [2, 3])
    assert (first.seconds, second.seconds) == (0.1, 0.1)
    assert [w.flow(OUTPUT_THROUGHPUT.events, OUTPUT_THROUGHPUT.partial) for w in (first, second)] == [5, 7]
    found = summarize([first, second], limits=RequestLimits(ttft=1.0, tpot=1.0))
    assert found["output_throughput"].value == pytest.approx(12 / 0.2)
    assert found["request_throughput"].value == pytest.approx(2 / 0.2)
    assert found["goodput"].value == pytest.approx(1 / 0.2)
    assert found["e2e.mean"].value == pytest.approx(0.100)


def test_quantiles_of_latencies_are_kept_in_few_numbers():
    failed = record(3, 0, [], 90, error="HTTP 500")
    found = latency_quantiles([PLAIN, DRAFTED, SINGLE, failed])
    assert found["levels"] == list(LEVELS)
    assert (found["ttft"][0], found["ttft"][-1]) == (0.010, 0.030)
    assert found["ttft"][LEVELS.index(0.5)] == 0.012
    assert found["e2e"][-1] == 0.050
    assert all(len(values) == len(LEVELS) for values in found.values())
    assert set(found) == {"levels", "ttft", "itl", "tpot", "e2e"}
    assert latency_quantiles([failed]) == {}
