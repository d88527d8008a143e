"""Tables: written and read back exactly, and replayed as a system without a process."""

import gzip
import json

import pytest

from autotune.core.measured_table import MeasuredRow, MeasuredTable, read_table, write_table
from autotune.core.measurement import Cause, Estimate
from autotune.core.space import Space
from autotune.errors import SpecError
from autotune.systems.base import AttemptFailed
from autotune.systems.replay import ReplayDriver, ReplaySystem

SPACE = Space.from_dict(
    {
        "parameters": {
            "batch": {"type": "int", "low": 1, "high": 4, "powers_of": 2, "scale": "log2", "default": 2},
            "draft": {"type": "int", "low": 0, "high": 1},
            "source": {"type": "categorical", "values": ["ngram", "model"], "when": "draft > 0"},
            "eager": {"type": "bool"},
        },
        "constraints": ["batch * draft <= 2"],
    }
)


def rows():
    table = SPACE.table()
    result = []
    for i, config in enumerate(table.configs(range(len(table)))):
        for replicate in (1, 2, 3):
            value = 10.0 * (i + 1) + replicate / 3
            failed = config["batch"] == 4 and config["eager"]
            metrics = (
                {} if failed else {"speed": Estimate(value, 0.1, 7, "tokens/s"), "memory": Estimate(3.0)}
            )
            cause = Cause.OUT_OF_MEMORY if failed else None
            result.append(MeasuredRow(config, metrics, cause, replicate, {"node": 'a,"b"', "trial": str(i)}))
    result.append(MeasuredRow(result[0].config, {}, Cause.WORKER_LOST, 4, {"node": "c", "trial": "99"}))
    return tuple(result)


@pytest.fixture
def table():
    return MeasuredTable(
        "mine", "mine", SPACE, {"maximize": "speed", "limits": ["memory <= 4"]}, rows(), {"n": 1}
    )


def test_a_table_is_read_back_as_it_was_written(table, tmp_path):
    path = tmp_path / "mine.csv.gz"
    write_table(path, table)
    read = read_table(path)
    assert read.rows == table.rows
    assert (read.space, read.about, read.task) == (SPACE, {"n": 1}, "mine")
    assert dict(read.objective) == dict(table.objective)
    first = path.read_bytes()
    write_table(path, read)
    assert path.read_bytes() == first
    write_table(tmp_path / "other.csv", table)
    assert set(json.loads((tmp_path / "specs.json").read_text())) == {"mine", "other"}


def test_the_truth_is_the_mean_of_replicates_and_environment_faults_do_not_count(table):
    config = table.rows[0].config
    truth = table.truth(config)
    assert truth["speed"].value == pytest.approx(10 + 2 / 3)
    assert truth["speed"].n == 3
    assert len(table.find(config)) == 3
    assert table.truth({"batch": 4, "draft": 0, "eager": True}) is Cause.OUT_OF_MEMORY


def test_part_of_a_grid_is_a_list_of_configurations(table, tmp_path):
    part = MeasuredTable("part", "part", SPACE, table.objective, table.rows[:9])
    write_table(tmp_path / "part.csv.gz", part)
    space = read_table(tmp_path / "part.csv.gz").space
    assert space.count().value == 3
    with pytest.raises(SpecError, match="the list of allowed configurations"):
        space.validate(table.rows[-2].config)


def write_old(folder, text, **changes):
    spec = {"task": "task", "params": {"a": "ordinal", "b": "categorical"}, "objective": "ms",
            "direction": "min", "status": "status", "tasks": ["x", "y"], **changes}  # fmt: skip
    (folder / "specs.json").write_text(json.dumps({"old": spec}))
    (folder / "old.csv.gz").write_bytes(gzip.compress(text.encode()))
    return folder / "old.csv.gz"


OLD = "task,a,b,ms,label,status\nx,1,p,2.5,k,ok\nx,2,p,,,oom\nx,1,q,3.5,l,ok\ny,1,p,1,m,ok\n"


