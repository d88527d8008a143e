"""Sweeps: what is chosen and in which order, the table, stopping and going on, replaying the result."""

import gzip
import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from autotune import load_space
from autotune.core.measured_table import read_table
from autotune.core.measurement import Cause
from autotune.core.space import Space
from autotune.core.trial import config_key
from autotune.errors import SpecError, StudyError
from autotune.ledger import Ledger
from autotune.report.plain import QuietView
from autotune.spec.yaml_text import parse_text, read_text
from autotune.study.study_file import read_study
from autotune.study.sweep import SweepPlan, chosen, order, sweep
from autotune.systems.registry import build_system
from benchmarks.problems.tables import OWN, table_problems

GRID = Space.from_dict(
    {
        "parameters": {
            "a": {"type": "ordinal", "values": [1, 2, 3, 4]},
            "b": {"type": "int", "low": 0, "high": 9},
            "c": {"type": "bool"},
        },
        "constraints": ["a * b <= 24"],
    }
)

STUDY = """
name: grid
parameters:
  a: {type: ordinal, values: [1, 2, 4], default: 2}
  b: {type: int, low: 0, high: 2}
system: {use: function, call: "bench.py:run"}
objective: {maximize: speed}
tracking: {mlflow: none}
"""

BENCH = """
def run(config):
    if config["a"] == 4 and config["b"] == 2:
        raise MemoryError("too much")
    return {"speed": config["a"] * 10.0 - config["b"], "size": [1.0, 2.0]}
"""


@pytest.fixture
def study_file(tmp_path):
    (tmp_path / "bench.py").write_text(BENCH)
    path = tmp_path / "grid.yaml"
    path.write_text(STUDY)
    return path


def test_a_sample_is_stratified_distinct_and_holds_the_default():
    count = GRID.count().value
    for seed in range(20):
        found = chosen(GRID, SweepPlan(sample=20, seed=seed))
        keys = {config_key(config) for config in found}
        assert len(keys) == 20
        assert config_key(GRID.default_config) in keys
        assert all(not GRID.explain(config) for config in found)
    assert chosen(GRID, SweepPlan(sample=20, seed=3)) == chosen(GRID, SweepPlan(sample=20, seed=3))
    assert chosen(GRID, SweepPlan(sample=20, seed=3)) != chosen(GRID, SweepPlan(sample=20, seed=4))
    assert len(chosen(GRID, SweepPlan())) == count
    assert len(chosen(GRID, SweepPlan(sample=10_000))) == count


def test_the_first_parameter_of_the_sort_is_represented_as_in_the_whole():
    square = Space.from_dict({"parameters": {n: {"type": "int", "low": 1, "high": 8} for n in ("x", "y")}})
    for seed in range(10):
        found = chosen(square, SweepPlan(sample=16, seed=seed))
        spread = [Counter(config[name] for config in found) for name in ("x", "y")]
        # exactly two of each, but for the default that takes the first place
        assert any(all(1 <= counts[level] <= 3 for level in range(1, 9)) for counts in spread)


def test_replicates_are_blocks_in_different_orders():
    plan = SweepPlan(replicates=3)
    configs = chosen(GRID, plan)
    places = [config_key(config) for config in order(configs, plan, GRID.default_config)]
    blocks = list(itertools.batched(places, len(configs))) if hasattr(itertools, "batched") else [
        tuple(places[i : i + len(configs)]) for i in range(0, len(places), len(configs))
    ]  # fmt: skip
    assert places[0] == config_key(GRID.default_config)
    assert len(blocks) == 3
    assert all(set(block) == {config_key(config) for config in configs} for block in blocks)
    assert len(set(blocks)) == 3


def test_too_many_are_refused_with_what_to_do():
    space = Space.from_dict({"parameters": {n: {"type": "int", "low": 1, "high": 90} for n in "abc"}})
    with pytest.raises(SpecError, match="too many to measure all") as caught:
        chosen(space, SweepPlan())
    assert "--sample N" in caught.value.hint
    assert len(chosen(space, SweepPlan(sample=7))) == 7


