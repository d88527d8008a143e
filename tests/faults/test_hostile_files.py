"""Files from strangers: tables, traces, prompts, foreign studies that are no files, too large or no data."""

import csv
import gzip
import io
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from autotune.convert import formats, optuna
from autotune.core import measured_table
from autotune.core.measured_table import (
    MeasuredRow,
    MeasuredTable,
    plain_cell,
    read_table,
    safe_cell,
    write_table,
)
from autotune.core.measurement import Estimate
from autotune.core.space import Space
from autotune.errors import EnvironmentProblem, LedgerError, SpecError
from autotune.ledger import Ledger
from autotune.measure.load import trace
from autotune.measure.load.prompts import check_files
from autotune.measure.quality.section import Quality
from autotune.measure.workload import Workload
from autotune.study.study_file import read_study

pytestmark = pytest.mark.timeout(120)  # what hangs on a FIFO hangs for ever

MANY = 5 << 30  # bytes of sparse files: none of them on the disk
PICKLE = b"cos\nsystem\n(S'touch canary'\ntR."


def sparse(path):
    with path.open("wb") as file:
        file.truncate(MANY)


def loop(path):
    path.symlink_to(path.with_name("other"))
    path.with_name("other").symlink_to(path)


def bomb(path):
    with gzip.open(path, "wb") as file:
        for _ in range(64):
            file.write(b"a,b\n1,2\n" * (1 << 14))


def written(data):
    return lambda path: path.write_bytes(data)


