"""Servers that break every rule, against everything that reads from a server: a true cause, in time.

No manner of a server is an error of ours (``worker_lost``), and none is waited for beyond the limits given.
"""

import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import hostile_server
from autotune.core.endpoint import Endpoint, Refused
from autotune.core.measurement import Cause
from autotune.core.mistake import mistake_error
from autotune.core.request import RequestRecord
from autotune.executor.base import Deadlines, Job
from autotune.executor.worker import run_attempt
from autotune.measure.load import token_counter
from autotune.measure.load.base import LoadPlan
from autotune.measure.load.calibrate import Calibration, calibrate
from autotune.measure.load.generator import OwnGenerator
from autotune.measure.load.token_counter import TokenCounter
from autotune.measure.load.wire import record_frame, record_of
from autotune.measure.quality.answers import EndpointSource, NoAnswer
from autotune.measure.watch import server_watch
from autotune.measure.watch.server_watch import ServerWatch, counters_of
from autotune.measure.workload import Workload
from autotune.systems.base import AttemptFailed, NotReady
from autotune.systems.registry import build_system
from autotune.systems.served import system as served_system
from autotune.systems.served.client import ask
from autotune.systems.served.launch import Launch
from autotune.systems.served.ready import wait_ready

LIMIT_S = 0.3
SLACK_S = 10.0  # for a busy machine: without a limit on all of it, what drips would take hours
LATE = {"drip_body", "drip_events", "drip_head", "silent"}
BROKEN = {"closes", "resets", "resets_midway", "long_length"}  # as a server that is ending or not quite there
TAKEN = {
    "huge_numbers",
    "not_a_number",
    "odd_counts",
}  # answers whose text is right, with numbers that are none
MANNERS = hostile_server.MANNERS


@pytest.fixture(scope="module")
def servers():
    with hostile_server.serving() as found, hostile_server.serving(manner="silent.none") as away:
        found.away = f"http://127.0.0.1:{away.server_address[1]}/v1/models"
        yield found
        assert away.asked == []  # nothing follows a redirect


@pytest.fixture(autouse=True)
def short_limits(monkeypatch):
    monkeypatch.setattr(server_watch, "_TIMEOUT_S", LIMIT_S)
    monkeypatch.setattr(served_system, "_TOLD_S", LIMIT_S)
    monkeypatch.setattr(token_counter, "_ANSWER_S", LIMIT_S)


@pytest.fixture(autouse=True)
def in_time():
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 12 * LIMIT_S + SLACK_S


def outcome(call):
    """Return what a reader gives, or the exception that it may raise."""
    try:
        return call()
    except (Refused, NoAnswer, NotReady, AttemptFailed) as error:
        return error


def limit_for(manner):
    """Return seconds for an answer: few where none comes; any other may be late on a busy machine."""
    return LIMIT_S if manner in LATE | BROKEN else SLACK_S / 2


def cause_of(found):
    return found.failure.cause if isinstance(found, AttemptFailed) else type(found)


@pytest.mark.parametrize("manner", MANNERS)
def test_whatever_comes_is_one_answer_or_refused(servers, manner):
    found = outcome(lambda: ask(servers.url(manner, "all"), "/v1/models", timeout=limit_for(manner)))
    if manner in LATE:
        assert str(found) == "no complete answer within 0.3 s"
    elif manner.startswith("redirect"):
        assert found.redirected
        assert re.match(r"HTTP 30[1278]: redirected to .+, which is not followed", str(found))
    elif isinstance(found, Refused):
        assert found.malformed is (manner not in BROKEN)
    else:
        assert manner in TAKEN | {"nested", "endless_digits", "no_text", "other_json", "short_length"}


@pytest.mark.parametrize("manner", MANNERS)
def test_a_launched_server_is_not_ready_or_gives_wrong_output(servers, tmp_path, manner):
    Launch(servers.url(manner, "all"), ready="").write(tmp_path)
    redirect = manner.startswith("redirect")
    never = Cause.OWNER_MISTAKE if redirect else NotReady
    patience_s = limit_for(manner) if redirect else LIMIT_S
    assert cause_of(outcome(lambda: wait_ready(tmp_path, time.monotonic() + patience_s))) is never
    Launch(servers.url(manner, "first"), ready="").write(tmp_path)
    first = outcome(lambda: wait_ready(tmp_path, time.monotonic() + limit_for(manner)))
    if manner in TAKEN:
        assert first[1]["first_answer_tokens"] is None
    elif redirect:
        assert cause_of(first) is Cause.OWNER_MISTAKE
    else:
        assert cause_of(first) is (NotReady if manner in LATE | BROKEN else Cause.WRONG_OUTPUT)


