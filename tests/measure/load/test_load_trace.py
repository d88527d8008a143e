import gzip
import json
import time
from itertools import pairwise

import pytest

from autotune.errors import SpecError
from autotune.measure.load.trace import Entry, read_trace


def write(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_a_trace_in_csv_with_seconds_is_read(tmp_path, name):
    text = "arrival_s,input_tokens,output_tokens,n_hash_blocks\n2.5,4808,10,10\n2.0,1,0,1\n"
    found = read_trace(write(tmp_path, text, name))
    assert found.entries == (Entry(0.0, 1, 1), Entry(0.5, 4808, 10))
    assert found.fingerprint == read_trace(write(tmp_path, text, "other.csv")).fingerprint


def test_mooncake_jsonl_with_prefix_hashes(tmp_path):
    rows = [
        {"timestamp": 27482, "input_length": 600, "output_length": 52, "hash_ids": [46, 47]},
        {"timestamp": 30482, "input_length": 700, "output_length": 3, "hash_ids": [46, 48]},
    ]
    found = read_trace(write(tmp_path, "\n".join(map(json.dumps, rows)), "t.jsonl")).entries
    assert found == (Entry(0.0, 600, 52, (46, 47)), Entry(3.0, 700, 3, (46, 48)))


def test_a_trace_with_the_dates_of_azure_is_read(tmp_path):
    text = (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n"
    )
    found = read_trace(write(tmp_path, text)).entries
    assert [entry.prompt_tokens for entry in found] == [4808, 3180]
    assert found[1].at_s == pytest.approx(0.052)


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Kolkata"])
def zone(request, monkeypatch):
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("times", "gaps"),
    [
        # 2024: an offset, and a fraction only where there is one; 2023: neither
        (["2024-05-10 00:00:00.009930+00:00", "2024-05-10 00:00:01+00:00", "2024-05-10 00:00:02.500+00:00"],
         [0.99007, 1.5]),
        (["2023-11-16 18:17:03.9799600", "2023-11-16 18:17:04", "2023-11-16 18:17:04.5"], [0.02004, 0.5]),
        # the summer time of New York begins at 2:00
        (["2024-03-10 01:59:59", "2024-03-10 02:30:00.25", "2024-03-10 03:00:00"], [1801.25, 1799.75]),
        (["2024-05-10T00:00:00Z", "2024-05-10T02:00:01.5+02:00", "2024-05-09T20:00:02-04:00"], [1.5, 0.5]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("column", ["TIMESTAMP", "timestamp"])
def test_dates_are_on_one_clock_whatever_the_time_zone(tmp_path, zone, times, gaps, column):
    rows = "".join(f"{at},40,8\n" for at in times)
    found = read_trace(write(tmp_path, f"{column},ContextTokens,GeneratedTokens\n{rows}")).entries
    assert [b.at_s - a.at_s for a, b in pairwise(found)] == pytest.approx(gaps, abs=1e-6)


def test_burstgpt_without_what_failed_there(tmp_path):
    text = (
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,1087,0,1087,Conversation log\n"
        "118.5,GPT-4,417,276,693,API log\n"
    )
    assert read_trace(write(tmp_path, text)).entries == (Entry(0.0, 472, 18), Entry(113.5, 417, 276))


@pytest.mark.parametrize("listed", [False, True])
def test_aiperf_traces_have_texts_and_rows_without_a_length(tmp_path, listed):
    rows = [
        {"timestamp": 0, "text_input": "Hello there", "output_length": 8},
        {"timestamp": 1000, "input_length": 700},
    ]
    text = json.dumps(rows, indent=1) if listed else "\n".join(map(json.dumps, rows))
    found = read_trace(write(tmp_path, text, "t.json")).entries
    assert found == (Entry(0.0, 0, 8, (), "Hello there"), Entry(1.0, 700, 0))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "has no rows"),
        ("a,b\n1,2\n", "t.csv:2: a row needs a time, one of: arrival_s"),
        ("arrival_s,input_tokens\n1,2\n", "t.csv:2: a row needs a length, one of: output_tokens"),
        (
            "arrival_s,input_tokens,output_tokens\n0,1,1\nx,2,3\n",
            "t.csv:3: a time must be a number or a date",
        ),
        (
            "arrival_s,input_tokens,output_tokens\ninf,2,3\n",
            "t.csv:2: a time must be a number or a date and time such as 2024",
        ),
        ("arrival_s,input_tokens,output_tokens\n1,-2,3\n", "t.csv:2: a length must be a whole number"),
        ("arrival_s,input_tokens,output_tokens\n1,2.5,3\n", "t.csv:2: a length must be a whole number"),
        ("arrival_s,input_tokens,output_tokens\n1,nan,3\n", "t.csv:2: a length must be a whole number"),
        (
            "TIMESTAMP,ContextTokens,GeneratedTokens\nlater,1,1\n",
            "t.csv:2: a time must be a date and time such as",
        ),
        ('{"timestamp": 1\n', "t.csv:1: a line must be a JSON object"),
        ('{"timestamp": 1}\n[1]\n', "t.csv:1: a row needs a length"),
        (
            '{"timestamp": 1, "text_input": 3, "output_length": 3}',
            "t.csv:1: text_input must be text, found 3",
        ),
        ('{"timestamp": 1, "text_input": "a"}', "t.csv:1: a row needs a length, one of: output_tokens"),
        ("[\n1]", "entry 1 must be a JSON object"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, text, wanted):
    with pytest.raises(SpecError) as caught:
        read_trace(write(tmp_path, text))
    assert wanted in caught.value.message
    assert caught.value.path == ("trace",)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(SpecError, match=r"cannot read the trace .*nowhere.csv': No such file"):
        read_trace(tmp_path / "nowhere.csv")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match=r"cannot read the trace .*: line 1 is not UTF-8: byte 0xff"):
        read_trace(tmp_path / "binary")
    (tmp_path / "torn.gz").write_bytes(gzip.compress(b"x" * 1000)[:15])
    with pytest.raises(SpecError, match="cannot read the trace"):
        read_trace(tmp_path / "torn.gz")


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (
            {"delay": 400, "session_id": "a"},
            "t.jsonl:2: session_id 'a' is that of line 1 too; a turn that waits",
        ),
        ({"timestamp": 9, "session_id": "a"}, "t.jsonl:2: session_id 'a' is that of line 1 too; a turn that"),
        (
            {"delay": 400.5},
            "t.jsonl:2: delay: a turn that waits for the answer to the one before it has no time",
        ),
    ],
)
def test_turns_that_wait_for_answers_are_refused(tmp_path, second, said):
    lengths = {"input_length": 5, "output_length": 2}
    rows = [{"timestamp": 0, "session_id": "a", "delay": 0, **lengths}, {**second, **lengths}]
    with pytest.raises(SpecError, match=said) as caught:
        read_trace(write(tmp_path, "\n".join(map(json.dumps, rows)), "t.jsonl"))
    assert "`prompts: FILE`" in caught.value.hint


