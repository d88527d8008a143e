import ast
import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autotune.errors import SpecError
from autotune.measure.workload import (
    Length,
    RateSearch,
    RequestLimits,
    SharedPrefix,
    Turns,
    Workload,
    read_lengths,
    served_key,
)
from autotune.measure.workload.corpus import fingerprint, passage, words

GOLDEN = Path(__file__).parent / "golden" / "workload_errors.txt"

WRONG = [
    {"arrival": "poisson"},
    {"arrival": "posson"},
    {"arrival": "concurency"},
    {"arrival": "concurrency", "rate": "4"},
    {"arrival": "poisson", "rate": "4", "concurrency": "8"},
    {"arrival": "poisson", "rate": "4", "burstiness": "0.5"},
    {"arrival": "gamma", "rate": "4"},
    {"arrival": "trace"},
    {"arrival": "constant", "trace": "a.csv"},
    {"rate": "0"},
    {"rate": "-1"},
    {"rate": "fast"},
    {"rate": "4 ms"},
    {"rate": {"search": "min"}},
    {"rate": {"low": "4"}},
    {"rate": {"search": "max", "hihg": "4"}},
    {"rate": {"search": "max", "low": "4", "high": "2"}},
    {"rate": {"search": "max", "low": "0"}},
    {"rate": "4", "search": "max"},
    {"search": "best"},
    {"rate": "4", "burstiness": "0"},
    {"concurrency": "0"},
    {"concurrency": "2.5"},
    {"trace": ""},
    {"trace": ["a.csv"]},
    {"trace": "a.csv", "prompt_tokens": "8"},
    {"trace": "a.csv", "turns": "2"},
    {"prompts": "a.jsonl", "prompt_tokens": "8"},
    {"prompts": "a.jsonl", "shared_prefix": {"tokens": "8"}},
    {"shared_prefix": "512"},
    {"shared_prefix": {"share": "50 %"}},
    {"shared_prefix": {"tokens": "8", "share": "1.5"}},
    {"shared_prefix": {"tokens": "8", "group": "2"}},
    {"shared_prefix": {"tokens": "8"}, "turns": "2"},
    {"turns": "1"},
    {"turns": {"conversations": "4"}},
    {"generator": "wrk"},
    {"generator": "guidelm"},
    {"generator": "aiperf", "prompts": "a.jsonl"},
    {"generator": "aiperf", "rate": "max"},
    {"generator": "guidellm", "rate": "4", "burstiness": "0.5"},
    {"goodput": "1 s"},
    {"goodput": {}},
    {"max_error_rate": "2"},
    {"max_error_rate": "-1 %"},
    {"promt_tokens": "64"},
    {"prompt_tokens": {"mean": "64", "sperad": "8"}},
    {"prompt_tokens": {"spread": "8"}},
    {"prompt_tokens": "0"},
    {"prompt_tokens": "many"},
    {"output_tokens": "12.5"},
    {"output_tokens": {"mean": "64", "spread": "-1"}},
    {"output_tokens": ["64"]},
    {"output_tokens": {"mean": "64 ms"}},
    {"prompt_tokens": {"mean": "64", "shape": "log-normal"}},
    {"prompt_tokens": {"mean": "64", "shape": "lognormal"}},
    {"prompt_tokens": {"mixture": [{"mean": "64"}]}},
    {"prompt_tokens": {"mixture": [{"mean": "64", "share": "0"}, {"mean": "9"}]}},
    {"prompt_tokens": {"mixture": [{"mean": "64"}, {"maen": "9"}]}},
    {"prompt_tokens": {"values": []}},
    {"prompt_tokens": {"values": ["4", "x"]}},
    {"prompt_tokens": {"values": ["4", "5"], "shares": ["1"]}},
    {"prompt_tokens": {"values": ["4", "5"], "shares": ["1", "0"]}},
    {"prompt_tokens": {"file": ""}},
    {"prompt_tokens": {"file": "nowhere.txt"}},
    {"prompt_tokens": {"file": "/dev/null"}},
    {"prompt_tokens": {"file": "autotune/py.typed"}},
    {"prompt_tokens": {"file": "LICENSE"}},
    {"requests": "0"},
    {"precision": "0"},
    {"precision": "5"},
    {"precision": "5 ms"},
    {"min_batches": "1"},
    {"time": "0 s"},
    {"time": "60 MB"},
    {"time": "soon"},
    {"warmup": "lots"},
    {"warmup": "-1"},
    {"seed": "0.5"},
    {"seed": "true"},
    "poisson",
]