FILES = {
    "sparse": sparse,
    "loop": loop,
    "folder": Path.mkdir,
    "fifo": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "gzip-bomb": bomb,
    "no-gzip": written(b"\x1f\x8b\x08nonsense"),
    "not-utf-8": written(b"a,b\n1,2\n\xe9,1\n"),
    "deep-list": written(b"[" * 100_000),
    "deep-mapping": written(b'{"a":' * 50_000),
    "digits": written(b'[{"a": ' + b"9" * 6000 + b"}]"),
    "long-cell": written(b"a,b\n" + b"x" * 300_000 + b",1\n"),
    "nul": written(b"\x00" * 1000),
    "pickle": written(PICKLE),
    "yaml-object": written(b"a: !!python/object/apply:os.system ['touch canary']\n"),
    "yaml-aliases": written(b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"),
    "empty": written(b""),
    "absent": lambda path: None,
}


def of_table(path):
    name = measured_table.table_name(path)
    spec = {
        "task": "a",
        "tasks": ["1"],
        "params": {"b": "ordinal"},
        "objective": "b",
        "direction": "max",
        "status": "a",
    }
    path.with_name("specs.json").write_text(json.dumps({name: spec}))
    read_table(path)


def of_specs(path):
    path.with_name("t.csv").write_text("a,b\n1,2\n")
    if os.path.lexists(path):
        path.rename(path.with_name("specs.json"))
    read_table(path.with_name("t.csv"))


def of_study(section):
    def read(path):
        file = path.with_name("study.yaml")
        file.write_text(
            "parameters: {max_num_seqs: {type: int, low: 1, high: 9}}\nsystem: {use: vllm, model: m}\n"
            f"objective: {{maximize: output_throughput}}\n{section.replace('FILE', path.name)}\n"
        )
        read_study(file)

    return read


READERS = {
    "convert": lambda path: formats.convert(str(path)),
    "study": read_study,
    "table": of_table,
    "specs": of_specs,
    "trace": of_study("workload: {arrival: trace, trace: ./FILE}"),
    "lengths": of_study("workload: {prompt_tokens: {file: ./FILE}, output_tokens: 4}"),
    "tasks": of_study("quality: {tasks: ./FILE}"),
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Limits that a test can exceed in no time."""
    for module, names in (
        (measured_table, ("_MOST_BYTES", "_MOST_SPECS")),
        (trace, ("_MOST_BYTES",)),
        (optuna, ("_MOST_BYTES",)),
    ):
        for name in names:
            monkeypatch.setattr(module, name, 1 << 22)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("reader", READERS)
def test_it_is_one_clear_error(tmp_path, monkeypatch, reader, kind):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "given.csv"
    FILES[kind](path)
    with pytest.raises((SpecError, EnvironmentProblem)) as caught:
        READERS[reader](path)
    assert caught.value.exit_code in (2, 3)
    assert len(caught.value.message) < 1000
    named = ("given.csv", "specs.json", "t.csv", "/dev/zero", "tasks")
    assert any(part in caught.value.message for part in named)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("ending", [".db", ".sqlite3", ".log", ".journal"])
@pytest.mark.parametrize("kind", ["sparse", "loop", "folder", "fifo", "nul", "pickle", "absent"])
def test_a_storage_of_optuna_is_one_clear_error_too(tmp_path, monkeypatch, kind, ending):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"given{ending}"
    FILES[kind](path)
    with pytest.raises((SpecError, EnvironmentProblem)) as caught:
        formats.convert(str(path))
    assert f"given{ending}" in caught.value.message
    assert not (tmp_path / "canary").exists()


# -- cells that a spreadsheet would take for formulas --------------------------------------------------

FORMULAS = [
    "=cmd|' /C calc'!A0",
    "+1+cmd",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "'=1",
    "''=1",
    "=1",
    "-O3",
    "'plain'",
]


def table_of(values):
    parameters = {
        "flag": {"type": "categorical", "values": values},
        "n": {"type": "ordinal", "values": [-5, 3]},
    }
    space = Space.from_dict({"parameters": parameters})
    rows = tuple(
        MeasuredRow({"flag": value, "n": n}, {"speed": Estimate(-1.5)}, facts={"node": "=HYPERLINK(1)"})
        for value in values for n in (-5, 3)
    )  # fmt: skip
    return MeasuredTable("t", "t", space, {"maximize": "speed"}, rows)


def test_no_cell_of_an_exported_table_is_a_formula_and_all_come_back(tmp_path, record):
    before = table_of(FORMULAS)
    write_table(tmp_path / "t.csv", before)
    text = (tmp_path / "t.csv").read_bytes().decode()
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    assert "-1.5" in cells
    assert "-5" in cells
    for cell in cells:
        if cell[:1] in tuple("=+-@\t\r"):
            float(cell)  # a number and no formula
    after = read_table(tmp_path / "t.csv")
    assert [row.config for row in after.rows] == [row.config for row in before.rows]
    assert {row.facts["node"] for row in after.rows} == {"=HYPERLINK(1)"}
    record(
        f"{len(FILES)} kinds of hostile files as table, trace, lengths, tasks, study; formulas in cells",
        "P10",
        "each is one error in bounded time and memory, nothing is run; no exported cell is a formula",
    )


@pytest.mark.parametrize("cell", [*FORMULAS, "", "x", "1e5", "-3", "+inf", "it's", 7, -2.5])
def test_cells_come_back_as_they_were(cell):
    assert plain_cell(str(safe_cell(cell))) == str(cell)


def test_a_table_that_does_not_fit_what_is_said_of_it_names_the_place(tmp_path):
    file = tmp_path / "t.csv"
    spec = {"task": "task", "tasks": ["1"], "params": {"b": "ordinal"}, "objective": "v", "direction": "max",
            "status": "status"}  # fmt: skip
    specs = tmp_path / "specs.json"
    good = "task,b,status,v\n1,2,ok,3\n"
    for text, change, said in (
        ("task,status,v\n1,ok,3\n", {}, "t.csv:1: no column 'b'"),
        ("task,b,status,v\n1,2,ok,3\n1,2\n", {}, "t.csv:3: a row has 4 cells"),
        ("task,b,status,v\n1,2,ok,3,4\n", {}, "t.csv:2: a row has 4 cells"),
        ("task,b,status,v\n1,x,ok,3\n", {}, "does not fit its cells: could not convert"),
        (good, {"tasks": "1"}, "table 't': tasks must be a list, found '1'"),
        (good, {"tasks": [["1"]]}, "tasks must be texts"),
        (good, {"params": None}, "params must be a mapping"),
    ):
        file.write_text(text)
        specs.write_text(json.dumps({"t": {**spec, **change}}))
        with pytest.raises(SpecError) as caught:
            read_table(file)
        assert said in caught.value.message
    for text in ("[]", "{", "[" * 99_999, '{"t": ' + "9" * 5000 + "}", '{"t": 3}'):
        specs.write_text(text)
        with pytest.raises(SpecError, match=r"specs\.json"):
            read_table(file)


def test_a_file_of_prompts_is_bounded_as_well(tmp_path):
    for kind in ("sparse", "fifo", "device", "not-utf-8", "folder"):
        path = tmp_path / f"{kind}.jsonl"
        FILES[kind](path)
        with pytest.raises(SpecError, match="cannot read the prompts"):
            check_files(Workload.from_dict({"prompts": str(path), "output_tokens": 4}))
        with pytest.raises(SpecError, match="prompts: cannot read"):
            Quality.from_dict({"prompts": str(path)}).loaded()


# -- databases that run ----------------------------------------------------------------------------------

ENDLESS = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT x FROM r"
ACTIVE = {
    "an endless view": f"CREATE VIEW studies_2 AS {ENDLESS}",
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON other BEGIN DELETE FROM other; END",
    "a virtual table": "CREATE VIRTUAL TABLE v USING fts5(x)",
}


@pytest.mark.parametrize("what", ACTIVE)
def test_a_database_that_runs_something_is_refused(tmp_path, what, record):
    optuna_file, ledger = tmp_path / "o.db", tmp_path / "l.sqlite"
    kind = what.split()[-1]
    with closing(sqlite3.connect(optuna_file)) as database:
        for table in ("studies", "trials", "trial_params", "study_directions", "other"):
            database.execute(f"CREATE TABLE {table} (x)")
        database.execute(ACTIVE[what])
        database.commit()
    for source in (str(optuna_file), f"sqlite:///{optuna_file}"):
        with pytest.raises(SpecError, match=f"is no Optuna storage: it has the .*{kind}"):
            formats.convert(source)
    with Ledger.open(ledger):
        pass
    with closing(sqlite3.connect(ledger)) as database:
        database.execute("CREATE TABLE other (x)")
        database.execute(ACTIVE[what])
        database.commit()
    for read_only in (True, False):
        with pytest.raises(LedgerError, match=f"has the .*{kind}.*, which no ledger has"):
            Ledger.open(ledger, read_only=read_only)
    record(f"{what} in a ledger and in an Optuna storage", "P9 P10: refused before it runs", "4 of 4 refused")


def test_a_storage_that_is_converted_is_not_written_to(tmp_path, record):
    """Optuna itself makes its tables in whatever database it opens."""
    path = tmp_path / "o.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE studies (study_id INTEGER, study_name TEXT)")
        database.execute("CREATE TABLE songs (title TEXT)")
        database.commit()
    content = path.read_bytes()
    for source in (str(path), f"sqlite:///{path}"):
        with pytest.raises(
            SpecError, match=r"is no Optuna storage: it lacks study_dir.*, trial_params, trials"
        ):
            formats.convert(source)
    assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["o.db"]
    record(
        "another program's database given to `convert`",
        "refused; read from a copy",
        "as it was, byte for byte",
    )


def test_a_journal_of_nonsense_is_one_error(tmp_path):
    (tmp_path / "o.log").write_text(
        '{"op_code": 0, "study_name": "x", "directions": [99], "worker_id": "w"}\n'
    )
    with pytest.raises(SpecError, match="no readable Optuna storage: an entry is malformed") as caught:
        formats.convert(str(tmp_path / "o.log"))
    assert "\n" not in caught.value.message