REDIRECTS = {
    "redirect_loop": "redirected to '/v1/models', which is not followed",
    "redirect_away": "redirected to 'http://127.0.0.1:",
    "redirect_to_tls": "which is not followed; the server wants TLS: the url is https://",
    "redirect_to_slash": "which is not followed; the path ends with a slash",
    "redirect_nowhere": "redirected to 'http://[::1', which is not followed",
    "redirect_unsaid": "redirected to nowhere (no Location), which is not followed",
}
CONTROL = {"list": "/v1/models", "first": "/v1/completions", "facts": "/metrics", "tokenize": "/tokenize"}


@pytest.mark.parametrize("ours", [True, False], ids=["launched", "running"])
@pytest.mark.parametrize("stage", CONTROL)
@pytest.mark.parametrize("manner", REDIRECTS)
def test_a_redirect_is_the_owners_to_mend_at_once(servers, tmp_path, manner, stage, ours):
    """Whatever is asked before a load: a long start-up deadline is not waited for."""
    url = servers.url(manner, stage)
    Launch(url, ready="", ours=ours, tokenize="/tokenize", prometheus="/metrics").write(tmp_path)
    asked = len(servers.asked)
    found = outcome(lambda: wait_ready(tmp_path, time.monotonic() + 3600.0))
    assert cause_of(found) is Cause.OWNER_MISTAKE
    assert found.failure.message.startswith(f"{url}{CONTROL[stage]}: HTTP 30")
    assert REDIRECTS[manner].replace("/v1/models", CONTROL[stage]) in found.failure.message
    assert mistake_error(found.failure, "trial 0").exit_code == 3
    assert servers.asked[asked:].count(CONTROL[stage]) == 1


def test_every_redirect_has_a_row():
    assert set(REDIRECTS) == {manner for manner in MANNERS if manner.startswith("redirect")}


@pytest.mark.parametrize("manner", MANNERS)
def test_what_servers_tell_of_themselves_is_facts_or_nothing(servers, tmp_path, manner):
    url = servers.url(manner, "facts")
    for use in ("vllm", "sglang", "llama_cpp", "ollama"):
        system = build_system({"use": use, "model": "m"})
        if manner.startswith("redirect"):
            told = outcome(lambda system=system: system.server_facts(url, tmp_path))
            assert cause_of(told) is Cause.OWNER_MISTAKE
            assert re.match(f"{url}/.+: HTTP 30[1278]: redirected to", told.failure.message)
            continue
        facts = system.server_facts(url, tmp_path)
        assert not {"parallel", "slots"} & (facts.keys() | facts.get("effective", {}).keys())
        assert all(isinstance(value, str | dict | bool) for value in facts.values())
    watch = ServerWatch(counters_of(Endpoint(url, "m", prometheus="/metrics")))
    watch.look()
    assert bool(watch.problem) != bool(watch.taken)
    watch.look()
    assert len(watch.taken) < 2


@pytest.mark.parametrize("manner", MANNERS)
def test_questions_before_a_load_end_within_their_patience(servers, manner):
    streams = calibrate(Endpoint(servers.url(manner, "stream"), "m"), seconds=LIMIT_S)
    assert bool(streams.problem) is (manner not in TAKEN)
    counts = Endpoint(servers.url(manner, "tokenize"), "m", tokenize="/tokenize")
    found = calibrate(counts, seconds=60.0, patience_s=2 * LIMIT_S)
    assert (found.problem, found.builder.facts()["prompt_lengths_by"]) == ("", "assumed")
    counter = TokenCounter(counts, Calibration(tokenize="/tokenize"))
    try:
        with pytest.raises(Refused):
            counter._count("a text")
    finally:
        counter.close()