def told(data):
    with pytest.raises(SpecError) as caught:
        Workload.from_dict(data)
    error = caught.value
    where = ".".join(map(str, error.path)) + (" (key)" if error.at_key else "")
    return f"{data!r}\n  at {where or 'the section'}: {error.message}\n" + (
        f"  {error.hint}\n" if error.hint else ""
    )


def test_errors_read_as_agreed():
    assert "\n".join(told(data) for data in WRONG) == GOLDEN.read_text(encoding="utf-8")


def test_everything_has_a_default():
    assert Workload.from_dict({}) == Workload()
    assert Workload.from_dict({"warmup": "auto", "requests": "none", "arrival": "concurrency"}) == Workload()


def test_numbers_may_be_text_with_units():
    data = {
        "prompt_tokens": {"mean": "1e2", "spread": "25"},
        "output_tokens": "32",
        "requests": "200",
        "precision": "3 %",
        "min_batches": 6,
        "time": "2 min",
        "warmup": "2",
        "seed": "7",
    }
    assert Workload.from_dict(data) == Workload(
        prompt_tokens=Length(100.0, 25.0),
        output_tokens=Length(32.0),
        requests=200,
        precision=0.03,
        min_batches=6,
        time=120.0,
        warmup=2,
        seed=7,
    )


lengths = st.builds(Length, st.floats(1, 1e4), st.floats(0, 1e3))
rates = st.floats(1e-3, 1e5)
common = {
    "requests": st.none() | st.integers(1, 10**6),
    "precision": st.floats(1e-6, 0.999),
    "min_batches": st.integers(2, 100),
    "time": st.floats(1e-3, 1e6),
    "warmup": st.none() | st.integers(0, 100),
    "seed": st.integers(0, 2**31),
    "max_error_rate": st.floats(0, 1),
    "goodput": st.builds(RequestLimits, ttft=st.floats(0, 10), tpot=st.none(), e2e=st.none()),
}
searches = st.builds(RateSearch) | rates.map(lambda low: RateSearch(low, 2 * low))
sharing = {
    "prompt_tokens": lengths,
    "output_tokens": lengths,
    "shared_prefix": st.none()
    | st.builds(SharedPrefix, st.integers(1, 999), st.floats(0, 1), st.integers(1, 9)),
}
workloads = st.one_of(
    st.builds(Workload, concurrency=st.none() | st.integers(1, 999), **common, **sharing),
    st.builds(
        Workload, arrival=st.sampled_from(["constant", "poisson"]), rate=rates | searches, **common, **sharing
    ),
    st.builds(
        Workload,
        arrival=st.just("gamma"),
        rate=rates,
        burstiness=st.floats(0.01, 100),
        generator=st.sampled_from(["own", "aiperf"]),
        **common,
    ),
    st.builds(
        Workload,
        arrival=st.just("trace"),
        trace=st.just("a/b.csv"),
        rate=st.none() | rates | searches,
        **common,
    ),
    st.builds(Workload, prompts=st.just("a.jsonl"), output_tokens=lengths, **common),
    st.builds(Workload, turns=st.builds(Turns, st.integers(2, 9), st.integers(1, 99)), **common),
)


@given(workloads)
def test_a_workload_is_read_back_from_its_dictionary(workload):
    assert Workload.from_dict(workload.to_dict()) == workload


@given(workloads)
@example(Workload())
def test_what_needs_an_endpoint_is_told(workload):
    plain = Workload(
        prompt_tokens=workload.prompt_tokens,
        output_tokens=workload.output_tokens,
        requests=workload.requests,
        precision=workload.precision,
        min_batches=workload.min_batches,
        time=workload.time,
        warmup=workload.warmup,
        seed=workload.seed,
        goodput=workload.goodput,
    )
    assert (served_key(workload.to_dict(), workload) is None) == (workload == plain)


