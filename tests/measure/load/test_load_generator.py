"""The generator against a server with known delays; times are checked loosely: the machine is shared."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from autotune.core.endpoint import Endpoint
from autotune.errors import AutotuneError
from autotune.measure.load.prompts import Order
from autotune.measure.load.schedule import offsets
from autotune.measure.load.sending import Sending
from autotune.measure.workload import Workload

ROOT = Path(__file__).resolve().parents[3]
OPEN = {"arrival": "poisson", "rate": 40, "prompt_tokens": 30, "output_tokens": 6}
CLOSED = {"prompt_tokens": 30, "output_tokens": 6}


def slipped(record):
    return record.send_ns + record.slip_ns


def test_known_delays_are_found(stub, loading, collect):
    with loading(stub.endpoint(ttft=0.05, itl=0.02), OPEN, rate=40.0) as load:
        records = collect(load, 60)
    assert all(r.error is None and r.output_tokens == 6 for r in records)
    ttft = [(r.arrivals[0][0] - slipped(r)) / 1e9 for r in records]
    itl = [gap / 1e9 for r in records for gap in np.diff([t for t, _ in r.arrivals])]
    assert np.median(ttft) == pytest.approx(0.05, abs=0.02)
    assert np.median(itl) == pytest.approx(0.02, abs=0.01)
    for r in records:
        times = [r.send_ns, slipped(r), *(t for t, _ in r.arrivals), r.end_ns]
        assert times == sorted(times)
    written = {note["number"]: note for note in stub.end() if note["tokens"] == 6}
    assert len(written) >= len(records)
    assert all(note["read_ns"] < note["written_ns"][0] for note in written.values())


def test_the_schedule_is_the_one_fixed_beforehand_whatever_the_server_does(stub, loading, collect):
    endpoint = stub.endpoint(ttft=0.01, itl=0.001, stall_at=12, stall=0.7)
    with loading(endpoint, OPEN, rate=40.0) as load:
        records = sorted(collect(load, 70), key=lambda r: r.id)
    planned = itertools.islice(offsets(Workload.from_dict(OPEN), 40.0, "measured"), 200)
    due = {i: load.started_ns + offset for i, offset in enumerate(planned)}
    assert all(r.send_ns == due[r.id] for r in records)
    # The stall makes answers slow; requests go out all the same.
    slow = [r for r in records if (r.arrivals[0][0] - r.send_ns) / 1e9 > 0.3]
    assert len(slow) >= 5
    assert np.median([r.slip_ns for r in slow]) / 1e9 < 0.1
    assert max(r.arrivals[0][0] - r.send_ns for r in slow) / 1e9 > 0.5


def test_equal_streams_are_equal_requests(stub, loading, collect):
    found = []
    for _ in range(2):
        with loading(stub.endpoint(), {**OPEN, "output_tokens": {"mean": 6, "spread": 3}}, rate=40.0) as load:
            records = {r.id: r for r in collect(load, 20)}
        found.append([
            (r.send_ns - load.started_ns, r.prompt_tokens, r.output_tokens)
            for r in (records[i] for i in range(15))
        ])  # fmt: skip
    assert found[0] == found[1]


def test_a_closed_loop_sends_one_for_each_that_ended(stub, loading, collect):
    with loading(stub.endpoint(ttft=0.02, itl=0.002), CLOSED, concurrency=3) as load:
        records = sorted(collect(load, 40), key=slipped)
        assert load.in_flight() <= 3
    edges = sorted([(r.send_ns, 1) for r in records] + [(r.end_ns, -1) for r in records])
    assert max(itertools.accumulate(step for _, step in edges)) == 3
    assert all(r.slip_ns == 0 for r in records)
    assert len({note["connection"] for note in stub.end() if note["number"] > 5}) <= 4  # kept alive


@pytest.mark.parametrize(("workload", "how"), [(CLOSED, {"concurrency": 8}), (OPEN, {"rate": 200.0})])
def test_what_was_sent_up_to_a_time_has_ended_when_it_is_said_to(stub, workload, how, loading):
    with loading(stub.endpoint(ttft=0.015, itl=0.001), workload, **how) as load:
        for _ in range(15):
            load.poll(0.03)
            until = time.monotonic_ns()  # a request may have gone out just now that nobody has told of
            while not load.ended_up_to(until):
                load.poll(0.01)
            load.poll(0.0)
            later = [*load.poll(0.05), *load.poll(0.05)]
            assert all(record.send_ns > until for record in later)
        until = time.monotonic_ns()
        while not load.ended_up_to(until):
            load.poll(0.01)
        load.poll(0.0)
        assert all(record.send_ns > until for record in load.stop(0.0))


def test_one_at_a_time(stub, loading, collect):
    with loading(stub.endpoint(), CLOSED, concurrency=1, stream="warmup") as load:
        records = sorted(collect(load, 6), key=lambda r: r.id)
    assert [r.id for r in records] == list(range(len(records)))
    assert all(a.end_ns <= b.send_ns for a, b in itertools.pairwise(records))


@pytest.mark.parametrize(
    ("usage", "per_chunk", "arrivals"),
    [
        ("continuous", 1, [1, 1, 1, 1, 1, 1]),
        ("continuous", 4, [4, 2]),
        ("final", 4, [4, 2]),
        ("none", 1, [1, 1, 1, 1, 1, 1]),
    ],
)
@pytest.mark.parametrize("chat", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_tokens_are_counted_with_and_without_usage_records(
    stub, usage, per_chunk, arrivals, chat, loading, collect
):
    endpoint = stub.endpoint(chat=chat, usage=usage, per_chunk=per_chunk)
    with loading(endpoint, CLOSED, concurrency=2) as load:
        records = collect(load, 4)
    assert [[n for _, n in r.arrivals] for r in records] == [arrivals] * len(records)
    assert {r.error for r in records} == {None}


FAULTS = {
    "http500": "HTTP 500: server died at the end",
    "text500": "HTTP 503: busy",
    "json": "no stream: the whole answer came as one application/json",
    "not_http": "no HTTP: b'SSH-2.0-OpenSSH_9.2'",
    "endless_head": "no HTTP: no end of a line in 65536 bytes",
    "bad_chunk": "no HTTP: a chunk's size is b'zz'",
    "garbage": "an event is no JSON: b'{not json'",
    "list": "an event is no object: b'[1, 2]'",
    "deep": f"an event is no JSON: {b'[' * 60!r}",
    "endless_event": "an event of more than 4 MiB",
    "error_event": "the server said: out of memory",
    "no_done": "truncated: the stream ended after 1 tokens without saying so",
    "empty": "no output tokens",
    "truncate": "truncated: the connection ended before the response",
    "short": "3 of 6 tokens came",
    "never": "timeout: no end within 1 s",
    "hang": "timeout: no end within 1 s",
}


RARE = {"text500", "list", "deep", "empty", "endless_head", "never"}  # each like another one


@pytest.mark.parametrize(
    "mode", [pytest.param(mode, marks=pytest.mark.slow if mode in RARE else ()) for mode in FAULTS]
)
def test_a_fault_of_the_server_becomes_the_records_error(stub, mode, loading, collect):
    with loading(stub.endpoint(mode=mode), CLOSED, concurrency=2, timeout_s=1.0, calibrate_s=0.5) as load:
        records = collect(load, 3)
        assert load.poll(0.0) is not None  # the generator lives on
    assert {r.error for r in records} == {FAULTS[mode]}
    for r in records:
        times = [r.send_ns, *(t for t, _ in r.arrivals), r.end_ns]
        assert times == sorted(times)


def test_what_arrived_before_a_fault_is_kept(stub, loading, collect):
    with loading(stub.endpoint(mode="truncate"), CLOSED, concurrency=1) as load:
        records = collect(load, 2)
    assert {r.output_tokens for r in records} == {3}


@pytest.mark.parametrize("mode", ["close", "rude", "old", "linger"])
def test_oddities_that_are_no_fault(stub, mode, loading, collect):
    workload = {**CLOSED, "output_tokens": 1} if mode == "linger" else CLOSED
    # a response that never ends is read until the calibration's time is over
    with loading(stub.endpoint(mode=mode), workload, concurrency=2, calibrate_s=2.0) as load:
        records = collect(load, 6)
    assert len(records) >= 6
    assert {r.error for r in records} == {None}


def test_a_usage_that_is_none_is_no_fault_and_is_said(stub, loading, collect):
    with loading(stub.endpoint(mode="bad_usage"), CLOSED, concurrency=2) as load:
        records = collect(load, 3)
    assert {(r.error, r.doubted) for r in records} == {(None, "usage.completion_tokens is -7")}


def test_an_answer_in_single_bytes(stub, loading, collect):
    with loading(stub.endpoint(mode="bytes"), CLOSED, concurrency=1) as load:
        records = collect(load, 2)
    assert {r.error for r in records} == {None}
    assert {(r.prompt_tokens, r.output_tokens) for r in records} == {(5, 6)}


def test_fewer_tokens_are_no_error_where_not_all_were_asked_for(stub, loading, collect):
    endpoint = Endpoint(stub.url, "stub", body={"stub": {"mode": "short"}})
    with loading(endpoint, CLOSED, concurrency=1) as load:
        records = collect(load, 2)
    assert {(r.error, r.output_tokens) for r in records} == {(None, 3)}


def test_fields_and_headers_are_sent_and_headers_are_seen_nowhere(stub, loading, collect):
    body = {"min_tokens": "{max_tokens}", "nested": {"n": ["{max_tokens}"]}}
    endpoint = stub.endpoint(headers={"Authorization": "Bearer secret-key"}, body=body)
    assert "secret" not in repr(endpoint)
    with loading(endpoint, CLOSED, concurrency=1) as load:
        command = Path(f"/proc/{load._process.pid}/cmdline").read_bytes()
        environment = Path(f"/proc/{load._process.pid}/environ").read_bytes()
        collect(load, 3)
    assert b"secret-key" not in command + environment
    notes = [note for note in stub.end() if note["tokens"] == 6]
    assert notes
    assert all(note["key"] for note in notes)
    assert all(note["body"]["min_tokens"] == 6 and note["body"]["nested"] == {"n": [6]} for note in notes)


def test_a_header_with_a_line_end_is_refused(stub, loading):
    endpoint = stub.endpoint(headers={"X-A": "b\r\nX-C: d"})
    with (
        pytest.raises(AutotuneError, match="the header 'X-A' has a line end"),
        loading(endpoint, CLOSED, concurrency=1),
    ):
        pass


def test_stopping_waits_for_what_is_under_way_as_long_as_it_is_told(stub, loading):
    endpoint = stub.endpoint(ttft=0.4, itl=0.001)
    with loading(endpoint, CLOSED, concurrency=3) as load:
        time.sleep(0.2)
        records = load.stop(20.0)
        assert [r.error for r in records] == [None] * 3
        assert load.ended
        assert load.in_flight() == 0
    with loading(endpoint, CLOSED, concurrency=3) as load:
        time.sleep(0.2)
        assert load.in_flight() == 3
        records = load.stop(0.0)
        assert [r.error for r in records] == ["cut off"] * 3
        assert all(r.arrivals == () for r in records)


def test_a_server_that_dies_is_recorded(stub, loading, collect):
    with loading(stub.endpoint(die_at=20, ttft=0.05), OPEN, rate=40.0) as load:
        records = collect(load, 40)
    errors = [r.error for r in records if r.error]
    assert errors
    assert all(e.startswith(("cannot connect: ", "connection lost: ", "truncated: ")) for e in errors)
    assert any(r.error is None for r in records)
    assert any(e.startswith("cannot connect: ") for e in errors)


def test_a_server_that_is_not_there_is_recorded_without_a_storm(loading):
    endpoint = Endpoint("http://127.0.0.1:9", "nobody")
    with loading(endpoint, CLOSED, concurrency=1) as load:
        time.sleep(1.0)
        records = load.poll(0.1)
    assert 1 <= len(records) <= 8
    assert all(r.error.startswith("cannot connect: ") for r in records)


def test_the_death_of_the_generator_is_an_error_of_ours(stub, loading, collect):
    with loading(stub.endpoint(), OPEN, rate=40.0) as load:
        collect(load, 5)
        os.kill(load._process.pid, signal.SIGKILL)
        with pytest.raises(AutotuneError, match="the load generator died"):
            collect(load, 1000, 10.0)
        assert isinstance(load.stop(5.0), list)
        assert load.ended


PARENT = """
import sys, time, json
from autotune.core.endpoint import Endpoint
from autotune.measure.load.base import LoadPlan
from autotune.measure.load.generator import OwnGenerator
from autotune.measure.workload import Workload
load = OwnGenerator().start(LoadPlan(Endpoint(sys.argv[1], "stub"), Workload(), None, 2))
print(load._process.pid, flush=True)
time.sleep(60)
"""


def test_the_generator_does_not_outlive_its_parent(stub):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, stub.url], stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
    gone, alive = psutil.wait_procs([child], timeout=10)
    assert not alive, gone


def test_a_trace_is_replayed_to_its_end(stub, tmp_path, loading, collect):
    path = tmp_path / "trace.jsonl"
    rows = [{"arrival_s": i / 100, "input_tokens": 20 + i, "output_tokens": 1 + i % 4} for i in range(30)]
    path.write_text("\n".join(map(json.dumps, rows)))
    workload = {"arrival": "trace", "trace": str(path)}
    with loading(stub.endpoint(tokenize="/tokenize"), workload) as load:
        records = sorted(collect(load, 1000), key=lambda r: r.id)
        assert load.ended
    assert [(r.prompt_tokens, r.output_tokens) for r in records] == [
        (row["input_tokens"], row["output_tokens"]) for row in rows
    ]
    assert [r.send_ns - load.started_ns for r in records] == [round(i * 1e7) for i in range(30)]
    with loading(stub.endpoint(), workload, rate=200.0) as load:
        records = collect(load, 1000)
    span = max(r.send_ns for r in records) - min(r.send_ns for r in records)
    assert span == pytest.approx(29 / 200 * 1e9)


@pytest.mark.parametrize(
    ("key", "wanted"), [("trace", "cannot read the trace"), ("prompts", "cannot read the prompts")]
)
def test_a_file_that_is_not_there_is_an_error_before_anything_is_sent(stub, key, wanted, loading):
    with (
        pytest.raises(AutotuneError, match=f"the load generator cannot start: {wanted}"),
        loading(stub.endpoint(), {key: "nowhere.jsonl"}, rate=1.0),
    ):
        pass


def test_own_prompts_are_sent_in_turn(stub, tmp_path, loading, collect):
    path = tmp_path / "prompts.jsonl"
    path.write_text(
        '{"prompt": "one two", "output_tokens": 2}\n{"messages": [{"role": "user", "content": "a"}]}\n'
    )
    workload = {"prompts": str(path), "output_tokens": 5}
    for chat, lengths in ((False, [3, 2]), (True, [7, 6])):
        with loading(stub.endpoint(chat=chat), workload, concurrency=1) as load:
            records = sorted(collect(load, 4), key=lambda r: r.id)[:4]
        assert [r.prompt_tokens for r in records] == lengths * 2
        assert [r.output_tokens for r in records] == [2, 5, 2, 5]


def test_a_generator_that_cannot_keep_up_still_hears_what_comes(monkeypatch):
    """Sending takes longer than the time to the next request: answers, and the order to stop, are heard."""
    loop, now, most = asyncio.new_event_loop(), itertools.count(0, 1000), 5000

    class Sink:
        def __init__(self):
            self.loop, self.heard_after = loop, None

        def send(self, exchange):
            if sending.sent >= most:
                sending.stopped = True

    def hear():
        sink.heard_after = sending.sent
        sending.stopped = True

    sink = Sink()
    order = Order(0, (("user", "x"),), "x", 1, 1)
    sending = Sending(sink, lambda i: (order, b""), lambda *_: None, timeout_s=1, exact=False,
                      schedule=itertools.count(0, 10))  # fmt: skip
    monkeypatch.setattr("autotune.measure.load.sending.time.monotonic_ns", lambda: next(now))
    loop.call_soon(sending._fire)
    loop.call_soon(hear)
    sending._due = next(sending._schedule)
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert sink.heard_after is not None
    assert 0 < sink.heard_after < most