@pytest.mark.parametrize("manner", MANNERS)
def test_a_quality_check_has_an_answer_or_none(servers, manner):
    source = EndpointSource(Endpoint(servers.url(manner, "first"), "m"))
    found = outcome(lambda: source.answers(["a"], 4, time.monotonic() + limit_for(manner)))
    if manner in LATE | BROKEN:
        assert not found.malformed
    elif manner.startswith("redirect"):
        assert (found.redirected, found.malformed) == (True, False)
    else:
        assert isinstance(found, NoAnswer)
        assert found.malformed
    losses = outcome(lambda: source.losses("a text", time.monotonic() + limit_for(manner)))
    assert isinstance(losses, NoAnswer) or losses == []


@pytest.mark.parametrize("manner", hostile_server.HARMLESS)
def test_what_is_odd_and_right_is_read(servers, tmp_path, manner):
    """Byte order marks, keys that come twice, and halves of characters, as in parts of an emoji."""
    model = "m?" if manner == "half_characters" else "m"
    url = servers.url(manner, "all")
    Launch(url, ready="", body={}).write(tmp_path)
    endpoint, facts = wait_ready(tmp_path, time.monotonic() + 30.0)
    assert (endpoint.model, facts["first_answer_tokens"]) == (model, 2)
    calibration = calibrate(replace(endpoint, tokenize="/tokenize"), seconds=1.0)
    assert not calibration.problem
    (answer,) = EndpointSource(endpoint).answers(["a"], 4, time.monotonic() + 30.0)
    assert answer.text.startswith(" a b")
    answer.text.encode()  # what a file takes
    counter = TokenCounter(endpoint, Calibration(tokenize="/tokenize"))
    record = RequestRecord(0, 5, 0, ((1, 1), (2, 1)), 3, counted_by="chunks")
    counted = counter.counted(record, [" a\ud83d", " b"])
    counter.close()
    assert (counted.counted_by, counted.output_tokens) == ("tokenizer", 3)
    found = first_record(url, 30.0)
    assert (found.error, found.output_tokens, found.counted_by) in [(None, 2, "usage"), (None, 4, "length")]


def test_a_models_own_tokenizer_bears_half_a_character(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "[UNK]": 1}, "[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    counter = TokenCounter(Endpoint("http://h", "m", tokenizer=str(tmp_path)), Calibration())
    record = RequestRecord(0, 5, 0, ((1, 1), (2, 1)), 3, counted_by="chunks")
    assert counter.counted(record, ["a ", "\ud83d a"]).output_tokens == 3


def test_what_a_server_says_in_half_a_character_can_be_kept(servers):
    for said in (
        '{"error": {"message": "a\\ud83d"}}',
        '{"detail": ["\\ud83d"]}',
        "a\ud83d",
        b"a\xed\xa0\xbd",
    ):
        refusal = Refused.of_answer(400, {}, said)
        assert str(refusal).encode().startswith(b"HTTP 400: ")
    sent = RequestRecord(0, 5, 0, (), 3, error="a\ud83d")
    assert record_of(record_frame(sent)[5:]).error == "a?"


def first_record(url, limit_s):
    """Return the first record of a load on a server."""
    workload = Workload.from_dict({"prompt_tokens": 8, "output_tokens": 4})
    load = OwnGenerator(timeout_s=limit_s, calibrate_s=LIMIT_S).start(
        LoadPlan(Endpoint(url, "m"), workload, concurrency=1, patience_s=LIMIT_S)
    )
    try:
        records = []
        while not records:
            records = load.poll(1.0)
    finally:
        load.stop(0.0)
    return records[0]