def test_what_is_left_out_follows_from_what_is_there():
    assert Workload.from_dict({"rate": "4"}) == Workload(arrival="poisson", rate=4.0)
    assert Workload.from_dict({"rate": "240 requests/min"}).rate == 4.0
    assert Workload.from_dict({"rate": "4", "burstiness": "2"}).arrival == "gamma"
    assert Workload.from_dict({"trace": "a.csv"}).arrival == "trace"
    search = Workload(arrival="poisson", rate=RateSearch())
    assert Workload.from_dict({"search": "max"}) == search
    assert Workload.from_dict({"rate": "max"}) == search
    assert Workload.from_dict({"rate": {"search": "max"}}) == search
    bounded = {"rate": {"search": "max", "low": "1", "high": "64"}}
    assert Workload.from_dict(bounded).rate == RateSearch(1.0, 64.0)
    assert Workload.from_dict({"turns": "3"}).turns == Turns(3)


def test_files_are_found_beside_the_study():
    found = Workload.located({"trace": "t.csv", "seed": "1"}, Path("/a/b"))
    assert found == {"trace": "/a/b/t.csv", "seed": "1"}
    assert Workload.located({"prompts": "/x.jsonl"}, Path("/a"))["prompts"] == "/x.jsonl"


def test_turns_of_a_conversation_are_apart_and_complete():
    turns = Turns(3, 4)
    places = [turns.place(i) for i in range(24)]
    assert sorted(places) == [(c, t) for c in range(8) for t in range(3)]
    for conversation in range(8):
        indices = [i for i, (c, _) in enumerate(places) if c == conversation]
        assert [places[i][1] for i in indices] == [0, 1, 2]
        assert np.diff(indices).tolist() == [4, 4]


def test_no_message_is_without_a_case(monkeypatch):
    package = Path(sys.modules[Workload.__module__].__file__).parent
    seen = set()
    plain = SpecError.__init__

    def remember(self, *args, **kwargs):
        frame = sys._getframe(1)
        seen.add((os.path.realpath(frame.f_code.co_filename), frame.f_lineno))
        plain(self, *args, **kwargs)

    monkeypatch.setattr(SpecError, "__init__", remember)
    for data in WRONG:
        told(data)
    for path in package.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            own = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "SpecError"
            if own and not (isinstance(node.args[0], ast.Attribute) and node.args[0].attr == "message"):
                assert (os.path.realpath(path), node.lineno) in seen, f"{path.name}:{node.lineno}"


@given(lengths, st.floats(0, 1, exclude_max=True))
def test_lengths_stay_within_their_bounds(length, u):
    assert 1 <= length.at(u) <= length.longest


def test_lengths_follow_the_distribution():
    drawn = np.array([Workload(seed=3).request(i).max_tokens for i in range(4000)])
    assert drawn.mean() == pytest.approx(64, abs=3 * 16 / np.sqrt(4000))
    assert drawn.std() == pytest.approx(16, rel=0.05)
    cut = np.array([Length(4, 8).at(u) for u in np.linspace(0, 0.999, 2000)])
    assert cut.min() == 1
    assert cut.max() <= 4 + 4 * 8
    assert {Length(9).at(u) for u in (0.0, 0.5, 0.999)} == {9}


def test_requests_depend_on_the_seed_and_the_index_alone():
    workload = Workload(seed=5)
    one_by_one = [workload.request(i) for i in range(12)]
    assert [r for n in range(3) for r in workload.batch(n, 4)] == one_by_one
    assert [r for n in range(2) for r in workload.batch(n, 6)] == one_by_one
    assert Workload.from_dict(workload.to_dict()).batch(0, 12) == tuple(one_by_one)
    assert [r.max_tokens for r in Workload(seed=6).batch(0, 12)] != [r.max_tokens for r in one_by_one]


def test_the_stream_is_the_same_in_every_version_of_python():
    drawn = Workload(seed=0).batch(0, 6)
    written_down = [(216, 50), (147, 59), (111, 49), (95, 75), (63, 36), (154, 80)]
    assert [(r.prompt_tokens, r.max_tokens) for r in drawn] == written_down


