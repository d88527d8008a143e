"""Which measurements may be judged: their tokens were counted, or the goal does not need them."""

import pytest

from autotune.core.request import RequestRecord
from autotune.measure.endpoint.token_counts import counting, needs_tokens, uncounted
from autotune.measure.workload import Workload


def records(*how, **more):
    return [RequestRecord(i, 5, 0, ((10, 4),), 20, counted_by=name, **more) for i, name in enumerate(how)]


def refused(how, judged, parameters, **workload):
    facts, _ = counting(records(*how))
    return uncounted(facts, judged, parameters, Workload.from_dict(workload))


@pytest.mark.parametrize(
    "name", ["draft", "draft_length", "num_speculative_tokens", "spec_draft_n_max", "ngram_size"]
)
def test_chunks_do_not_count_tokens_where_drafting_is_a_parameter(name):
    said = refused(["chunks"] * 3, ["output_throughput"], [name, "threads"])
    assert f"and {name} decides how many tokens a chunk holds: output_throughput would be wrong" in said
    assert not refused(["usage", "length", "tokenizer"], ["output_throughput"], [name])
    assert not refused(["chunks"], ["ttft.p99", "e2e.mean", "request_throughput"], [name])
    assert "tpot.p95" in refused(["usage", "chunks"], ["ttft.p99", "tpot.p95"], [name])


def test_chunks_of_several_words_count_nothing_whatever_is_a_parameter():
    said = refused(["chunks of several words"], ["e2e.mean", "itl.mean"], ["threads"])
    assert "its chunks hold several tokens each: itl.mean would be wrong" in said
    assert not refused(["chunks"], ["itl.mean"], ["threads", "special", "speed"])


def test_a_goodput_needs_tokens_where_it_limits_the_time_of_each():
    assert needs_tokens("goodput", Workload())
    assert not needs_tokens("goodput", Workload.from_dict({"goodput": {"ttft": "1 s"}}))


def test_what_a_measurement_notes_of_its_tokens():
    assert counting(records("usage", "usage")) == ({"tokens_by": "usage"}, [])
    facts, notes = counting(records("usage", "chunks", wanted=9, waits=2))
    assert facts == {
        "tokens_by": {"usage": 1, "chunks": 1},
        "other_lengths": 2,
        "told_to_wait": {"requests": 2, "times": 4},
    }
    assert notes == [
        "tokens counted by chunks: 1 of 2 answers came without usage or a length to go by",
        "2 of 2 answers had another length than asked for: they end where the model ends them",
        "2 of 2 requests were told to come back later (HTTP 429 or 503); their latencies hold the wait",
    ]


def test_what_is_noted_of_a_usage_that_is_not_believed():
    odd = {"doubted": "usage.completion_tokens is True"}
    _, notes = counting([*records("usage"), *records("length, against the usage", **odd)])
    assert notes == [
        "the usage that the server sends is not believed: usage.completion_tokens is True, in 1 of 2 "
        "answers, which are counted as the tokens asked for"
    ]
    _, notes = counting(records("usage", doubted="usage.prompt_tokens is -1"))
    assert notes == [
        "the usage that the server sends is not believed: usage.prompt_tokens is -1, in 1 of 1 answers"
    ]


def test_what_is_noted_of_tokens_that_are_not_shown():
    some = [*records("usage"), *records("usage", "usage", hidden=500)]
    facts, notes = counting(some)
    assert facts["hidden_tokens"] == {"answers": 2, "tokens": 1000, "uncounted": 0}
    assert notes == [
        "2 of 3 answers begin with tokens that are not shown, 500 each: ttft is the time to the first one "
        "that is shown, tpot and itl are of those after it"
    ]
    _, notes = counting([*some, *records("usage", hidden=-1)])
    assert notes[0].endswith("are of those after it; in 1 others nobody says how many")
    _, notes = counting(records("usage", hidden=-1))
    assert notes[0].startswith("1 of 1 answers may have tokens that are not shown, and nobody says")


@pytest.mark.parametrize(
    ("hidden", "judged", "limits", "refused"),
    [
        (-1, ["tpot.p95"], {}, "tpot.p95 cannot be known"),
        (
            -1,
            ["output_throughput", "itl.mean", "decode_throughput"],
            {},
            "decode_throughput, itl.mean cannot",
        ),
        (-1, ["goodput"], {}, "goodput cannot be known"),
        (-1, ["goodput"], {"goodput": {"ttft": "1 s"}}, ""),
        (-1, ["output_throughput", "ttft.p99", "e2e.mean", "cost.per_million_tokens"], {}, ""),
        (500, ["tpot.p95", "itl.mean", "goodput", "fluidity_index", "decode_throughput"], {}, ""),
        (
            500,
            ["prefill_throughput"],
            {},
            "prefill_throughput cannot be known; ttft is the time to the first",
        ),
        (0, ["prefill_throughput", "tpot.p95"], {}, ""),
    ],
)
def test_what_hidden_tokens_leave_unknown_is_refused(hidden, judged, limits, refused):
    facts, _ = counting(records("usage", hidden=hidden))
    said = uncounted(facts, judged, ["threads"], Workload.from_dict(limits))
    assert refused in said
    assert bool(refused) is bool(said)


def test_a_usage_that_contradicts_itself_is_no_throughput_and_no_other_length():
    found = records("usage, against itself", wanted=40, doubted="usage.reasoning_tokens is 24 of 16")
    facts, notes = counting(found)
    assert "other_lengths" not in facts
    assert not any("another length" in note for note in notes)
    said = uncounted(facts, ["output_throughput", "ttft.p99"], ["threads"], Workload.from_dict({}))
    assert "output_throughput cannot be known" in said
    assert "ttft" not in said
    assert uncounted(facts, ["ttft.p99"], ["threads"], Workload.from_dict({})) == ""
