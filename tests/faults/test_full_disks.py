"""Full disks: of the ledger, of an attempt, of shared memory; nothing measured is lost, the place is said."""

import json
import subprocess
import sys

import driver
import pytest

from autotune.core import room
from autotune.core.measurement import Cause, Estimate, Measurement
from autotune.core.parameter import Int
from autotune.core.room import full_places, give_room, keep_room
from autotune.core.space import Space
from autotune.core.trial import TrialState
from autotune.errors import EnvironmentProblem, LedgerError
from autotune.executor import worker
from autotune.executor.base import Job
from autotune.executor.local import LocalExecutor
from autotune.ledger import Ledger
from autotune.study.study import Study
from autotune.study.tune import tune
from tests_shared import fill_disk, small_disk

pytestmark = pytest.mark.timeout(300)

SPACE = Space((Int("a", 1, 1000),))
OBJECTIVE = {"maximize": "x"}
MEASURED = Measurement(metrics={"x": Estimate(7.0)}, facts={"text": "y" * 50_000}, started_ns=1, ended_ns=2)


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own, where this user may mount one."""
    with small_disk(tmp_path / "disk", "4m"):
        yield tmp_path / "disk"


def test_what_was_measured_before_the_disk_was_full_is_committed(disk, record):
    path = disk / "ledger.sqlite"
    study = Study(SPACE, OBJECTIVE, engine="random", path=path)
    trial = study.ask()
    attempt = study.start_attempt(trial.number, executor="local")
    filler = fill_disk(disk)
    with pytest.raises(LedgerError, match="full") as caught:
        study.finish_attempt(trial.number, attempt, MEASURED, state=TrialState.COMPLETED)
    assert str(path) in caught.value.message
    assert "free some space" in caught.value.hint
    assert study.trials[0].metrics["x"].value == 7.0
    study.close()
    with Ledger.open(path, read_only=True) as ledger:
        assert ledger.trials("study")[0].measurement == MEASURED
    filler.unlink()
    with Study.open(path) as again:
        assert (disk / "ledger.sqlite.room").exists()
        again.tell(again.ask(), {"x": 1.0})
    assert not (disk / "ledger.sqlite.room").exists()
    record(
        "the ledger's disk full when a result comes",
        "P1",
        "the result is committed into room kept for it; exit 3",
    )


def test_tune_keeps_what_its_function_measured(disk):
    def measure(config):
        fill_disk(disk)
        return {"x": 7.0}

    with pytest.raises(LedgerError, match="full"):
        tune(SPACE, measure, OBJECTIVE, trials=5, engine="random", path=disk / "ledger.sqlite")
    with Ledger.open(disk / "ledger.sqlite", read_only=True) as ledger:
        assert [t.metrics["x"].value for t in ledger.trials("study") if t.metrics] == [7.0]


FILLS = """
import sys
from pathlib import Path
import driver
from tests_shared import fill_disk
folder, taken = Path(sys.argv[1]), []
class Fills(driver.Moments):
    def wait(self, timeout):
        found = super().wait(timeout)
        taken.extend(found)
        if len(taken) == 4 and found:
            fill_disk(folder)
            print("measured", found[0].key[1], flush=True)
        return found
driver.Moments = Fills
driver.main(folder, {})
"""


@pytest.mark.slow
def test_a_run_keeps_the_result_that_came_when_its_disk_was_full_and_goes_on(disk):
    folder = driver.prepare(disk / "runs", "sobol")
    done = subprocess.run([sys.executable, "-c", FILLS, str(folder)], check=False, timeout=120)
    assert done.returncode == 3
    with Ledger.open(folder / "ledger.sqlite", read_only=True) as ledger:
        finished = [t.number for t in ledger.trials("crash") if t.state.finished]
    assert len(finished) >= 4  # those that ended after it too
    (folder / "filler").unlink()
    before = driver.history(folder)
    runs = "import sys, driver; from pathlib import Path; driver.main(Path(sys.argv[1]), {})"
    again = subprocess.run([sys.executable, "-c", runs, str(folder)], check=False, timeout=120)
    assert again.returncode == 0, (folder / "driver.log").read_text()
    after = driver.history(folder)
    assert [row for row in after if row[0] in finished] == [row for row in before if row[0] in finished]


ANSWER = "import sys; sys.path[:0] = {path!r}; from tests_shared import fill_disk; from pathlib import Path; "


def job(scratch, then):
    code = ANSWER.format(path=sys.path) + then
    return Job(
        study="s", trial=0, attempt=1, config={"a": 1}, scratch=str(scratch), workload={}, goal="x",
        system={"use": "command", "argv": [sys.executable, "-c", code, "{a}"]},
    )  # fmt: skip


def test_a_result_is_reported_from_a_full_disk(disk, tmp_path, record):
    scratch = disk / "attempt-1"
    scratch.mkdir()
    filled = f"import json; print(json.dumps(dict(x=7))); sys.stdout.flush(); fill_disk(Path({str(disk)!r}))"
    order = tmp_path / "job.json"
    order.write_text(json.dumps(job(scratch, filled).to_dict()))
    worker._run_file(order, scratch / "result.json")
    result = json.loads((scratch / "result.json").read_text())
    assert result["measurement"]["metrics"]["x"]["value"] == 7.0, result
    assert not (scratch / ".room").exists()
    record("an attempt's disk full when its result is written", "P1", "written into room kept for it")


def test_an_attempt_without_room_says_which_place_is_full(disk, tmp_path, monkeypatch, record):
    memory = disk / "shm"
    memory.mkdir()
    monkeypatch.setattr(room, "_MEMORY", memory)
    said = "import os; raise OSError(28, os.strerror(28))"
    filler = fill_disk(disk)
    result = worker.run_attempt(job(tmp_path / "attempt-1", said))
    assert result.measurement.failure.cause is Cause.DISK_FULL
    assert f"(full: {memory})" in result.measurement.failure.message
    result = worker.run_attempt(job(disk / "attempt-2", said))
    assert result.measurement.failure.cause is Cause.DISK_FULL
    assert "attempt-2" in result.measurement.failure.message
    filler.unlink()
    record(
        "/dev/shm or an attempt's folder full (mounted small)",
        "P9",
        "disk_full, the machine's fault, with the place",
    )


def test_a_job_that_cannot_be_written_ends_the_run_with_its_path(disk):
    fill_disk(disk)
    executor = LocalExecutor(1)
    with pytest.raises(EnvironmentProblem, match=r"cannot write .*job\.json: No space left on device"):
        executor.submit(job(disk, "print(1)"))
    executor.close()


def test_room_is_a_small_part_of_what_is_free(disk):
    keep_room(disk / "room", 1 << 30)
    assert 0 < (disk / "room").stat().st_size <= (4 << 20) // 8
    assert give_room(disk / "room")
    assert not give_room(disk / "room")
    assert str(disk) not in full_places([disk])
    fill_disk(disk)
    keep_room(disk / "room", 1 << 20)
    assert not (disk / "room").exists()
    assert full_places([disk])[0] == str(disk)