@pytest.mark.parametrize(
    ("manner", "said"),
    [
        ("drip_events", "timeout: no end within 0.3 s"),
        ("drip_head", "timeout: no end within 0.3 s"),
        (
            "endless_body",
            "an answer of more than 16 MiB|no stream: text/event-stream|an event of more than 4",
        ),
        ("endless_events", "an answer of more than 16 MiB"),
        ("endless_event", "an event of more than 4 MiB"),
        ("endless_interim", "no HTTP: heads and trailers of more than 64 KiB"),
        ("endless_trailers", "no HTTP: heads and trailers of more than 64 KiB"),
        ("negative_chunk", "no HTTP: a chunk's size is b'-5'"),
        ("huge_length", "no HTTP: content-length is '9999"),
        ("gzip_bomb", "an answer came packed as gzip, which was not asked for"),
        ("packed_transfer", "an answer came packed as gzip, which was not asked for"),
        ("two_lengths", "no HTTP: two content-lengths that differ"),
        ("no_status", "no HTTP: b'HTTP/1.1 000 OK'"),
        ("resets_midway", "truncated|connection lost"),
        ("redirect_away", "HTTP 307: redirected to 'http://127.0.0.1:.*/v1/models', which is not followed"),
        ("nested", "an event is no JSON"),
        ("closes", "truncated|connection lost"),
    ],
)
def test_a_load_records_what_came_instead_of_a_stream(servers, manner, said):
    found = first_record(servers.url(manner, "stream"), LIMIT_S if manner.startswith("drip") else 30.0)
    assert re.match(said, found.error), found.error


@pytest.mark.parametrize(
    ("manner", "said"),
    [
        ("huge_numbers", "usage.prompt_tokens is 10000"),
        ("not_a_number", "usage.prompt_tokens is nan"),
        ("odd_counts", "usage.prompt_tokens is True"),
    ],
)
def test_a_load_takes_a_text_and_leaves_a_count_that_is_none(servers, manner, said):
    found = first_record(servers.url(manner, "stream"), 30.0)
    assert (found.error, found.counted_by in ("chunks", "tokenizer")) == (None, True)
    assert found.doubted.startswith(said)


SERVER = Path(hostile_server.__file__)


@pytest.mark.parametrize(
    ("manner", "stage", "causes"),
    [
        # one for each cause and stage; the others are slow
        ("negative_chunk", "all", {Cause.STARTUP_TIMEOUT}),
        ("nested", "first", {Cause.WRONG_OUTPUT}),
        ("drip_events", "stream", {Cause.TIME_LIMIT}),
        ("redirect_to_tls", "stream", {Cause.OWNER_MISTAKE}),
        *(
            pytest.param(*others, marks=pytest.mark.slow)
            for others in [
                ("drip_body", "first", {Cause.STARTUP_TIMEOUT}),
                ("endless_body", "first", {Cause.WRONG_OUTPUT}),
                ("negative_chunk", "stream", {Cause.WRONG_OUTPUT}),
                ("endless_events", "stream", {Cause.WRONG_OUTPUT, Cause.TIME_LIMIT}),
                ("redirect_away", "list", {Cause.OWNER_MISTAKE}),
                ("redirect_to_slash", "stream", {Cause.OWNER_MISTAKE}),
            ]
        ),
    ],
)
def test_an_attempt_blames_the_configuration_and_not_the_machine(tmp_path, manner, stage, causes):
    command = [sys.executable, str(SERVER), "{port}", f"{manner}.{stage}"]
    startup_s = 8.0 if Cause.STARTUP_TIMEOUT in causes else 60.0  # a busy machine starts a program late
    measure_s = 3.0 if Cause.TIME_LIMIT in causes else 60.0  # ... and answers late
    job = Job(
        study="hostile", trial=0, attempt=1, config={}, goal="output_throughput",
        system={"use": "openai_server", "command": command, "model": "m", "ready": "/v1/models"},
        workload={"concurrency": 1, "prompt_tokens": 8, "output_tokens": 2, "requests": 10, "time": "1 s"},
        scratch=str(tmp_path / "t0"), deadlines=Deadlines(startup_s, measure_s, 1.0),
    )  # fmt: skip
    measurement = run_attempt(job).measurement
    assert measurement.failure.cause in causes, measurement.failure
    if (manner, stage) == ("negative_chunk", "all"):
        assert "/v1/models: no HTTP: a chunk's size is b'-5'" in measurement.failure.message
    if manner.startswith("redirect") and stage == "stream":
        told = measurement.failure.message
        assert re.match(r"no request was answered: http://127\.0\.0\.1:\d+/v1/completions: HTTP 30", told)
        assert told.endswith(REDIRECTS[manner])
        assert mistake_error(measurement.failure, "trial 0").exit_code == 3
    phases = measurement.facts["phases_s"]
    assert phases["startup"] < startup_s + SLACK_S
    assert phases.get("measure", 0.0) < 3.0 + SLACK_S