def test_the_table_holds_every_measurement_and_can_be_tuned_on(study_file, tmp_path):
    out = tmp_path / "tables" / "grid.csv.gz"
    out.parent.mkdir()
    study_file.write_text(STUDY.replace("[1, 2, 4]", "[2, 4]").replace("low: 0, high: 2", "low: 1, high: 2"))
    spec = read_study(study_file)
    options = {"store": tmp_path / "store", "view": QuietView(), "out": out}
    done = sweep(spec, SweepPlan(replicates=2), **options)
    assert done.state == "completed"
    table = read_table(out)
    assert len(table.rows) == 8
    assert Counter(row.replicate for row in table.rows) == {1: 4, 2: 4}
    assert table.space == spec.space
    assert table.truth({"a": 4, "b": 1})["speed"].value == 39
    assert table.truth({"a": 2, "b": 1})["size"].sem == 0.0
    assert {row.metrics["size"].n for row in table.rows if row.cause is None} == {2}
    assert table.truth({"a": 4, "b": 2}) is Cause.OUT_OF_MEMORY
    assert table.about["hardware"]
    assert (
        str(tmp_path)
        not in gzip.decompress(out.read_bytes()).decode() + (out.parent / "specs.json").read_text()
    )
    with pytest.raises(StudyError, match="has a sweep 'grid-sweep' already"):
        sweep(spec, SweepPlan(), **options)
    with Ledger.open(tmp_path / "store" / "ledger.sqlite", read_only=True) as ledger:
        assert len(ledger.trials("grid-sweep")) == 8
    replayed = tmp_path / "replay.yaml"
    replayed.write_text(
        "space: {table: tables/grid.csv.gz}\nsystem: {use: replay, table: tables/grid.csv.gz}\n"
        "tracking: {mlflow: none}\nbudget: {trials: 3, confirm: 0}\nengine: random\n"
    )
    from autotune.study.run import run_study

    again = run_study(read_study(replayed), store=tmp_path / "store", view=QuietView(), local=True)
    assert again.view.best is not None
    known = {row.metrics["speed"].value for row in table.rows if row.cause is None}
    assert {t.metrics["speed"].value for t in again.view.trials if t.metrics} <= known


@pytest.mark.slow
def test_a_stopped_sweep_goes_on_where_it_was(study_file, tmp_path):
    out = tmp_path / "grid.csv.gz"
    argv = [sys.executable, "-m", "autotune", "sweep", str(study_file), "--replicates", "2", "--store",
            str(tmp_path / "store"), "--out", str(out)]  # fmt: skip
    with (tmp_path / "printed").open("w") as printed:
        process = subprocess.Popen(argv, stdout=printed, stderr=printed, env=dict(os.environ))
        deadline = time.monotonic() + 240
        while (tmp_path / "printed").read_text().count("measured:") < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 5
    text = (tmp_path / "printed").read_text()
    (printed,) = re.findall(r"stopped; `(.*)` goes on", text)
    assert all(len(line) <= 200 for line in text.splitlines() if printed not in line)
    before = read_table(out).rows
    assert 3 <= len(before) < 18
    going_on = [sys.executable, "-m", *shlex.split(printed), "--json"]
    done = subprocess.run(going_on, capture_output=True, text=True, check=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["event"] == "finish"
    after = read_table(out).rows
    assert len(after) == 18
    assert after[: len(before)] == before
    failed = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert "--resume goes on with it" in failed.stderr


@pytest.mark.slow
def test_the_benchmarks_read_the_table(study_file, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.problems.tables.LEAST", 9)
    (tmp_path / "tables").mkdir()
    study_file.write_text(study_file.read_text().replace("[1, 2, 4]", "[1, 2, 3]"))
    out = tmp_path / "tables" / "grid.csv.gz"
    sweep(read_study(study_file), SweepPlan(), store=tmp_path / "store", view=QuietView(), out=out)
    (build,) = table_problems(tmp_path / "tables").values()
    problem = build()
    assert problem.name == "grid/grid"
    assert problem.value({"a": 3, "b": 0}) == 30
    assert problem.optimum == 30
    assert len(problem.space.table()) == 9


@pytest.mark.parametrize("path", sorted((OWN / "spaces").glob("*.yaml")), ids=lambda p: p.stem)
def test_systems_know_the_spaces_of_the_tables(path):
    space = load_space(path)
    document = parse_text(read_text(path), path.name)
    system = build_system(document.data["system"])
    table = space.table()
    refused = {str(system.check(config)) for config in table.configs(range(len(table)))} - {"None"}
    assert not refused
