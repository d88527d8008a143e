"""Readers of HTTP, events and answers, against whole and cut input."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.core.http_response import BadResponse, ResponseReader
from autotune.core.request import HIDDEN_UNCOUNTED, RequestRecord
from autotune.measure.load.answer import StreamedAnswer, shared
from autotune.measure.load.sse import MOST_BYTES, EventReader, HostileStream, looks_like_events
from autotune.measure.load.wire import FrameReader, frame, record_frame, record_of


def cut(data, places):
    edges = [0, *sorted(p % (len(data) + 1) for p in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def events_of(pieces):
    reader = EventReader()
    found = [event for piece in pieces for event in reader.feed(piece)]
    return found + reader.end()


STREAMS = [
    (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
    (b"data: a\r\n\r\ndata:b\r\rdata: c\n\r\n", [b"a", b"b", b"c"]),
    (b"\xef\xbb\xbf: comment\n\nid: 1\nevent: x\ndata: a\ndata:  b\ndata\n\n", [b"a\n b\n"]),
    (b"data: a\n\n\n\ndata: [DONE]", [b"a", b"[DONE]"]),
    (b"database: x\n\n\n", []),
    (b"", []),
]


@pytest.mark.parametrize(("data", "wanted"), STREAMS)
@given(places=st.lists(st.integers(0, 200), max_size=30))
def test_events_do_not_depend_on_how_they_are_cut(data, wanted, places):
    assert events_of(cut(data, places)) == wanted


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8))
def test_any_bytes_are_events_or_none(data, places):
    assert all(isinstance(event, bytes) for event in events_of(cut(data, places)))


def test_an_event_without_end_is_refused():
    reader = EventReader()
    for _ in range(4):
        assert reader.feed(b"x" * (MOST_BYTES // 4)) == []
    with pytest.raises(HostileStream, match="more than 4 MiB"):
        reader.feed(b"x")


def test_bytes_of_an_event_are_looked_at_once():
    """Copies of what came before would take minutes for an event that drips in."""

    reader = EventReader()
    for piece in (b"data: ", *[b"x"] * 2000, b"\n", *[b"y\n"] * 2000):
        assert reader.feed(piece) == []
    kept = [len(part) for part in reader._parts]
    assert max(kept) <= 6  # nothing was put together before the event is complete
    (event,) = reader.feed(b"\n")
    assert event == b"x" * 2000


def response_of(pieces, end=False):
    reader = ResponseReader()
    body = b"".join(part for piece in pieces for part in reader.feed(piece))
    if end:
        reader.end()
    return reader, body


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nT: 1\r\n\r\n"


@given(st.lists(st.integers(0, 200), max_size=30))
def test_a_chunked_body_does_not_depend_on_how_it_is_cut(places):
    reader, body = response_of(cut(CHUNKED, places))
    assert (reader.status, body, reader.complete, reader.keep_alive) == (200, b"hello!", True, True)
    assert reader.headers["content-type"] == "text/event-stream"


@given(st.lists(st.integers(0, 200), max_size=30))
def test_a_sized_body_and_one_to_the_end(places):
    sized = HEAD + b"Content-Length: 5\r\n\r\nhello"
    reader, body = response_of(cut(b"HTTP/1.1 100 Continue\r\n\r\n" + sized, places))
    assert (body, reader.complete, reader.keep_alive) == (b"hello", True, True)
    reader, body = response_of(cut(HEAD + b"\r\nhello", places))
    assert (body, reader.complete, reader.keep_alive) == (b"hello", False, False)
    reader.end()
    assert reader.complete


def test_connections_are_kept_as_the_server_says():
    for head, kept in (
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", True),
        (b"HTTP/1.1 503\r\n", True),
    ):
        reader, _ = response_of([head + b"Content-Length: 0\r\n\r\n"])
        assert (reader.complete, reader.keep_alive) == (True, kept)
    reader, _ = response_of([HEAD + b"Content-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n"])
    assert not reader.keep_alive


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"SSH-2.0-x\r\n\r\n", "no HTTP: b'SSH"),
        (b"HTTP/1.1 200 OK\r\n" + b"a" * 70_000, "no end of a line"),
        (HEAD + b"nonsense\r\n\r\n", "no HTTP: b'nonsense'"),
        (HEAD + b"Content-Length: -5\r\n\r\n", "content-length is '-5'"),
        (HEAD + b"Content-Length: 5_0\r\n\r\n", "content-length is '5_0'"),
        (HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", "content-length is '9999"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 5000, "heads and trailers of more than 64 KiB"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 20_000, "heads and trailers of"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n", "size is b'-5'"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nfg\r\nhello\r\n", "size is b'fg'"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n", "size is b'[+]5'"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 20 + b"\r\n", "size is"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n", "longer than it says"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 5000, "no end of a line"),
    ],
)
def test_what_is_no_http_is_refused(data, wanted):
    with pytest.raises(BadResponse, match=wanted):
        response_of([data])


@pytest.mark.parametrize("length", [len(CHUNKED) - 1, len(CHUNKED) - 12, len(HEAD) + 3])
def test_a_response_that_breaks_off_is_truncated(length):
    with pytest.raises(BadResponse, match="truncated"):
        response_of([CHUNKED[:length]], end=True)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_response_or_refused(data):
    reader = ResponseReader()
    try:
        reader.feed(data)
        reader.feed(HEAD + data)
        reader.end()
    except BadResponse:
        assert not reader.complete


def answer_of(*events):
    answer = StreamedAnswer()
    for i, event in enumerate(events):
        answer.add(100 + i, event if isinstance(event, bytes) else json.dumps(event).encode())
    return answer


def text(value, **more):
    return {"choices": [{"text": value}], **more}


def usage(tokens, prompt=7):
    return {"prompt_tokens": prompt, "completion_tokens": tokens}


def test_without_usage_each_text_is_a_token():
    found = answer_of(text("a"), text(""), text("bcd"), b"[DONE]", text("late"))
    assert found.arrivals() == ((100, 1), (102, 1))
    assert found.done
    assert found.output_tokens is None


def test_running_usage_counts_several_tokens_and_those_without_text():
    found = answer_of(
        text("", usage=usage(1)),  # half a character: no text yet
        text("é", usage=usage(2)),
        text("abc", usage=usage(5)),
        text("", usage=usage(6)),
        text("x", usage=usage(6)),
        {"choices": [], "usage": usage(8)},
    )
    assert found.arrivals() == ((101, 2), (102, 3), (103, 1), (105, 2))
    assert (found.prompt_tokens, found.output_tokens) == (7, 8)


def test_a_usage_at_the_end_is_shared_by_characters():
    found = answer_of(text("ab"), text("abcdef"), text("ab"), {"choices": [], "usage": usage(10)})
    assert found.arrivals() == ((100, 2), (101, 6), (102, 2))
    found = answer_of(text("a"), text("b"), text("c"), {"choices": [], "usage": usage(3)})
    assert found.arrivals() == ((100, 1), (101, 1), (102, 1))
    found = answer_of(text("aa"), text("a"), text("a"), {"usage": usage(1)})  # pieces of one token
    assert found.arrivals() == ((100, 1),)
    found = answer_of(text("a"), text("b"), text("c"), text("de"), {"usage": usage(1)})
    assert found.arrivals() == ((100, 1),)


@given(st.integers(0, 5000), st.lists(st.integers(1, 50), min_size=1, max_size=60))
def test_tokens_shared_over_characters_sum_up(tokens, characters):
    found = shared(tokens, characters)
    assert sum(found) == tokens
    assert min(found) >= 0
    assert found[0] >= min(1, tokens)


def test_chats_count_reasoning_as_content():
    chat = [
        {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"delta": {"reasoning_content": "hm"}}]},
        {"choices": [{"delta": {"reasoning": "so"}}]},
        {"choices": [{"delta": {"content": "yes"}, "finish_reason": "length"}]},
    ]
    found = answer_of(*chat)
    assert found.arrivals() == ((101, 1), (102, 1), (103, 1))
    assert found.ended


@pytest.mark.parametrize(
    ("event", "wanted"),
    [
        (b"{not json", "an event is no JSON: b'{not json'"),
        (b'{"choices": []} {"choices": []}', "an event is no JSON"),
        (b'{"choices": [{"text": "\xff"}]}', "an event is no JSON"),
        (b"[" * 200_000, "an event is no JSON"),
        (b"[1]", "an event is no object"),
        ({"error": {"message": "out of\nmemory"}}, "the server said: out of memory"),
    ],
)
def test_hostile_events_are_errors(event, wanted):
    assert answer_of(event).error.startswith(wanted)


END = {"choices": [{"text": "", "finish_reason": "length"}]}


def words(count, per_chunk, **more):
    """Return chunks of ``per_chunk`` words each, the last one with what is left."""
    sizes = [min(per_chunk, count - at) for at in range(0, count, per_chunk)]
    return [text("".join(f" w{at:02d}" for at in range(size)), **more) for size in sizes]


def counted(*events, wanted=24):
    answer = StreamedAnswer(wanted, 24)
    for i, event in enumerate((*events, b"[DONE]")):
        answer.add(100 + i, event if isinstance(event, bytes) else json.dumps(event).encode())
    assert not answer.error
    arrivals = answer.arrivals()
    return sum(tokens for _, tokens in arrivals), answer.counted_by, arrivals[0]


def with_usage(chunks, counts):
    return [{**chunk, "usage": usage(count)} for chunk, count in zip(chunks, counts, strict=True)]


@pytest.mark.parametrize(
    "events",
    [
        [*words(24, 4), END],  # several tokens in a chunk, no usage
        [*words(24, 8), END],
        [*with_usage(words(24, 1), [0] * 24), END, {"choices": [], "usage": usage(24)}],  # always zero
        [*with_usage(words(24, 1), [1] * 24), END, {"choices": [], "usage": usage(24)}],  # of the chunk
        [*with_usage(words(24, 1), [1] * 24), END],
        [*with_usage(words(24, 4), [4] * 6), END],
        [*with_usage(words(24, 1), range(24)), END, {"choices": [], "usage": usage(24)}],  # one behind
        [*with_usage(words(24, 1), range(24)), END],
        [*with_usage(words(24, 1), range(1, 25)), END, {"choices": [], "usage": usage(23)}],  # one forgotten
        [*words(24, 1), END, {"choices": [], "usage": usage(23)}],
        [*words(24, 1), END, {"choices": [], "usage": usage(0)}],  # a proxy that counts nothing
        [*words(24, 4), END, {"choices": [], "usage": {"prompt_tokens": 7.0, "completion_tokens": 24.0}}],
        [*with_usage(words(24, 4), [24, 20, 16, 12, 8, 4]), END],  # counts down
        [b"", b" ", {"type": "ping"}, *words(24, 4), END],
        [*words(24, 4, usage=None), {**END, "usage": None}],
    ],
)
def test_tokens_are_exact_whatever_the_usage_is(events):
    tokens, how, first = counted(*events)
    assert tokens == 24
    assert how in ("usage", "length")
    at = next(i for i, event in enumerate(events) if isinstance(event, dict) and "choices" in event)
    assert first[0] == 100 + at  # the first text is the first arrival


def test_a_shorter_answer_is_what_its_usage_says():
    tokens, how, _ = counted(*words(14, 1), END, {"choices": [], "usage": usage(14)})
    assert (tokens, how) == (14, "usage")  # `length` of a context that is full
    tokens, how, _ = counted(*words(48, 1), END)  # more chunks than tokens asked for
    assert (tokens, how) == (48, "chunks")


@pytest.mark.parametrize("per_chunk", [1, 4, 24])
@pytest.mark.parametrize("told", [1, 25, 100_000])
def test_a_usage_that_cannot_be_is_not_believed(per_chunk, told):
    wanted = (24, "length, against the usage")
    assert counted(*words(24, per_chunk), END, {"choices": [], "usage": usage(told)})[:2] == wanted
    stop = {"choices": [{"text": "", "finish_reason": "stop"}]}
    if told > 24:
        how = "chunks" if per_chunk == 1 else "chunks of several words"
        found = counted(*words(24, per_chunk), stop, {"choices": [], "usage": usage(told)})
        assert found[:2] == (24 // per_chunk, how)


@pytest.mark.parametrize("said", ["24", 24.0])
def test_a_count_is_read_in_any_type_that_is_exact(said):
    last = {"choices": [], "usage": {"prompt_tokens": said, "completion_tokens": said}}
    stop = {"choices": [{"text": "", "finish_reason": "stop"}]}
    assert counted(*words(24, 4), stop, last)[:2] == (24, "usage")
    answer = answer_of(*words(24, 4), stop, last)
    assert (answer.prompt_tokens, answer.doubted) == (24, "")


ODD = [True, False, -1, 24.5, float("nan"), float("inf"), 10**400, "24 tokens", "-3", "", [24], {"n": 24}]


@pytest.mark.parametrize("said", ODD, ids=repr)
def test_a_usage_that_is_no_count_is_doubted_and_no_error(said):
    last = {"choices": [], "usage": {"prompt_tokens": said, "completion_tokens": said}}
    assert counted(*words(24, 4), END, last)[:2] == (24, "length, against the usage")
    stop = {"choices": [{"text": "", "finish_reason": "stop"}]}
    assert counted(*words(24, 1), stop, last)[:2] == (24, "chunks")
    running = [{**chunk, "usage": usage(said, None)} for chunk in words(24, 1)]
    assert counted(*running, END)[:2] == (24, "length, against the usage")
    assert counted(*running, END, {"choices": [], "usage": usage(24)})[:2] == (24, "usage")
    answer = answer_of(*words(24, 4), END, last)
    assert answer.prompt_tokens is None
    assert answer.doubted.startswith("usage.prompt_tokens is " + repr(said)[:20])


def test_a_count_that_is_null_is_none_and_not_doubted():
    last = {"choices": [], "usage": {"prompt_tokens": None, "completion_tokens": None}}
    assert counted(*words(24, 4), END, last)[:2] == (24, "length")
    assert answer_of(*words(24, 4), END, last).doubted == ""


def test_choices_without_end_do_not_make_a_usage_possible():
    chunks = [{"choices": [{"text": " w", "index": 10**9 + i, "finish_reason": "stop"}]} for i in range(24)]
    assert counted(*chunks, {"choices": [], "usage": usage(10**9)})[1] == "chunks"


# -- reasoning that is counted and not streamed --------------------------------------------------------------

HIDDEN = 500
STOP = {"choices": [{"text": "", "finish_reason": "stop"}]}


def reasoned(total, reasoning, **more):
    details = {"completion_tokens_details": {"reasoning_tokens": reasoning}}
    return {"choices": [], "usage": {**usage(total), **details, **more}}


def hidden_in(*events):
    answer = StreamedAnswer(None, 10_000)
    for i, event in enumerate((*events, b"[DONE]")):
        answer.add(100 + i, event if isinstance(event, bytes) else json.dumps(event).encode())
    assert not answer.error
    return answer.hidden, answer.arrivals(), answer.doubted


@pytest.mark.parametrize("end", [STOP, END], ids=["stop", "length"])
@pytest.mark.parametrize(
    "last",
    [
        reasoned(520, HIDDEN),
        reasoned(520.0, "500"),
        {"choices": [], "usage": {**usage(520), "reasoning_tokens": HIDDEN}},  # SGLang
        reasoned(20, HIDDEN, total_tokens=527),  # only the total has them
    ],
)
def test_hidden_reasoning_comes_with_the_first_token_and_leaves_the_others_as_they_are(last, end):
    hidden, arrivals, doubted = hidden_in(*words(20, 1), end, last)
    assert (hidden, doubted) == (HIDDEN, "")
    assert arrivals == ((100, 501), *((100 + i, 1) for i in range(1, 20)))
    hidden, arrivals, _ = hidden_in(*words(20, 4), end, last)
    assert hidden == HIDDEN
    assert arrivals == ((100, 504), (101, 4), (102, 4), (103, 4), (104, 4))


def chat(**delta):
    return {"choices": [{"delta": delta}]}


def test_reasoning_that_is_streamed_is_not_hidden():
    thought = [chat(reasoning_content=" w00") for _ in range(HIDDEN)]
    said = [chat(content=" w00") for _ in range(20)]
    hidden, arrivals, _ = hidden_in(*thought, *said, STOP, reasoned(520, HIDDEN))
    assert (hidden, len(arrivals), {tokens for _, tokens in arrivals}) == (0, 520, {1})
    inline = words(520, 4)  # between <think> and </think>
    hidden, arrivals, _ = hidden_in(*inline, STOP, reasoned(520, HIDDEN))
    assert (hidden, {tokens for _, tokens in arrivals}) == (0, {4})
    assert hidden_in(*words(20, 1), STOP, reasoned(20, 0))[0] == 0


@pytest.mark.parametrize("characters", [40, 600])
def test_a_summary_of_reasoning_hides_tokens_that_cannot_be_counted(characters):
    summary = [chat(reasoning_content="x" * (characters // 20)) for _ in range(20)]
    said = [chat(content=" w00") for _ in range(20)]
    assert hidden_in(*summary, *said, STOP, reasoned(520, HIDDEN))[0] == HIDDEN_UNCOUNTED


def test_a_running_count_tells_what_came_before_the_first_text():
    events = [text(value, usage=usage(500 + i)) for i, value in enumerate(("", " a", " b", " c"))]
    hidden, arrivals, _ = hidden_in(*events, STOP)
    assert (hidden, arrivals) == (500, ((101, 501), (102, 1), (103, 1)))
    hidden, arrivals, _ = hidden_in(*events[1:], STOP)  # nothing is sent while it reasons
    assert (hidden, arrivals) == (500, ((100, 501), (101, 1), (102, 1)))
    burst = [text(" w00" * 4, usage=usage(4 * i)) for i in (1, 2, 3)]  # accepted drafts are shown
    assert hidden_in(*burst, STOP)[0] == 0


def test_more_tokens_than_bytes_are_hidden_and_nobody_counts_them():
    last = {"choices": [], "usage": usage(520)}
    assert hidden_in(*words(20, 1), STOP, last)[0] == HIDDEN_UNCOUNTED
    # a token without text of its own has an event, as after the end that `ignore_eos` passes over
    assert hidden_in(*words(20, 1), *[text("")] * 500, STOP, last)[0] == 0
    assert hidden_in(*words(20, 1), STOP, {"choices": [], "usage": usage(60)})[0] == 0


@pytest.mark.parametrize("said", [-1, True, "many", 521, 10**12])
def test_reasoning_that_cannot_be_is_doubted(said):
    hidden, _, doubted = hidden_in(*words(20, 1), STOP, reasoned(520, said))
    assert hidden == HIDDEN_UNCOUNTED
    assert doubted.startswith("usage.reasoning_tokens is ")
    hidden, arrivals, doubted = hidden_in(*words(20, 1), STOP, reasoned(20, said))
    assert (hidden, sum(tokens for _, tokens in arrivals), bool(doubted)) == (0, 20, True)


def pieces(tokens, per_chunk, word=" word", field="content"):
    """Return chunks of a chat, each with so many words of one token."""
    return [chat(**{field: word * min(per_chunk, tokens - at)}) for at in range(0, tokens, per_chunk)]


@pytest.mark.parametrize("per_chunk", [1, 2, 4, 8])
@pytest.mark.parametrize("word", [" word", " a", "\u65e5\u672c"])
def test_reasoning_that_is_counted_and_streamed_as_content_is_not_hidden(per_chunk, word):
    assert hidden_in(*pieces(40, per_chunk, word), STOP, reasoned(40, 24))[0] == 0
    running = [
        {**chunk, "usage": reasoned(min(40, per_chunk * (i + 1)), 24)["usage"]}
        for i, chunk in enumerate(pieces(40, per_chunk, word))
    ]
    assert hidden_in(*running, STOP)[0] == 0
    if word != "\u65e5\u672c" or per_chunk == 1:
        assert hidden_in(*pieces(16, per_chunk, word), STOP, reasoned(40, 24))[0] == 24


def test_reasoning_whose_place_the_text_does_not_tell_is_not_counted():
    said = [chat(content=" word some code = {}") for _ in range(20)]  # 80 to 180 tokens
    assert hidden_in(*said, STOP, reasoned(150, 50))[0] == HIDDEN_UNCOUNTED


@pytest.mark.parametrize("said", [True, 2.5, 41, 40])
def test_reasoning_that_cannot_be_leaves_the_time_per_token_unknown(said):
    assert hidden_in(*pieces(16, 4), STOP, reasoned(40, said))[0] == HIDDEN_UNCOUNTED
    assert hidden_in(*pieces(40, 1), STOP, reasoned(40, said))[0] == 0  # all of them are shown
    running = [
        {**chunk, "usage": reasoned(24 + 4 * (i + 1), said)["usage"]}
        for i, chunk in enumerate(pieces(16, 4, " w"))
    ]
    assert hidden_in(*running, STOP)[0] != 0


@pytest.mark.parametrize(
    "delta",
    [
        lambda text: {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]},
        lambda text: {"thinking": text},
        lambda text: {"reasoning_details": [{"type": "reasoning.text", "text": text}]},
        lambda text: {
            "content": "",
            "reasoning": text,
            "reasoning_details": [{"type": "reasoning.text", "text": text}],
        },
    ],
)
def test_reasoning_is_streamed_under_any_of_its_names(delta):
    thought = [chat(**delta(" word" * 4)) for _ in range(6)]
    said = [chat(content=[{"type": "text", "text": " word" * 4}]) for _ in range(4)]
    hidden, arrivals, _ = hidden_in(*thought, *said, STOP, reasoned(40, 24))
    assert (hidden, arrivals) == (0, tuple((100 + i, 4) for i in range(10)))


@pytest.mark.parametrize("wanted", [40, None])
def test_a_usage_that_leaves_reasoning_out_is_added_up_or_contradicts_itself(wanted):
    last = reasoned(16, 24, total_tokens=23)
    for most, end, found in (
        (40, END, (40, "usage")),
        (40, STOP, (16, "usage, against itself")),
        (50, END, (16, "usage, against itself")),
    ):
        answer = StreamedAnswer(wanted and most, most)
        for i, event in enumerate((*pieces(16, 4), end, last)):
            answer.add(100 + i, json.dumps(event).encode())
        assert answer.total() == found
        assert bool(answer.doubted) is (found[0] == 16)
        assert answer.hidden == (24 if found[0] == 40 else HIDDEN_UNCOUNTED)


def test_the_usage_of_several_choices_is_that_of_all():
    chunks = [
        {"choices": [{"text": f" w{at}", "index": i, "finish_reason": "stop"}]}
        for at in range(24)
        for i in range(2)
    ]
    assert counted(*chunks, {"choices": [], "usage": usage(48)})[:2] == (48, "usage")


def test_tokens_that_cannot_be_counted_are_not_called_exact():
    stop = {"choices": [{"text": "", "finish_reason": "stop"}]}
    assert counted(*words(24, 1), stop)[:2] == (24, "chunks")
    assert counted(*words(24, 4), stop)[:2] == (6, "chunks of several words")
    assert counted(*words(24, 4), END, wanted=None)[:2] == (6, "chunks of several words")


def test_an_answer_that_was_cut_off_has_as_many_tokens_as_its_characters_have_elsewhere():
    answer = answer_of(*words(12, 4))
    assert sum(n for _, n in answer.arrivals()) == 3
    assert answer.arrivals(per_character=1 / 4) == ((100, 4), (101, 4), (102, 4))


def test_tool_calls_and_parts_are_text():
    chat = [
        {"choices": [{"delta": {"role": "assistant", "content": None}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{"}}]}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}}]},
        {"choices": [{"delta": {"content": [{"type": "thinking", "text": "abc"}]}}]},
        {"choices": [{"delta": {"reasoning": "abc", "reasoning_content": "abc"}, "finish_reason": "length"}]},
        {"choices": [], "usage": usage(10)},
    ]
    assert answer_of(*chat).arrivals() == ((101, 2), (102, 2), (103, 3), (104, 3))


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"object": "error", "message": "CUDA out of memory", "code": 500}, "CUDA out of memory"),
        ({"message": "overloaded", "code": 500}, "overloaded"),
        ({"detail": "gone"}, "gone"),
        ({"type": "error", "error": {"message": "no"}}, "no"),
        ({"choices": [], "error": {"message": "no"}}, "no"),
    ],
)
def test_errors_in_a_stream_have_many_forms(event, said):
    assert answer_of(*words(4, 1), event).error == f"the server said: {said}"


def test_an_event_named_error_is_one():
    (event,) = events_of([b'event: error\ndata: {"code": 3}\n\n'])
    answer = StreamedAnswer()
    answer.add(1, event)
    assert answer.error.startswith("the server said: ")


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"data: {}", True),
        (b"\xef\xbb\xbf: ping", True),
        (b"\n\nevent: x", True),
        (b"dat", None),
        (b"", None),
        (b'{"choices": []}', False),
        (b"<html>", False),
    ],
)
def test_a_stream_shows_in_how_it_begins(body, found):
    assert looks_like_events(body) is found


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["choices", "usage", "delta", "text", "error"]), inner, max_size=3
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_an_answer_or_an_error(found):
    answer = answer_of(found)
    assert all(count > 0 for _, count in answer.arrivals())


COUNTS = st.none() | st.booleans() | st.integers(-3, 700) | st.sampled_from(["24", 24.0, 0.5, "x", 10**12])
USAGES = st.none() | st.fixed_dictionaries(
    {"completion_tokens": COUNTS},
    optional={
        "prompt_tokens": COUNTS,
        "total_tokens": COUNTS,
        "reasoning_tokens": COUNTS,
        "completion_tokens_details": st.none()
        | st.just([])
        | st.fixed_dictionaries({"reasoning_tokens": COUNTS}),
    },
)


@given(
    st.lists(st.tuples(st.sampled_from(["", " w", " w00 x", "é" * 9]), st.booleans(), USAGES), max_size=9),
    USAGES,
    st.sampled_from([STOP, END]),
)
def test_whatever_a_usage_says_tokens_are_whole_and_hidden_ones_come_first(chunks, last, end):
    events = [
        {"choices": [{"delta": {"reasoning_content" if thought else "content": text}}], "usage": usage}
        for text, thought, usage in chunks
    ]
    hidden, arrivals, _ = hidden_in(*events, end, {"choices": [], "usage": last})
    assert all(count > 0 for _, count in arrivals)
    assert arrivals or not any(text for text, _, _ in chunks)
    assert hidden in (0, HIDDEN_UNCOUNTED) or 0 < hidden < arrivals[0][1]


records = st.builds(
    RequestRecord,
    id=st.integers(0, 2**40),
    prompt_tokens=st.integers(0, 2**31),
    send_ns=st.integers(0, 2**62),
    arrivals=st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 2**31)), max_size=9).map(tuple),
    end_ns=st.integers(0, 2**62),
    error=st.none() | st.text(min_size=1),
    slip_ns=st.integers(0, 2**62),
    counted_by=st.sampled_from(["", "usage", "chunks"]),
    wanted=st.integers(0, 2**31),
    waits=st.integers(0, 9),
    hidden=st.integers(-1, 2**31),
    doubted=st.text(),
)


@given(st.lists(records, max_size=5), st.lists(st.integers(0, 999), max_size=9))
def test_frames_bring_records_back(sent, places):
    data = frame(b"S") + b"".join(record_frame(record) for record in sent)
    reader = FrameReader()
    found = [part for piece in cut(data, places) for part in reader.feed(piece)]
    assert found[0] == (b"S", b"")
    assert [record_of(content) for _, content in found[1:]] == sent
