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
        ("arrival_s,input_tokens,output_tokens\n0,1,1\nx,2,3\n", "t.csv:3: could not convert"),
        ("arrival_s,input_tokens,output_tokens\ninf,2,3\n", "t.csv:2: the time 'inf' is not finite"),
        ("arrival_s,input_tokens,output_tokens\n1,-2,3\n", "t.csv:2: a length must be a whole number"),
        ("arrival_s,input_tokens,output_tokens\n1,2.5,3\n", "t.csv:2: a length must be a whole number"),
        ("arrival_s,input_tokens,output_tokens\n1,nan,3\n", "t.csv:2: a length must be a whole number"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\nlater,1,1\n", "t.csv:2: Invalid isoformat"),
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
        (f'{{"timestamp": 1{"0" * 400}, "input_length": 5}}', "t.jsonl:1: int too large"),
        (f'{{"timestamp": 1, "input_length": 1{"0" * 400}}}', "t.jsonl:1: int too large"),
        (f'{{"timestamp": 1, "hash_ids": {"[" * 5000}1{"]" * 5000}}}', "t.jsonl:1: .* nested too deep"),
    ],
)
def test_rows_with_numbers_or_depths_that_nothing_reads_name_their_line(tmp_path, row, said):
    with pytest.raises(SpecError, match=said):
        read_trace(write(tmp_path, row, "t.jsonl"))