def test_prompts_are_unique_and_long_enough():
    workload = Workload(prompt_tokens=Length(20, 10))
    requests = [*workload.batch(0, 200), *workload.batch(0, 200, warmup=True)]
    assert len({r.prompt.split(".")[0] for r in requests}) == 400
    assert len({r.id for r in requests}) == 400
    assert all(len(r.prompt) >= 6 * r.prompt_tokens for r in requests)


def test_the_corpus_is_ascii_prose_and_goes_round():
    assert len(words()) > 20_000
    assert passage(0, 1000).isascii()
    assert len(fingerprint()) == 12
    round_trip = passage(len(words()) - 1, 200).split(" ")
    assert round_trip[:3] == [words()[-1], *words()[:2]]
    assert len(passage(5, 700_000)) >= 700_000


LENGTHS = [
    {"mean": 512, "spread": 600, "shape": "lognormal"},
    {"mixture": [{"mean": 64, "spread": 16, "share": "80 %"}, {"mean": 2048, "spread": 256, "share": 0.2}]},
    {"values": [16, 512, 16, 16]},
    {"values": [16, 512], "shares": [3, 1]},
    {"mixture": [{"values": [5]}, {"mean": 900, "spread": 300, "shape": "lognormal", "share": 3}]},
]


@pytest.mark.parametrize("data", LENGTHS)
def test_lengths_of_every_shape_come_back_and_end_at_the_longest(data):
    workload = Workload.from_dict({"prompt_tokens": data, "output_tokens": data})
    again = Workload.from_dict(json.loads(json.dumps(workload.to_dict())))
    assert again == workload
    lengths = workload.prompt_tokens
    drawn = [lengths.at(u) for u in np.linspace(0, math.nextafter(1, 0), 3000)]
    assert min(drawn) >= 1
    assert max(drawn) <= lengths.longest
    assert all(isinstance(length, int) for length in drawn)


def test_lengths_have_the_distribution_that_was_written():
    log_normal, mixed, observed, weighed, _ = (read_lengths(data, "prompt_tokens") for data in LENGTHS)
    places = (np.arange(20_000) + 0.5) / 20_000
    drawn = np.array([log_normal.at(u) for u in places])
    assert drawn.mean() == pytest.approx(512, rel=0.01)
    assert drawn.std() == pytest.approx(600, rel=0.05)
    assert np.log(drawn).std() == pytest.approx(math.sqrt(math.log1p((600 / 512) ** 2)), rel=0.02)
    drawn = np.array([mixed.at(u) for u in places])
    assert (drawn < 200).mean() == pytest.approx(0.8, abs=0.001)
    assert drawn[drawn < 200].mean() == pytest.approx(64, abs=0.5)
    assert drawn[drawn > 200].std() == pytest.approx(256, rel=0.02)
    for lengths in (observed, weighed):
        drawn = np.array([lengths.at(u) for u in places])
        assert set(drawn) == {16, 512}
        assert (drawn == 16).mean() == pytest.approx(0.75, abs=0.001)


def test_lengths_of_a_file_are_found_beside_the_study(tmp_path):
    (tmp_path / "lengths.csv").write_text("tokens\n10\n20\n\n10\n")
    parts = [{"file": "lengths.csv"}, {"mean": 9}]
    data = {"prompt_tokens": {"file": "lengths.csv"}, "output_tokens": {"mixture": parts}}
    located = Workload.located(data, tmp_path)
    workload = Workload.from_dict(located)
    assert workload.prompt_tokens.to_dict() == {"values": [10, 20], "shares": [2.0, 1.0]}
    assert workload.output_tokens.longest == 20


@pytest.mark.parametrize(
    "written", [{"max_error_rate": "0.1 %"}, {"generator": "own"}, {"max_error_rate": "0.001"}]
)
def test_a_key_that_says_what_is_usual_needs_no_endpoint(written):
    assert served_key(written, Workload.from_dict(written)) is None


@pytest.mark.parametrize(
    "written", [{"max_error_rate": "1 %"}, {"search": "max"}, {"rate": "4"}, {"generator": "aiperf"}]
)
def test_a_key_of_a_load_over_the_network_needs_one(written):
    assert served_key(written, Workload.from_dict(written)) == next(iter(written))
