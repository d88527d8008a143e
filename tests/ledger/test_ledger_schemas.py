"""Ledgers of every released schema are read, brought up to date and continued; newer ones are refused."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from autotune import Study
from autotune.core.trial import TrialState
from autotune.errors import LedgerError
from autotune.ledger import Ledger
from autotune.ledger.schema import OLDEST_VERSION, SCHEMA_VERSION

FILES = Path(__file__).resolve().parent / "files"
VERSIONS = range(OLDEST_VERSION, SCHEMA_VERSION + 1)


def version_of(path):
    connection = sqlite3.connect(path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return version


def content(trials):
    return [
        [
            t.number,
            t.state.value,
            t.suggestion.to_dict(),
            t.attempts,
            t.node,
            None if t.measurement is None else t.measurement.to_dict(),
        ]
        for t in trials
    ]


@pytest.fixture(params=VERSIONS)
def released(request, tmp_path):
    """A copy of the ledger of a schema, and what was in it when it was written."""
    path = tmp_path / "ledger.sqlite"
    shutil.copy(FILES / f"schema-{request.param}.sqlite", path)
    return path, json.loads((FILES / f"schema-{request.param}.json").read_text()), request.param


def test_there_is_a_file_of_every_schema():
    assert {p.name for p in FILES.glob("*.sqlite")} == {f"schema-{v}.sqlite" for v in VERSIONS}
    for version in VERSIONS:
        assert version_of(FILES / f"schema-{version}.sqlite") == version


def test_it_is_read_as_it_is_and_not_touched_by_readers(released):
    path, expected, version = released
    before = path.read_bytes()
    with Ledger.open(path, read_only=True) as ledger:
        assert ledger.study("released").uid == expected["uid"]
        assert content(ledger.trials("released")) == expected["trials"]
        assert ledger.study_notes("released") == {"spent_s": 12.5}
        assert ledger.mirror_state("released", "mlflow/0") == {"study": "d1", "trial/0": "d2"}
        assert [a.state for a in ledger.attempts("released", 4)] == ["LOST", "RUNNING"]
    assert path.read_bytes() == before
    assert version_of(path) == version


def test_it_is_continued_as_if_it_had_always_been_of_this_schema(released):
    path, expected, _ = released
    with Study.open(path) as study:
        assert content(study.trials) == expected["trials"]
        revision = study.ledger.revision()
        study.requeue(4)
        study.tell(4, {"output_throughput": 5.0, "ttft.p99": 0.1})
        assert study.ask().number == len(expected["trials"])
        assert study.ledger.revision() == revision + 3  # a commit of each
    assert version_of(path) == SCHEMA_VERSION
    with Ledger.open(path) as ledger:
        again = ledger.trials("released")
    assert again[4].state is TrialState.COMPLETED
    assert content(t for t in again if t.number not in (4, 8)) == [
        row for row in expected["trials"] if row[0] != 4
    ]


def test_a_damaged_old_ledger_is_refused_and_stays_as_it_was(tmp_path):
    path = tmp_path / "ledger.sqlite"
    raw = bytearray((FILES / "schema-1.sqlite").read_bytes())
    raw[raw.rindex(b"COMPLETED")] ^= 1
    path.write_bytes(raw)
    for read_only in (True, False):
        with pytest.raises(LedgerError, match=r"damaged: trial\(study='released', number=[0-9]\)"):
            Ledger.open(path, read_only=read_only)
    assert version_of(path) == 1


@pytest.mark.parametrize(("version", "said"), [(99, "schema 99 of a newer"), (0, "schema 0 of an unknown")])
def test_other_schemas_are_refused_with_what_is_read(tmp_path, version, said):
    path = tmp_path / "ledger.sqlite"
    shutil.copy(FILES / f"schema-{SCHEMA_VERSION}.sqlite", path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    for read_only in (True, False):
        with pytest.raises(LedgerError, match=said):
            Ledger.open(path, read_only=read_only)
