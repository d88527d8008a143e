"""Prompts: lengths, uniqueness, what is shared, conversations, files."""

import json

import pytest

from autotune.errors import SpecError
from autotune.measure.load.generator import OwnGenerator
from autotune.measure.load.prompt_builder import PromptBuilder
from autotune.measure.load.prompts import Orders, check_files, read_prompts
from autotune.measure.load.trace import Entry, Trace
from autotune.measure.workload import Workload

LETTERS = PromptBuilder("tokenizer", 1.0, 0, exact=True)


@pytest.fixture
def builder(stub):
    found = OwnGenerator().calibration(stub.endpoint(tokenize="/tokenize")).builder
    assert (found.kind, found.exact, found.overhead) == ("tokenizer", True, 1)
    return found


def orders(data, builder=LETTERS, stream="measured", **more):
    return Orders(Workload.from_dict(data), stream, builder, **more)


def counted(text):
    return 1 + sum(-(-len(word) // 5) for word in text.split())  # as the stub does


def test_lengths_are_exact_with_the_servers_tokenizer(builder):
    found = [orders({"prompt_tokens": {"mean": 90, "spread": 60}}, builder).at(i) for i in range(300)]
    assert all(counted(order.joined) == max(2, order.prompt_tokens) for order in found)
    assert len({order.prompt_tokens for order in found}) > 50
    drawn = [Workload.from_dict({"prompt_tokens": {"mean": 90, "spread": 60}}).request(i) for i in range(300)]
    assert [(o.prompt_tokens, o.max_tokens) for o in found] == [
        (r.prompt_tokens, r.max_tokens) for r in drawn
    ]
    assert counted(orders({"prompt_tokens": 30_000}, builder).at(0).joined) == 30_000
    assert PromptBuilder.from_dict(json.loads(json.dumps(builder.to_dict()))) == builder


def test_lengths_are_near_by_what_the_server_counts(stub):
    found = OwnGenerator().calibration(stub.endpoint()).builder
    assert found.kind == "usage"
    lengths = [counted(orders({"prompt_tokens": 200}, found).at(i).joined) for i in range(100)]
    assert sum(lengths) / 100 == pytest.approx(200, rel=0.1)


def test_a_chats_template_is_taken_into_account(stub):
    chat = OwnGenerator().calibration(stub.endpoint(chat=True, tokenize="/tokenize")).builder
    assert chat.overhead == 5
    assert counted(orders({"prompt_tokens": 50}, chat).at(0).joined) + 4 == 50


def test_a_server_that_tells_nothing_gets_prose_of_a_likely_length(stub):
    found = OwnGenerator(calibrate_s=1.0).calibration(stub.endpoint(usage="none"))
    assert found.builder.kind == "assumed"
    assert found.problem == ""
    broken = OwnGenerator(calibrate_s=1.0).calibration(stub.endpoint(mode="http500"))
    assert broken.problem == "HTTP 500: server died at the end"


def test_prompts_are_unique_from_their_first_words(builder):
    for kind in (builder, LETTERS):
        texts = [
            orders({}, kind, stream).at(i).joined for stream in ("measured", "warmup") for i in range(300)
        ]
        assert len({text[:28] for text in texts}) >= 595
    salted = orders({}, builder, salt="7/1").at(3)
    plain = orders({}, builder).at(3)
    assert (salted.prompt_tokens, salted.max_tokens) == (plain.prompt_tokens, plain.max_tokens)
    assert salted.joined[:28] != plain.joined[:28]


def test_a_share_of_requests_begin_with_one_of_few_prefixes(builder):
    data = {"shared_prefix": {"tokens": 64, "share": "75 %", "groups": 3}, "prompt_tokens": 20}
    texts = [orders(data, builder, stream).at(i).joined for stream in ("a", "b") for i in range(400)]
    prefixes = {}
    for text in texts:
        prefixes.setdefault(text[:150], []).append(text)
    shared = [group for group in prefixes.values() if len(group) > 1]
    assert len(shared) == 3
    assert sum(map(len, shared)) / len(texts) == pytest.approx(0.75, abs=0.06)
    assert {counted(text) for group in shared for text in group} == {84}
    assert len(set(texts)) == len(texts)


def test_conversations_repeat_what_was_said(builder):
    data = {"turns": {"count": 3, "conversations": 2}, "prompt_tokens": 20, "output_tokens": 7}
    found = [orders(data, builder).at(i) for i in range(12)]
    first = [found[i] for i in (0, 2, 4)]
    assert [len(order.messages) for order in first] == [1, 3, 5]
    assert [role for role, _ in first[2].messages] == ["user", "assistant", "user", "assistant", "user"]
    for before, after in ((first[0], first[1]), (first[1], first[2])):
        assert after.messages[: len(before.messages)] == before.messages
        assert after.joined.startswith(before.joined)
    assert [order.prompt_tokens for order in first] == [20, 47, 74]
    assert [counted(order.joined) for order in first] == [20, 47, 74]
    assert found[1].messages[0] != found[0].messages[0]
    assert found[6].messages[0] not in (found[0].messages[0], found[1].messages[0])


def test_blocks_of_a_trace_with_equal_numbers_are_equal_text():
    entries = (Entry(0, 1100, 5, (1, 2, 3)), Entry(1, 1536, 6, (1, 2, 9)), Entry(2, 700, 7, (8, 2)))
    made = orders({"trace": "t"}, trace=Trace(entries, "x"))
    texts = [made.at(i).joined for i in range(3)]
    assert [len(text) for text in texts] == [1100, 1536, 700]
    assert texts[0][:1024] == texts[1][:1024]
    assert texts[0][1024:] != texts[1][1024:1100]
    assert texts[2][:512] != texts[0][:512]
    assert [made.at(i).max_tokens for i in (0, 1, 2, 3)] == [5, 6, 7, 5]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("\n", "has no prompts"),
        ("{", "p.jsonl:1: a line must be a JSON object: Expecting"),
        ("[]", "has no prompts"),
        ("[\n3]", "p.jsonl: entry 1 must be a JSON object"),
        ("[\n{]", "p.jsonl: no JSON list: "),
        ("3", "p.jsonl:1: a line must be a JSON object"),
        ("{}", "p.jsonl:1: a line needs 'prompt'"),
        ('{"prompt": ""}', "p.jsonl:1: a line needs 'prompt'"),
        ('{"prompt": "a"}\n{"messages": [{"role": "user"}]}', "p.jsonl:2: a message needs the texts"),
        ('{"messages": ["a"]}', "p.jsonl:1: a message needs the texts"),
        (
            '{"prompt": "a", "output_tokens": 0}',
            "p.jsonl:1: output_tokens must be a whole number from 1 to 10000000",
        ),
        ('{"prompt": "a", "max_tokens": -3}', "p.jsonl:1: max_tokens must be a whole number"),
        ('{"prompt": "a", "max_tokens": NaN}', "p.jsonl:1: max_tokens must be a whole number"),
        ('{"prompt": "a", "max_tokens": true}', "p.jsonl:1: max_tokens must be a whole number"),
        (
            '{"prompt": "a", "max_tokens": 1' + "0" * 40 + "}",
            "p.jsonl:1: max_tokens must be a whole number from 1",
        ),
        ('{"prompt": "a"}\r{"prompt": 3}\r', "p.jsonl:2: a line needs 'prompt'"),
        ('\ufeff{"prompt": "a"}\r\n{"prompt": "b', "p.jsonl:2: a line must be a JSON object: Unterminated"),
        ('{"custom_id": "a", "body": null}', "p.jsonl:1: a line needs 'prompt'"),
        ('{"custom_id": "a", "url": "/v1/embeddings", "body": {"input": "x"}}', "p.jsonl:1: a line needs"),
        ('[{"conversations": null}]', "p.jsonl: entry 1: conversations must be a list of turns"),
        ('[{"conversations": ["a"]}]', "p.jsonl: entry 1: conversations must be a list of turns"),
        (
            '[{"conversations": [{"value": 3}, {"value": "x"}]}]',
            "entry 1: a turn of a conversation must be text",
        ),
        ('[{"conversations": []}]', "has no prompts but 1 conversations that nobody answered"),
    ],
)
def test_a_wrong_line_of_prompts_is_named(tmp_path, text, wanted):
    (tmp_path / "p.jsonl").write_text(text)
    with pytest.raises(SpecError) as caught:
        read_prompts(tmp_path / "p.jsonl")
    assert wanted in caught.value.message
    assert caught.value.path == ("prompts",)