def test_sessions_of_one_row_each_are_requests(tmp_path):
    rows = [{"timestamp": t, "session_id": str(t), "input_length": 5, "output_length": 2} for t in (0, 500)]
    found = read_trace(write(tmp_path, "\n".join(map(json.dumps, rows)), "t.jsonl"))
    assert [entry.at_s for entry in found.entries] == [0.0, 0.5]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            f'{{"timestamp": 1{"0" * 400}, "input_length": 5}}',
            "t.jsonl:1: a time must be .* found a number of many digits",
        ),
        (
            f'{{"timestamp": 1, "input_length": 1{"0" * 400}}}',
            "t.jsonl:1: a length must be .* found a number of many digits",
        ),
        (f'{{"timestamp": 1, "hash_ids": {"[" * 5000}1{"]" * 5000}}}', "t.jsonl:1: .* nested too deep"),
    ],
)
def test_rows_with_numbers_or_depths_that_nothing_reads_name_their_line(tmp_path, row, said):
    with pytest.raises(SpecError, match=said):
        read_trace(write(tmp_path, row, "t.jsonl"))


CSV = "arrival_s,input_tokens,output_tokens\n"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
ONE = (Entry(0.0, 40, 8),)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + AZURE + "2024-05-10 00:00:00.009930+00:00,40,8\n",
        AZURE.replace("\n", "\r\n") + "2024-05-10 00:00:00,40,8\r\n",
        AZURE.replace("\n", "\r") + "2024-05-10 00:00:00,40,8\r",
        "TIMESTAMP, ContextTokens , GeneratedTokens\n2024-05-10 00:00:00, 40, 8 \n",
        '"TIMESTAMP","ContextTokens","GeneratedTokens"\n"2024-05-10 00:00:00","40","8"\n',
        AZURE + "\n2024-05-10 00:00:00 UTC,40,8\n\n",
        AZURE + "2024-05-10T00:00:00.123456789Z,40.0,8.0\n",
        BURST + '5,a,9,0,9,x\n5,a,9,0.0,9,x\n5,a,9, 0,9,x\n6,a,40,8,48,"a, b"\n',
        '\ufeff{"timestamp": "0", "input_length": "40", "output_length": 8}\r\n',
        '[{"timestamp": 5, "input_length": 40, "output_length": 8, "hash_ids": null, "delay": 0.0}]',
        "timestamp,delay,input_length,output_length,hash_ids\n3,0.0,40,8,\n",
    ],
)
def test_rows_as_files_of_the_field_have_them(tmp_path, text):
    assert read_trace(write(tmp_path, text)).entries == ONE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (AZURE + "2024-05-10 00:00:00,40\n", "t.csv:2: a row has 2 cells, the header 3"),
        (AZURE + "2024-05-10 00:00:00,40,8,9\n", "t.csv:2: a row has 4 cells, the header 3"),
        (AZURE + "2024-05-10 00:00:00,,8\n", "t.csv:2: a row needs a length, and its ContextTokens is empty"),
        (AZURE + ",40,8\n", "t.csv:2: a row needs a time, and its TIMESTAMP is empty"),
        (AZURE + ",,\n", "t.csv:2: a row needs a time, and its TIMESTAMP is empty"),
        (CSV + "0,1000000000000,1\n",
         "t.csv:2: a length must be .* of at most 10,000,000, found '1000000000000'"),
        ('{"timestamp": 1, "input_length": 4, "output_length": 1}\n'
         '{"timestamp": 2, "timestamp": 5, "input_length": 4, "output_length": 1}',
         "t.csv:2: .*duplicate key 'timestamp'"),
        ('[\n{"timestamp": 2, "timestamp": 5, "input_length": 4}]', "duplicate key 'timestamp'"),
        (AZURE + "5/10/2024 12:00:00 AM,40,8\n", "t.csv:2: a time must be a date and time"),
        (AZURE + "2016-12-31 23:59:60,40,8\n", "t.csv:2: a time must be a date and time such as"),
        (AZURE + '2024-05-10 00:00:00,40,8\n"2024-05-10 00:00:01,40,8\n',
         "t.csv:3: no CSV: a quote is not closed"),
        (AZURE + AZURE + "2024-05-10 00:00:00,40,8\n", "t.csv:2: a time must be a date and time"),
        ("arrival_s,input_tokens,input_tokens\n0,1,2\n", "t.csv:1: duplicate column 'input_tokens'"),
        (CSV + "nan,1,1\n", "t.csv:2: a time must be a number"),
        (CSV + "0,nan,1\n", "t.csv:2: a length must be a whole number of tokens, found 'nan'"),
        (CSV + "0,1,-1\n", "t.csv:2: a length must be a whole number of tokens, found '-1'"),
        (CSV + '0,"1,024",1\n', "t.csv:2: a length must be a whole number of tokens, found '1,024'"),
        (CSV + "0,1_024,1\n", "t.csv:2: a length must be a whole number of tokens, found '1_024'"),
        (CSV + "0,1,1\n1e300,1,1\n", "t.csv:3: arrival_s is in s, and '1e300' is thousands of years"),
        ('{"timestamp": 1715299200000000000, "input_length": 4, "output_length": 1}',
         "timestamp is in ms, and"),
        ('{"timestamp": NaN, "input_length": 4, "output_length": 1}', "t.csv:1: a time must be a number"),
        ('{"timestamp": true, "input_length": 4, "output_length": 1}', "t.csv:1: a time must be a number"),
        ('{"timestamp": 1, "input_length": true, "output_length": 1}', "t.csv:1: a length must be a whole"),
        ('{"timestamp": 1, "input_length": [4], "output_length": 1}', "a length must be .* found \\[4\\]"),
        ('{"timestamp": 1, "input_length": 4, "output_length": 1}\n{"timestamp": 2, "inp',
         "t.csv:2: a line must be a JSON object: Unterminated string starting at \\(column 18\\)"),
        ('{"timestamp": 1, "input_length": 4, "output_length": 1}\n'
         '{"timestamp": "2024-05-10 00:00:00", "input_length": 4, "output_length": 1}',
         "t.csv:2: the time is a date, that of line 1 a number in timestamp"),
        ('[{"timestamp": 1, "input_length": 4, "output_length": 1}, {"timestamp": "x", "input_length": 4}]',
         "t.csv: entry 2: a time must be a number"),
        (BURST + "5,a,9,0,9,x\n", "t.csv has no rows but 1 of requests that failed there"),
        *((f'{{"timestamp": 1, "input_length": 600, "output_length": 1, "hash_ids": {ids}}}',
           "t.csv:1: hash_ids must be a list of whole numbers, found") for ids in
          ('["a"]', "5", "[null]", "[1.5]", "[[1]]", '{"a": 1}', "[true]")),
    ],
)  # fmt: skip
def test_a_hostile_row_is_one_error_with_its_line(tmp_path, text, said):
    with pytest.raises(SpecError, match=said) as caught:
        read_trace(write(tmp_path, text))
    assert caught.value.path == ("trace",)


