"""What a study file may name and a search space may not; spaces that come from a table."""

import pytest

from autotune.core.measured_table import MeasuredRow, MeasuredTable, write_table
from autotune.core.measurement import Estimate
from autotune.core.space import Space
from autotune.errors import SpecError
from autotune.study.study_file import read_study

ONE = "parameters:\n  bits: {type: ordinal, values: [4, 8]}\n"


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("system: {use: command, argv: [touch, canary]}", "argv"),
        ("system: {use: function, call: 'os:abort'}", "call"),
        ("system: {use: replay, table: /etc/passwd}", "table"),
        ("system: {use: vllm, env: {LD_PRELOAD: x}}", "env"),
        ("space: {table: secret.csv}", "table"),
    ],
)
def test_a_search_space_names_no_code_and_no_file(tmp_path, section, key):
    (tmp_path / "base.yaml").write_text(f"{ONE}{section}\n")
    (tmp_path / "s.yaml").write_text("space: ./base.yaml\n")
    with pytest.raises(SpecError, match=rf"base.yaml:3:\d+: a search space may not say '{key}'") as caught:
        read_study(tmp_path / "s.yaml")
    assert caught.value.hint == "write it in the study file"
    assert not (tmp_path / "canary").exists()


@pytest.fixture
def table(tmp_path):
    space = Space.from_dict(
        {
            "parameters": {
                "bits": {"type": "ordinal", "values": [4, 8]},
                "batch": {"type": "int", "low": 1, "high": 2},
            }
        }
    )
    rows = [
        MeasuredRow({"bits": bits, "batch": batch}, {"speed": Estimate(bits * batch)})
        for bits, batch in ((4, 1), (8, 1), (8, 2))
    ]
    objective = {"maximize": "speed", "limits": ["speed <= 100"]}
    write_table(tmp_path / "t.csv.gz", MeasuredTable("t", "t", space, objective, tuple(rows)))
    return tmp_path


def test_space_and_objective_come_from_a_table(table):
    path = table / "s.yaml"
    path.write_text("space: {table: t.csv.gz}\nsystem: {use: replay, table: t.csv.gz}\n")
    spec = read_study(path)
    assert spec.space.count().value == 3
    assert str(spec.objective.limits[0]) == "speed <= 100"
    assert spec.system.section["table"] == str(table / "t.csv.gz")
    path.write_text("space: {table: t.csv.gz}\nobjective: {minimize: speed}\n")
    assert not read_study(path).objective.goals[0].maximize


def test_mistakes_about_tables_are_located(table):
    path = table / "s.yaml"
    path.write_text("space: {table: absent.csv.gz}\n")
    with pytest.raises(SpecError, match=r"s.yaml:1:16: no such table: .*absent.csv.gz"):
        read_study(path)
    path.write_text("space: {table: t.csv.gz, task: u}\n")
    with pytest.raises(SpecError, match=r"s.yaml:1:\d+: name a task of t.csv.gz; allowed: t; found 'u'"):
        read_study(path)
    path.write_text("space: {table: t.csv.gz, rows: 3}\n")
    with pytest.raises(SpecError, match=r"s.yaml:1:32: unknown key 'rows'"):
        read_study(path)
