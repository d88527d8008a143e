"""Long texts: what a file or a program calls things is cut where an error quotes it."""

import csv
import json

import pytest

from autotune.convert import formats
from autotune.core.measured_table import read_table
from autotune.core.measurement import Cause, Estimate, Failure, in_unit_of, read_estimate
from autotune.core.space import Space
from autotune.core.units import parse_quantity
from autotune.errors import AutotuneError, StudyError, did_you_mean, shortened
from autotune.ledger import Ledger
from autotune.spec.load import load_objective
from autotune.study.study import Study
from autotune.study.study_file import load_space, read_study

WORD = "abcdefghij" * 1000
WORDS = "many words 'and' quotes, " * 400
HOSTILE = {"a word": WORD, "words": WORDS, "no letters": "\x1b[31m" * 2000, "quotes": "'\"\\" * 3000}
MOST = 3300  # characters of a whole message: 3,000 and what says that it was longer

INT = {"type": "int", "low": 1, "high": 2}


def study(long):
    """Return study files with a long text at each place, by what it is there."""
    named = {"name": "demo", "parameters": {"a": INT}, "system": {"use": "toy"}}
    whole = {**named, "objective": {"maximize": "output_throughput"}}
    limits = {"maximize": "output_throughput", "limits": []}
    return {
        "a key": {**whole, long: 1},
        "the name": {**whole, "name": long},
        "a parameter": {**whole, "parameters": {long: INT}},
        "a type": {**whole, "parameters": {"a": {"type": long}}},
        "a key of a parameter": {**whole, "parameters": {"a": {**INT, long: 1}}},
        "a bound": {**whole, "parameters": {"a": {**INT, "low": long}}},
        "a value": {**whole, "parameters": {"a": {"type": "ordinal", "values": [1, long, long]}}},
        "a default": {**whole, "parameters": {"a": {**INT, "default": long}}},
        "a constraint": {**whole, "constraints": [f"a > {long}"]},
        "a condition": {**whole, "parameters": {"a": {**INT, "when": f"{long} > 1"}}},
        "a system": {**whole, "system": {"use": long}},
        "a flag": {**whole, "system": {"use": "vllm", "model": "m", "flags": {long: 1}}},
        "a function": {**whole, "system": {"use": "function", "call": f"{long}.py:f"}},
        "a space": {**whole, "space": long},
        "a metric": {**whole, "objective": {"maximize": long, "typo": 1}},
        "a limit": {**whole, "objective": {**limits, "limits": [long]}},
        "the unit of a limit": {**whole, "objective": {**limits, "limits": [f"ttft.p99 <= 1 {long}"]}},
        "an objective": {**whole, "objective": long},
        "a number": {**whole, "budget": {"trials": long}},
        "an engine": {**whole, "engine": {"use": long}},
        "an arrival": {**whole, "workload": {"arrival": long}},
        "a start": {**whole, "start": [{"a": long}]},
    }


def of_study(kind):
    def read(long, folder):
        (folder / "study.yaml").write_text(json.dumps(study(long)[kind]))
        read_study(folder / "study.yaml")

    return read


def of_table(long, folder):
    with (folder / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["a", "y"], [1, long]])
    spec = {"task": "y", "tasks": ["1"], "params": {long: "ordinal"}, "objective": "y", "direction": "max"}
    (folder / "specs.json").write_text(json.dumps({"t": {**spec, "status": "a"}}))
    read_table(folder / "t.csv")


def of_sweep(long, folder):
    (folder / "sweep.yaml").write_text(json.dumps({"method": long, "parameters": {"a": {long: [1]}}}))
    formats.convert(str(folder / "sweep.yaml"))


def of_ledger(long, folder):
    with Ledger.open(":memory:") as ledger:
        ledger.requeue(long, 0)


def of_tell(key, unit):
    def tell(long, folder):
        told = Study(Space.from_dict({"parameters": {"a": INT}}), {"maximize": "ttft.p99"}, engine="random")
        told.tell(told.ask(), {long if key else "ttft.p99": Estimate(1.0, unit=long if unit else "KiB")})

    return tell


READERS = {
    **{f"{kind} of a study file": of_study(kind) for kind in study("x")},
    "an override": lambda long, folder: read_study(folder / "none.yaml", [long]),
    "the path of a study": lambda long, folder: read_study(folder / long),
    "the path of a space": lambda long, folder: load_space(long),
    "the name of an objective": lambda long, folder: load_objective(long),
    "a table's specification": of_table,
    "a sweep": of_sweep,
    "a source to convert": lambda long, folder: formats.convert(long),
    "a quantity": lambda long, folder: parse_quantity(long),
    "the unit of a quantity": lambda long, folder: parse_quantity(f"1 {long}", dimension="time"),
    "a measured value": lambda long, folder: read_estimate(long),
    "a measured unit": lambda long, folder: in_unit_of("ttft.p99", Estimate(1.0, unit=long)),
    "a told unit": of_tell(False, True),
    "a study of a ledger": lambda long, folder: Ledger.open(":memory:").set_study_state(long, "RUNNING"),
    "a trial of a ledger": of_ledger,
}


TAKEN = ("a function of a study file",)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("reader", READERS)
def test_an_error_quotes_no_long_text_whole(tmp_path, reader, text):
    long = HOSTILE[text]
    try:
        READERS[reader](long, tmp_path)
    except AutotuneError as error:
        said = str(error)
    except (TypeError, OSError) as error:
        raise AssertionError(f"no error of ours: {error!r}"[:500]) from None
    else:
        assert reader in TAKEN, "a text that nothing refuses is no test"
        return
    assert len(said) <= 2 * MOST
    assert long not in said
    assert text != "a word" or long[:300] not in said


def test_what_is_cut_says_how_long_it_was_and_ends_between_words():
    error = StudyError(f"metric {WORD!r} is compared in s", hint=f"did you mean {WORDS!r}?")
    assert error.message == f"metric '{WORD[:199]}...' (10,000 characters) is compared in s"
    assert error.hint.startswith('did you mean "many words')
    assert error.hint.endswith('..." (10,000 characters)?')
    assert "quotes,..." in error.hint or "quotes, ..." in error.hint
    assert str(error) == f"{error.message}\n  {error.hint}"
    secret = "x" * 150 + " token=" + "s" * 300
    assert "sss" not in str(StudyError(f"found {secret!r}"))


@pytest.mark.parametrize(
    "text",
    ["", "short", "it's " + "a word " * 60 + "that's all", "/" + "folder/" * 200 + "file.yaml", "a, " * 900],
)
def test_ordinary_messages_stay(text):
    assert shortened(text) == text


def test_failures_of_programs_are_cut():
    failure = Failure(Cause.CRASHED_UNDER_LOAD, f"RuntimeError: {WORD}")
    assert failure.message == f"RuntimeError: {WORD[:200]}... (10,000 characters)"
    assert Failure.from_dict(failure.to_dict()) == failure


def test_long_names_are_compared_with_none():
    assert did_you_mean(WORD, [WORD[1:], "abc"]) == ""
    assert did_you_mean("batch_sise", ["batch_size", WORD]) == "did you mean 'batch_size'?"
