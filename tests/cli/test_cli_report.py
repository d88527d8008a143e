"""`autotune report`: formats, names, standard output, errors."""

import csv
import json

import pandas as pd
import pytest

from autotune import Estimate, Space
from autotune.cli import main
from autotune.study.study import Study

SPACE = {
    "parameters": {
        "batch_size": {"type": "int", "low": 1, "high": 4, "default": 1},
        "cache": {"type": "ordinal", "values": ["off", 1, 2]},
    }
}


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "autotune-runs" / "ledger.sqlite"
    with Study(
        Space.from_dict(SPACE), {"maximize": "throughput"}, engine="random", name="demo", path=path
    ) as study:
        for i, cache in enumerate(("off", 1, 2)):
            value = Estimate(10.0 * (i + 1), 0.1, 5, "tokens/s")
            study.add({"batch_size": i + 1, "cache": cache}, {"throughput": value})
        study.add({"batch_size": 4, "cache": 1}, failure="out_of_memory")
        study.ledger.set_study_state("demo", "COMPLETED")
    return tmp_path


def run(capsys, *args):
    code = main(["report", *map(str, args)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_html_beside_the_ledger_by_default(store, capsys):
    code, out, _ = run(capsys)
    path = store / "autotune-runs" / "demo-report.html"
    assert (code, out.strip()) == (0, str(path.relative_to(store)))
    assert "</html>" in path.read_text()[-20:]


def test_tables_have_a_row_for_each_trial(store, capsys):
    assert run(capsys, "demo", "-o", "t.csv")[0] == 0
    assert run(capsys, "demo", "-o", "t.parquet")[0] == 0
    for frame in (pd.read_csv("t.csv"), pd.read_parquet("t.parquet")):
        assert list(frame["number"]) == [0, 1, 2, 3]
        assert list(frame["metrics.throughput"])[:3] == [10.0, 20.0, 30.0]
        assert frame["failure"][3] == "out_of_memory"
        assert list(frame["params.cache"]) == ["off", "1", "2", "1"]


def test_text_formats_go_to_standard_output(store, capsys):
    code, out, _ = run(capsys, "-o", "-", "--format", "json")
    assert code == 0
    assert [t["number"] for t in json.loads(out)["trials"]] == [0, 1, 2, 3]
    assert run(capsys, "-o", "-", "--format", "md")[1].startswith("# demo\n")
    assert run(capsys, "-o", "-", "--format", "csv")[1].startswith("number,state,params.batch_size,")
    assert sorted(path.name for path in store.iterdir()) == ["autotune-runs"]


def test_json_says_what_was_written(store, capsys):
    code, out, _ = run(capsys, "--json", "-o", "r.md")
    size = (store / "r.md").stat().st_size
    assert (code, json.loads(out)) == (0, {"study": "demo", "format": "md", "report": "r.md", "bytes": size})


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("demp",), 2, "no study 'demp'; the ledger has: demo\n  did you mean 'demo'?"),
        (("-o", "r.pdf"), 2, "-o r.pdf: the ending '.pdf' names no format; allowed: .html, .htm, .md"),
        (("-o", "r.parqet"), 2, "did you mean '.parquet'?"),
        (("-o", "report"), 2, "--format says which one"),
        (("-o", "-", "--format", "parquet"), 2, "parquet is no text: -o names a file for it"),
        (("-o", "-", "--json"), 2, "--json and -o - would both write to standard output"),
        (("--format", "pdf"), 2, "'pdf' is not one of 'html', 'md', 'json', 'csv', 'parquet'"),
        (("-o", "autotune-runs", "--format", "md"), 2, "-o wants a file, found a folder: autotune-runs"),
        (("-o", "none/r.md"), 2, "-o: no such folder: none"),
        (("-o", "/proc/r.md"), 2, "-o: /proc/r.md cannot be written: No such file or directory"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_clear_error(store, capsys, args, code, said):
    found, _, err = run(capsys, *args)
    assert found == code
    assert said in err
    assert err.startswith("error: ")


def test_a_report_changes_nothing_in_the_ledger(store, capsys):
    path = store / "autotune-runs" / "ledger.sqlite"
    before = path.read_bytes()
    run(capsys, "-o", "r.md")
    assert path.read_bytes() == before


def test_no_cell_of_csv_is_a_formula_or_hides_anything(tmp_path, monkeypatch, capsys):
    texts = ["=cmd|' /C calc'!A0", "+SUM(1)", "@x", "-x", "\t=1", "\r=1", "-5", "a\x1b[31mb\u202ec",
             "token=planted-secret"]  # fmt: skip
    monkeypatch.chdir(tmp_path)
    space = Space.from_dict({"parameters": {"mode": {"type": "categorical", "values": texts}}})
    path = tmp_path / "autotune-runs" / "ledger.sqlite"
    with Study(space, {"maximize": "throughput"}, engine="random", name="demo", path=path) as study:
        for text in texts:
            study.add({"mode": text}, {"throughput": -2.5})
    assert run(capsys, "-o", "t.csv")[0] == 0
    with open("t.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["params.mode"] for row in rows] == [
        "'=cmd|' /C calc'!A0", "'+SUM(1)", "'@x", "'-x", "'\t=1", "'\n=1", "-5", "abc",
        "token=[redacted]",
    ]  # fmt: skip
    assert {row["metrics.throughput"] for row in rows} == {"-2.5"}
    assert run(capsys, "-o", "t.parquet")[0] == 0
    assert list(pd.read_parquet("t.parquet")["params.mode"]) == [*texts[:-1], "token=[redacted]"]


def test_nothing_measured_is_said_so_and_a_table_has_its_columns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "autotune-runs" / "ledger.sqlite"
    wanted = {"maximize": "throughput", "limits": ["throughput <= 1 MB"]}
    with Study(Space.from_dict(SPACE), wanted, engine="random", name="demo", path=path) as study:
        study.ledger.set_study_state("demo", "COMPLETED")
        assert run(capsys, "-o", "-", "--format", "csv")[1].splitlines() == [
            "number,state,params.batch_size,params.cache,feasible,failure,reason"
        ]
        for waiting in (0, 1):
            _, text, _ = run(capsys, "-o", "-", "--format", "md")
            assert "> Nothing was measured yet." in text, waiting
            assert ">" not in text.splitlines()
            verdict = json.loads(run(capsys, "-o", "-", "--format", "json")[1])["verdict"]
            assert (verdict["kind"], verdict["text"]) == ("undecided", "nothing was measured yet")
            study.ask()


def test_feasible_is_empty_where_nothing_was_measured(store, capsys):
    assert run(capsys, "demo", "-o", "t.csv")[0] == 0
    with open("t.csv", newline="") as file:
        assert [row["feasible"] for row in csv.DictReader(file)] == ["True", "True", "True", ""]
