"""The comparison of load clients: what logs say, what is false, where the search ends, the tables."""

import json
import os

import pytest

from benchmarks.load import bench, clients
from benchmarks.load.bench import Bench, Search, what_is_false
from benchmarks.load.clients import AIPerfClient, GuideLLMClient, Load, Own, said_by_vllm
from benchmarks.load.observed import METRICS, arrivals, mean_streams, observe, steady_part, whole_run
from benchmarks.load.report import put_into, report
from benchmarks.load.servers import Row, llama_rows, stub

MS = 10**6
LLAMA_LOG = """\
0.00.071.622 I srv  llama_server: listening on http://127.0.0.1:18555
0.03.023.109 I slot get_availabl: id  7 | task -1 | selected slot by LRU, t_last = -1
0.03.023.167 I slot launch_slot_: id  7 | task 0 | processing task, is_child = 0
0.03.024.000 I slot launch_slot_: id  6 | task 3 | processing task, is_child = 0
0.03.032.919 I slot print_timing: id  7 | task 0 | prompt eval time =       7.48 ms /    32 tokens (    0.23 ms)
0.03.032.952 I slot print_timing: id  7 | task 0 |        eval time =       2.50 ms /     6 tokens (    0.45 ms)
0.03.032.964 I slot print_timing: id  7 | task 0 |       total time =       9.98 ms /    38 tokens
0.03.032.997 I slot      release: id  7 | task 0 | stop processing: n_tokens = 37, truncated = 0
"""  # noqa: E501


def rows(count, *, ttft=20, itl=10, tokens=3, every=50):
    """Return requests that come at even times; all in milliseconds."""
    return [
        Row(i * every * MS, tuple((i * every + ttft + itl * k) * MS for k in range(tokens)))
        for i in range(count)
    ]


def test_a_log_of_llama_cpp():
    (row,) = llama_rows(LLAMA_LOG, 1_000)  # the other request has not ended
    assert row.begun_ns == 3_023_167_000 + 1_000
    assert [t - row.begun_ns for t in row.tokens_ns] == [7_480_000 + 500_000 * i for i in range(6)]


def test_metrics_of_even_requests():
    found = observe(rows(20), 0, 1000 * MS, (20.0, 10.0))
    assert set(found) == set(METRICS)
    assert {found[f"ttft.{s}"] for s in ("mean", "p50", "p99")} == {20.0}
    assert {found[f"{m}.{s}"] for m in ("itl", "tpot") for s in ("mean", "p50", "p99")} == {10.0}
    assert found["e2e.mean"] == 40.0
    assert (found["request_throughput"], found["output_throughput"], found["goodput"]) == (20, 60, 20)
    assert observe(rows(20), 0, 1000 * MS, (19.9, 10.0))["goodput"] == 0
    assert arrivals(rows(20)) == pytest.approx((20.0, 0.0))
    assert mean_streams(rows(20), 0, 1000 * MS) == pytest.approx(0.8)
    assert whole_run(rows(2)) == (0, 90 * MS + 1)
    assert steady_part(rows(20)) == (48 * MS, 950 * MS)


def test_a_client_that_misreports_requests_or_latencies_is_named():
    server = observe(rows(20), 0, 1000 * MS, (20.0, 10.0))
    late = observe(rows(20, ttft=26), 0, 1000 * MS, (20.0, 10.0))
    wide = observe(rows(20, itl=11), 0, 1000 * MS, (20.0, 10.0))
    assert what_is_false(100, 99, server, server) == []
    assert what_is_false(100, 97, server, server) == ["97 of 100 at the server"]
    assert what_is_false(100, 100, late, server) == ["ttft +6.0 ms"]
    assert what_is_false(100, 100, wide, server) == ["itl.mean +10.0 %"]
    assert what_is_false(100, 97, late, server, 4.0) == []
    assert what_is_false(100, 100, {}, server) == ["nothing was measured"]


@pytest.mark.parametrize(("first", "limit"), [(100, 95), (100, 100), (100, 1000), (100, 20)])
def test_the_search_brackets_the_limit(monkeypatch, tmp_path, first, limit):
    searched = Bench([], {}, tmp_path / "out")
    tried = []

    def probe(part, name, search, level):
        tried.append(level)
        return ([] if level <= limit else ["late"]), level > 1.2 * limit

    monkeypatch.setattr(searched, "probe", probe)
    searched.search("rate", "own", Search({}, "constant", 2, 1.0, {"own": first}))
    searched.close()
    good = max(level for level in tried if level <= limit)
    bad = min(level for level in tried if level > limit)
    assert good <= limit < bad <= bench.CLOSE_ENOUGH * good * 1.02  # levels are whole numbers
    # What is false by a little is tried a second time; by much, once.
    assert all(tried.count(level) == (2 if limit < level <= 1.2 * limit else 1) for level in tried)


