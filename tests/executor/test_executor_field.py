"""Whole attempts on servers as they are in the field: right, or failed with the true reason."""

import importlib.util
import json
from pathlib import Path

import pytest

from autotune.core.measurement import Cause
from autotune.core.request import RequestRecord
from autotune.executor.base import Deadlines, Job
from autotune.executor.worker import run_attempt

FIELD = Path(__file__).resolve().parents[1] / "toy" / "field_server.py"
SPEC = importlib.util.spec_from_file_location("field_server", FIELD)
field_server = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(field_server)
WORKLOAD = {
    "concurrency": 2,
    "prompt_tokens": 16,
    "output_tokens": 24,
    "requests": 20,
    "time": "1 s",
    "warmup": 0,
}


@pytest.fixture
def server():
    with field_server.serving() as found:
        yield found


@pytest.fixture
def attempt(server, tmp_path):
    def run(manners, config=None, judged=("output_throughput",), **section):
        job = Job(
            study="field", trial=0, attempt=1, config=config or {}, goal=judged[0], judged=list(judged),
            system={"use": "openai_server", "url": server.url(manners), **section},
            workload=WORKLOAD, scratch=str(tmp_path / "t0"), deadlines=Deadlines(20.0, 60.0, 1.0),
        )  # fmt: skip
        return run_attempt(job).measurement

    return run


def tokens_of(measurement, tmp_path):
    lines = (tmp_path / "t0" / "requests.jsonl").read_text().splitlines()
    return {sum(count for _, count in json.loads(line)["arrivals"]) for line in lines}


@pytest.mark.parametrize(
    ("manners", "config", "how", "tokens"),
    [
        ("x-nousage", {"draft": 7}, "length", 24),
        ("multi-stop-nousage-tokenize", {"draft": 3}, "tokenizer", 24),
        ("plain-multi-nousage-nooptions", {}, "length", 24),
        ("short-nousage", {}, "chunks", 12),
        ("busy-multi", {}, "usage", 24),
    ],
)
def test_tokens_of_a_servers_answer_are_counted_right(attempt, tmp_path, manners, config, how, tokens):
    found = attempt(manners, config)
    assert found.failure is None
    assert found.facts["measured"]["tokens_by"] == how
    assert tokens_of(found, tmp_path) == {tokens}
    assert ("told_to_wait" in found.facts["measured"]) is manners.startswith("busy")
    assert ("other_lengths" in found.facts["measured"]) is (tokens != 24)


@pytest.mark.parametrize(
    ("manners", "how", "warned"),
    [
        ("textcounts-multi-stop", "usage", ()),
        (
            "oddcounts-multi",
            "length, against the usage",
            ("is not believed: usage.prompt_tokens is True", "counted as the tokens asked for"),
        ),
        ("oddcounts-x-stop", "chunks", ("usage.prompt_tokens is True", "counted by chunks")),
    ],
)
def test_a_server_that_lies_about_types_is_measured_by_what_is_true(attempt, tmp_path, manners, how, warned):
    found = attempt(manners)
    assert found.failure is None, found.failure
    assert found.facts["measured"]["tokens_by"] == how
    assert tokens_of(found, tmp_path) == {24}
    notes = "\n".join(found.facts["measured"].get("warnings", ()))
    assert all(said in notes for said in warned)
    assert bool(warned) is ("is not believed" in notes)


@pytest.mark.parametrize("manners", ["hides", "hides-multi", "hides-onlychat-multi"])
def test_hidden_reasoning_is_throughput_and_no_part_of_the_time_per_token(attempt, tmp_path, manners):
    found = attempt(manners, judged=("tpot.mean", "itl.mean", "output_throughput"))
    assert found.failure is None, found.failure
    assert tokens_of(found, tmp_path) == {24 + field_server.HIDDEN}
    first = 4 if "multi" in manners else 1
    for line in (tmp_path / "t0" / "requests.jsonl").read_text().splitlines():
        record = RequestRecord.from_dict(json.loads(line))
        assert record.hidden == field_server.HIDDEN
        assert record.shown_after_first == 24 - first
        assert record.arrivals[0][1] == field_server.HIDDEN + first
    notes = found.facts["measured"]["warnings"]
    (note,) = [note for note in notes if "tokens" in note]
    assert "answers begin with tokens that are not shown, 500 each: ttft is the time to the first" in note
    assert "prefill_throughput" not in found.metrics


def test_tokens_are_counted_by_the_models_own_tokenizer(attempt, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"w": 0, "00": 1, "[UNK]": 2}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, "[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    found = attempt("multi-stop-nousage", {"draft": 3}, tokenizer=str(tmp_path))
    assert found.failure is None
    assert found.facts["measured"]["tokens_by"] == "tokenizer"
    assert tokens_of(found, tmp_path) == {24}
    missing = attempt("multi-stop-nousage", {"draft": 3}, tokenizer=str(tmp_path / "nowhere"))
    assert "cannot read the tokenizer" in missing.failure.message


@pytest.mark.parametrize(
    ("manners", "config", "judged", "cause", "said"),
    [
        (
            "stop-nousage",
            {"draft": 3},
            ["output_throughput"],
            Cause.OWNER_MISTAKE,
            "hold several tokens each",
        ),
        ("stop-nousage", {"draft": 0}, ["output_throughput"], Cause.OWNER_MISTAKE, "draft decides how many"),
        (
            "hidesuntold-stop",
            {},
            ["tpot.mean"],
            Cause.OWNER_MISTAKE,
            "tpot.mean cannot be known; it must show",
        ),
        ("hides", {}, ["prefill_throughput"], Cause.OWNER_MISTAKE, "prefill_throughput cannot be known"),
        ("allhidden", {}, ["e2e.mean"], Cause.OWNER_MISTAKE, "no output tokens but 24 of reasoning that is"),
        ("whole", {}, ["e2e.mean"], Cause.OWNER_MISTAKE, "the whole answer came as one application/json"),
        ("oom", {}, ["e2e.mean"], Cause.OUT_OF_MEMORY, "CUDA out of memory"),
    ],
)
def test_what_cannot_be_right_fails_with_its_reason(attempt, manners, config, judged, cause, said):
    found = attempt(manners, config, judged)
    assert (found.failure.cause, found.metrics) == (cause, {})
    assert said in found.failure.message


def test_a_goal_without_tokens_needs_no_count_of_them(attempt):
    found = attempt("multi-stop-nousage", {"draft": 3}, ["e2e.mean"])
    assert found.failure is None
    (note,) = [n for n in found.facts["measured"]["warnings"] if "chunks" in n]
    assert note.startswith("tokens counted by chunks, which hold several words each: ")
