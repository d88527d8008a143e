import gzip
import json

import pytest

from autotune.errors import SpecError
from autotune.measure.load.trace import Entry, read_trace


def write(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_csv_in_seconds(tmp_path, name):
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


def test_azure_dates(tmp_path):
    text = (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n"
    )
    found = read_trace(write(tmp_path, text)).entries
    assert [entry.prompt_tokens for entry in found] == [4808, 3180]
    assert found[1].at_s == pytest.approx(0.052)


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
    with pytest.raises(SpecError, match=r"cannot read the trace .*'utf-8' codec"):
        read_trace(tmp_path / "binary")
    (tmp_path / "torn.gz").write_bytes(gzip.compress(b"x" * 1000)[:15])
    with pytest.raises(SpecError, match="cannot read the trace"):
        read_trace(tmp_path / "torn.gz")