def test_summaries_of_other_clients_become_our_metrics(tmp_path):
    told = {f"{s}_{m}_ms": i for i, (s, m) in enumerate(
        (s, m) for m in ("ttft", "tpot", "itl", "e2el") for s in ("mean", "p50", "p99"))}  # fmt: skip
    told |= {"request_throughput": 20, "output_throughput": 21, "request_goodput": 22,
             "start_times": [1.0, 2.0], "ttfts": [0.5, 0.0], "itls": [[0.25, 0.25], []],
             "errors": ["", "Traceback\nlost\n"]}  # fmt: skip
    said = said_by_vllm(told)
    assert [said.metrics[name] for name in METRICS] == [*range(12), 20, 21, 22]
    assert said.rows == [Row(10**9, (1_500_000_000, 1_750_000_000, 2_000_000_000))]
    assert said.errors == ["lost"]
    (tmp_path / "out").mkdir()
    names = ("time_to_first_token", "inter_token_latency", "inter_chunk_latency", "request_latency")
    found = {name: {"avg": 3 * i, "p50": 3 * i + 1, "p99": 3 * i + 2} for i, name in enumerate(names)}
    found |= {
        "request_throughput": {"avg": 20},
        "output_token_throughput": {"avg": 21},
        "goodput": {"avg": 22},
    }
    (tmp_path / "out" / "profile_export_aiperf.json").write_text(json.dumps(found))
    assert AIPerfClient(None, "").summary(tmp_path) == said.metrics
    one = {"successful": {"mean": 2.0, "median": 3.0, "percentiles": {"p99": 4.0}}}
    kinds = ("time_to_first_token_ms", "inter_token_latency_ms", "request_latency", "requests_per_second",
             "output_tokens_per_second", "request_goodput")  # fmt: skip
    report_ = {"benchmarks": [{"metrics": dict.fromkeys(kinds, one)}]}
    (tmp_path / "benchmark.json").write_text(json.dumps(report_))
    summary = GuideLLMClient(None, "").summary(tmp_path)
    assert (summary["ttft.p99"], summary["e2e.mean"], summary["goodput"]) == (4.0, 2000.0, 2.0)
    assert "itl.mean" not in summary  # it has none


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="client and server have a core each")
def test_our_client_and_the_stub_agree_on_what_was_asked_and_given(tmp_path, monkeypatch):
    monkeypatch.setattr(clients, "DRAIN_S", 20.0)
    load = Load("", "concurrency", 3, 30, 1.0, 40, 4, (1000.0, 1000.0))
    with stub({"ttft": 0.02, "itl": 0.005, "spread": 0.3}, tmp_path) as server:
        assert not server.begun()
        said = Own().run(load, server, tmp_path)
        assert server.begun()
    asked = [row for row in server.rows if len(row.tokens_ns) == 4]
    assert said.errors == []
    assert len(said.rows) <= len(asked) <= len(said.rows) + 3  # what was cut off at the end has been answered
    assert all(row.begun_ns < min(row.tokens_ns) for row in asked)
    assert all(row.late_ns >= 0 for row in asked)
    assert set(said.metrics) == set(METRICS)


def test_the_benchmarks_tables_say_what_was_seen_and_what_failed(tmp_path):
    server = observe(rows(20), 0, 1000 * MS, (20.0, 10.0))
    run = {"part": "stub", "scene": "closed, 4", "asked_rate": None, "seen_rate": 16.0, "variation": 1.0,
           "requests": 9, "failed": 1, "failure": "lost", "server": server, "server_core": 0.25,
           "client_core": None}  # fmt: skip
    off = [{**server, "ttft.mean": 20.0 + x, "goodput": 20 * (1 + x / 100)} for x in (1, 3)]
    probe = {"part": "rate", "client": "own", "server": server, "said": off[0], "late_ms": 0.1,
             "client_core": 0.5, "server_core": 0.25}  # fmt: skip
    lines = [
        *({**run, "client": "own", "repeat": i, "said": said} for i, said in enumerate(off)),
        {**run, "client": "guidellm", "repeat": 0, "said": {"ttft.mean": 20.0}},
        {"part": "stub", "scene": "closed, 4", "client": "aiperf", "repeat": 0, "error": "it died"},
        {**probe, "level": 100, "false": []},
        {**probe, "level": 140, "false": ["ttft +6.0 ms"]},
    ]
    path = tmp_path / "load.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = report(path)
    assert "| ttft.mean | 20 ms | +2.00 ± 1.00 | +0.00 ± 0.00 |" in text
    assert "| goodput | 20/s | +2.00 % ± 1.00 | not said |" in text
    assert "| failed |  | 2 | 1 |" in text
    assert "| own | 100 | +1.00 ms, +0.00 % | 50 %, 25 % | 0.10 ms | 140 | ttft +6.0 ms |" in text
    assert "* aiperf, stub: it died" in text
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- tables -->\nold\n<!-- end of tables -->\nb\n")
    put_into(page, text)
    assert page.read_text() == f"a\n<!-- tables -->\n\n{text}\n<!-- end of tables -->\nb\n"
    with pytest.raises(ValueError, match="has no lines"):
        put_into(path, text)