def test_halves_of_characters_can_be_sent(tmp_path):
    text = '{"timestamp": 0, "text_input": "a\\ud800", "output_length": 2}'
    assert read_trace(write(tmp_path, text)).entries[0].text.encode() == b"a?"


def test_rows_in_any_order_and_times_before_zero(tmp_path):
    found = read_trace(write(tmp_path, CSV + "5,1,1\n-1,2,2\n3,3,3\n")).entries
    assert [(entry.at_s, entry.prompt_tokens) for entry in found] == [(0.0, 2), (4.0, 3), (6.0, 1)]


@pytest.mark.parametrize("ids", ['"46 47"', '"[46, 47]"', '"46,47"'])
def test_blocks_in_a_cell(tmp_path, ids):
    text = f"timestamp,input_length,output_length,hash_ids\n0,600,2,{ids}\n"
    assert read_trace(write(tmp_path, text)).entries[0].blocks == (46, 47)


@pytest.mark.parametrize(
    "row",
    [
        {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": []}},
        {"id": "a", "conversations": [{"from": "human", "value": "hi"}]},
        {"prompt": "hi"},
    ],
)
def test_files_of_prompts_are_told_from_traces(tmp_path, row):
    with pytest.raises(SpecError, match="a row needs a time") as caught:
        read_trace(write(tmp_path, json.dumps(row), "t.jsonl"))
    assert "`prompts: FILE`" in caught.value.hint