def test_a_table_of_others_is_read_by_its_specification(tmp_path):
    path = write_old(tmp_path, OLD)
    found = read_table(path, "x")
    assert found.objective == {"minimize": "ms", "limits": []}
    assert found.truth({"a": 1, "b": "q"})["ms"] == Estimate(3.5)
    assert found.truth({"a": 2, "b": "p"}) is Cause.OUT_OF_MEMORY
    assert found.space.count().value == 3
    with pytest.raises(SpecError, match=r"name a task of old.csv.gz; allowed: x, y; found none"):
        read_table(path)
    with pytest.raises(SpecError, match="says nothing of a table 'new'"):
        read_table(path.rename(tmp_path / "new.csv.gz"))


def test_replicates_are_drawn_or_averaged(table, tmp_path, attempt):
    write_table(tmp_path / "mine.csv.gz", table)
    config = table.rows[0].config
    section = {"use": "replay", "table": str(tmp_path / "mine.csv.gz")}
    seen = {attempt(section, config, trial=trial).metrics["speed"].value for trial in range(12)}
    assert seen == {row.metrics["speed"].value for row in table.rows[:3]}
    assert attempt(section, config, trial=3).metrics == attempt(section, config, trial=3).metrics
    exact = attempt({**section, "noise": "none"}, config)
    assert exact.metrics["speed"].value == pytest.approx(10 + 2 / 3)
    assert exact.facts["system"]["replayed"] == "mine"
    assert "argv" not in exact.facts
    noisy = {attempt({**section, "noise": "5 %"}, config, trial=t).metrics["speed"].value for t in range(3)}
    assert len(noisy) == 3
    assert all(7 < value < 15 for value in noisy)


def test_failures_are_replayed_and_the_unknown_is_refused(table, tmp_path, attempt):
    write_table(tmp_path / "mine.csv.gz", table)
    section = {"use": "replay", "table": str(tmp_path / "mine.csv.gz")}
    for noise in ("measured", "none"):
        failure = attempt({**section, "noise": noise}, {"batch": 4, "draft": 0, "eager": True}).failure
        assert failure.cause is Cause.OUT_OF_MEMORY
    system = ReplaySystem(section["table"])
    assert system.check(table.rows[0].config) is None
    assert "batch=3 is not in the table mine; it has" in system.check({"batch": 3}).message
    assert "parameters of the table: batch, draft, source, eager" in system.check({"batch": 2}).message
    refused = attempt(section, {"batch": 4, "draft": 1, "source": "ngram", "eager": False}).failure
    assert refused.cause is Cause.REJECTED_FLAGS


def test_a_single_row_is_drawn_within_its_own_error(table, tmp_path):
    row = table.rows[0]
    write_table(tmp_path / "one.csv.gz", MeasuredTable("one", "one", SPACE, table.objective, (row,)))
    system = ReplaySystem(str(tmp_path / "one.csv.gz"))
    values = [ReplayDriver(system, row.config, t, 1).measure(0.0)["speed"].value for t in range(200)]
    assert sum(values) / 200 == pytest.approx(row.metrics["speed"].value, abs=0.05)
    assert max(values) - min(values) > 0.2
    failed = next(r for r in table.rows if r.cause is Cause.OUT_OF_MEMORY)
    write_table(tmp_path / "two.csv.gz", MeasuredTable("two", "two", SPACE, table.objective, (failed,)))
    driver = ReplayDriver(ReplaySystem(str(tmp_path / "two.csv.gz")), failed.config, 0, 1)
    with pytest.raises(AttemptFailed, match="out_of_memory"):
        driver.measure(0.0)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({}, "needs a table"),
        ({"table": "t", "noise": "loud"}, "noise must be"),
        ({"table": "t", "x": 1}, "unknown key"),
    ],
)
def test_a_wrong_replay_section_is_refused_with_its_reason(section, said):
    with pytest.raises(SpecError, match=said):
        ReplaySystem.from_dict(section)