SHAREGPT = [
    {"id": "a", "conversations": [{"from": "human", "value": "How?"}, {"from": "gpt", "value": "x" * 120}]},
    {"id": "b", "conversations": [{"from": "human", "value": "nobody answered"}]},
    {
        "id": "c",
        "conversations": [
            {"from": "system", "value": "be kind"},
            {"from": "human", "value": "Why?"},
            {"from": "gpt", "value": "y" * 30},
            {"from": "human", "value": "more"},
        ],
    },
]


@pytest.mark.parametrize("indent", [None, 1])
def test_sharegpt_asks_the_first_question_for_as_long_an_answer(tmp_path, indent):
    (tmp_path / "s.json").write_text(json.dumps(SHAREGPT, indent=indent))
    own = read_prompts(tmp_path / "s.json")
    made = orders({"prompts": "s.json"}, PromptBuilder(characters=4.0), own=own)
    assert [(order.joined, order.max_tokens) for order in map(made.at, range(3))] == [
        ("How?", 30), ("Why?", 8), ("How?", 30),
    ]  # fmt: skip


def test_lines_of_a_batch_file_are_prompts(tmp_path):
    body = {"model": "m", "max_completion_tokens": 9}
    parts = [{"type": "text", "text": "Look "}, {"type": "text", "text": "here"}]
    asked = [
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": parts}], **body},
        {"prompt": "Hello", "max_tokens": 3},
    ]
    lines = [
        {"custom_id": f"{i}", "method": "POST", "url": "/v1/chat/completions", "body": one}
        for i, one in enumerate(asked)
    ]
    (tmp_path / "batch.jsonl").write_text("\n".join(map(json.dumps, lines)))
    chat, plain = read_prompts(tmp_path / "batch.jsonl")
    assert (chat.messages, chat.output_tokens) == ((("system", "s"), ("user", "Look here")), 9)
    assert (plain.messages, plain.output_tokens) == ((("user", "Hello"),), 3)
    image = {**lines[0], "body": {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}}
    (tmp_path / "batch.jsonl").write_text(json.dumps(image))
    with pytest.raises(SpecError, match=r"batch\.jsonl:1: a message needs the texts"):
        read_prompts(tmp_path / "batch.jsonl")


def test_a_trace_may_hold_texts_and_leave_lengths_to_the_workload():
    entries = (Entry(0, 0, 5, (), "Hello there"), Entry(1, 300, 0))
    made = orders({"trace": "t", "output_tokens": 77}, trace=Trace(entries, "x"))
    first, second = made.at(0), made.at(1)
    assert (first.joined, first.max_tokens) == ("Hello there", 5)
    assert (len(second.joined), second.max_tokens) == (300, 77)


def test_lengths_that_a_trace_has_are_not_given_twice(tmp_path):
    (tmp_path / "t.csv").write_text("arrival_s,input_tokens,output_tokens\n0,10,5\n")
    workload = Workload.from_dict({"trace": str(tmp_path / "t.csv"), "output_tokens": "8"})
    with pytest.raises(SpecError, match="'output_tokens' is given by the file of 'trace'"):
        check_files(workload)
