from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.errors import SpecError
from autotune.measure.corpus import fingerprint, passage, words
from autotune.measure.workload import Length, Workload

GOLDEN = Path(__file__).parent / "golden" / "workload_errors.txt"

WRONG = [
    {"arrival": "poisson"},
    {"arrival": "posson"},
    {"arrival": "concurency"},
    {"rate": "4"},
    {"search": "max"},
    {"promt_tokens": "64"},
    {"prompt_tokens": {"mean": "64", "sperad": "8"}},
    {"prompt_tokens": {"spread": "8"}},
    {"prompt_tokens": "0"},
    {"prompt_tokens": "many"},
    {"output_tokens": "12.5"},
    {"output_tokens": {"mean": "64", "spread": "-1"}},
    {"output_tokens": ["64"]},
    {"output_tokens": {"mean": "64 ms"}},
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


@given(
    st.builds(
        Workload,
        prompt_tokens=lengths,
        output_tokens=lengths,
        requests=st.none() | st.integers(1, 10**6),
        precision=st.floats(1e-6, 0.999),
        min_batches=st.integers(2, 100),
        time=st.floats(1e-3, 1e6),
        warmup=st.none() | st.integers(0, 100),
        seed=st.integers(0, 2**31),
    )
)
def test_round_trip(workload):
    assert Workload.from_dict(workload.to_dict()) == workload


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
