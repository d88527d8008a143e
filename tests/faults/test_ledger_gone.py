"""A ledger that goes away while a study writes it: deleted, moved, replaced, cut; noticed, written anew."""

import os
import shutil
import subprocess
import sys

import driver
import pytest

from autotune.core.parameter import Int
from autotune.core.space import Space
from autotune.core.trial import TrialState
from autotune.errors import LedgerError, StudyError
from autotune.ledger import Ledger
from autotune.ledger.lock import study_lock
from autotune.study.study import Study
from autotune.study.tune import tune

pytestmark = pytest.mark.timeout(300)

SPACE = Space((Int("a", 1, 1000),))
OBJECTIVE = {"maximize": "x"}


def start(path, name="mine"):
    return Study(SPACE, OBJECTIVE, engine="random", name=name, path=path)


def remove_all(path):
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def remove_folder(path):
    shutil.rmtree(path.parent)


def rename_folder(path):
    path.parent.rename(path.parent.with_name("elsewhere"))


def rename_file(path):
    path.rename(path.with_name("other.sqlite"))


def others(path):
    """Return the bytes of somebody else's ledger."""
    other = path.parent.parent / "theirs" / "ledger.sqlite"
    with start(other, "theirs") as study:
        for value in range(60):
            study.add({"a": value + 1}, {"x": 1.0 * value})
    return other.read_bytes()


def replace_all(path):
    theirs = others(path)
    remove_all(path)
    path.write_bytes(theirs)


def replace_file(path):
    theirs = path.with_name("new")
    theirs.write_bytes(others(path))
    theirs.replace(path)


def overwrite(path):
    path.write_bytes(others(path))


def empty(path):
    os.truncate(path, 0)


def cut(path):
    os.truncate(path, path.stat().st_size - 4096)


def remove_log(path):
    path.with_name(f"{path.name}-wal").unlink()


def remove_index(path):
    path.with_name(f"{path.name}-shm").unlink()


def cut_index(path):
    os.truncate(path.with_name(f"{path.name}-shm"), 0)


WAYS = {
    remove_all: "was deleted",
    remove_folder: "was deleted",
    rename_folder: "was moved to",
    rename_file: "was moved to",
    replace_all: "was replaced by another file",
    replace_file: "was replaced by another file",
    overwrite: "was ",  # cut or overwritten: theirs may be longer or shorter
    empty: "was cut from",
    cut: "was cut from",
    remove_log: "ledger.sqlite-wal was deleted",
    remove_index: "ledger.sqlite-shm was deleted",
    cut_index: "ledger.sqlite-shm was cut",
}


@pytest.mark.parametrize("spoil", WAYS, ids=lambda way: way.__name__)
def test_what_goes_away_is_written_anew_with_what_was_to_be_committed(tmp_path, spoil):
    path = tmp_path / "runs" / "ledger.sqlite"
    study = start(path)
    for number in range(5):
        study.tell(study.ask(), {"x": 1.0 + number})
    trial = study.ask()
    spoil(path)
    theirs = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(LedgerError) as caught:
        study.tell(trial, {"x": 99.0})
    assert WAYS[spoil] in caught.value.message
    rescued = tmp_path / "runs" / "ledger-rescued" / "ledger.sqlite"
    assert str(rescued) in caught.value.message
    assert f"in Python, `path={str(rescued)!r}` goes on with 'mine'" in caught.value.hint
    study.close()
    with Ledger.open(rescued, read_only=True) as ledger:
        trials = ledger.trials("mine")
    assert [t.state for t in trials[:5]] == [TrialState.COMPLETED] * 5
    assert [t.metrics["x"].value for t in trials[:5]] == [1.0 + k for k in range(5)]
    assert study.ledger.path == rescued
    if spoil in (replace_all, replace_file, overwrite):
        assert path.read_bytes() == theirs[path]
        with Ledger.open(path, read_only=True) as ledger:
            assert [row.name for row in ledger.studies()] == ["theirs"]


def test_no_measurement_is_lost_and_the_study_goes_on_in_the_new_ledger(tmp_path, record):
    path = tmp_path / "runs" / "ledger.sqlite"
    study = start(path)
    trial = study.ask()
    remove_all(path)
    with pytest.raises(LedgerError):
        study.tell(trial, {"x": 99.0})
    for number in range(3):  # a caller that goes on loses nothing either
        study.tell(study.ask(), {"x": 1.0 * number})
    study.close()
    with Study.open(tmp_path / "runs" / "ledger-rescued") as again:
        assert [t.metrics["x"].value for t in again.trials if t.metrics] == [99.0, 0.0, 1.0, 2.0]
    record(
        f"the ledger deleted, moved, replaced, overwritten or cut while a study writes: {len(WAYS)} ways",
        "P1 P7",
        "noticed at the next commit, which is in the ledger written anew beside it; another's file untouched",
    )


def test_other_studies_of_a_deleted_ledger_are_written_anew_too(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with start(path, "before") as study:
        study.tell(study.ask(), {"x": 1.0})
    mine = start(path)
    trial = mine.ask()
    with start(path, "meanwhile") as study:
        study.tell(study.ask(), {"x": 2.0})
    remove_all(path)
    with pytest.raises(LedgerError):
        mine.tell(trial, {"x": 3.0})
    mine.close()
    with Ledger.open(tmp_path / "ledger-rescued" / "ledger.sqlite") as ledger:
        found = {row.name: ledger.trials(row.name)[0].metrics["x"].value for row in ledger.studies()}
    assert found == {"before": 1.0, "mine": 3.0, "meanwhile": 2.0}


def test_an_earlier_rescue_is_never_overwritten(tmp_path):
    path = tmp_path / "ledger.sqlite"
    for name in ("ledger-rescued", "ledger-rescued-2"):
        (tmp_path / name).mkdir()
    study = start(path)
    remove_all(path)
    with pytest.raises(LedgerError, match="ledger-rescued-3"):
        study.ask()
    study.close()


def test_commits_and_checkpoints_of_others_are_no_loss(tmp_path):
    path = tmp_path / "ledger.sqlite"
    study = start(path)
    big = {"text": "y" * 50_000}
    for number in range(60):
        study.tell(study.ask(), {"x": 1.0 * number})
        with Ledger.open(path) as other:
            other.set_study_note("mine", f"note-{number % 4}", big)
    study.ledger.ensure_kept()
    study.close()
    assert sorted(p.name for p in tmp_path.iterdir() if "rescued" in p.name) == []


def test_a_loss_between_the_last_commit_and_the_end_is_noticed(tmp_path):
    path = tmp_path / "ledger.sqlite"
    study = start(path)
    study.tell(study.ask(), {"x": 1.0})
    remove_all(path)
    with pytest.raises(LedgerError, match="was deleted"):
        study.ledger.ensure_kept()
    study.close()


def test_tune_says_where_its_study_is_now(tmp_path):
    path = tmp_path / "ledger.sqlite"

    def measure(config):
        if path.exists():
            remove_all(path)
        return {"x": 1.0 * config["a"]}

    with pytest.raises(LedgerError, match="was deleted") as caught:
        tune(SPACE, measure, OBJECTIVE, trials=5, engine="random", path=path)
    rescued = tmp_path / "ledger-rescued" / "ledger.sqlite"
    assert str(rescued) in caught.value.__notes__[0]
    again = tune(SPACE, lambda config: {"x": 1.0}, OBJECTIVE, trials=5, engine="random", path=rescued)
    assert sum(t.state is TrialState.COMPLETED for t in again.trials) == 5
    again.close()


HOLDER = """
import sys
from autotune.ledger.lock import study_lock
from pathlib import Path
with study_lock(Path(sys.argv[1]), "mine"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_no_second_run_begins_though_the_folder_of_the_lock_is_gone(tmp_path, record):
    path = tmp_path / "runs" / "ledger.sqlite"
    path.parent.mkdir()
    argv = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        with pytest.raises(StudyError, match=f"already running: process {holder.pid} on "):
            study_lock(path, "mine").__enter__()
        with study_lock(path, "other"):
            pass
        holder.stdin.close()
    with study_lock(path, "mine"):
        pass
    record("the lock's file deleted while a study runs", "P2", "a second run is refused, the first one named")


def test_a_deleted_lock_is_made_again_at_the_next_commit(tmp_path, caplog):
    path = tmp_path / "ledger.sqlite"
    study = start(path)
    with study_lock(path.resolve(), "mine"):
        (lock,) = tmp_path.glob("*.lock")
        lock.unlink()
        study.ask()
        assert str(os.getpid()) in lock.read_text()
        check = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        done = subprocess.run([sys.executable, "-c", check, str(lock)], capture_output=True, check=False)
        assert b"BlockingIOError" in done.stderr
    assert "was deleted while it ran" in caplog.text
    assert lock.read_text() == ""
    study.close()


DELETES = """
import sys, threading
from pathlib import Path
import driver
folder = Path(sys.argv[1])
taken = []
class Deletes(driver.Moments):
    def wait(self, timeout):
        found = super().wait(timeout)
        taken.extend(found)
        if len(taken) == 4 and found:
            for file in folder.glob("ledger.sqlite*"):
                file.unlink()
        return found
driver.Moments = Deletes
driver.main(folder, {})
"""


RUNS = "import sys, driver; from pathlib import Path; driver.main(Path(sys.argv[1]), {})"


@pytest.mark.slow
def test_a_run_whose_ledger_is_deleted_ends_with_3_and_goes_on_from_the_new_one(tmp_path):
    folder = driver.prepare(tmp_path / "runs", "sobol")
    done = subprocess.run([sys.executable, "-c", DELETES, str(folder)], check=False, timeout=120)
    said = (folder / "driver.log").read_text()
    assert done.returncode == 3, said
    rescued = folder / "ledger-rescued"
    assert f"autotune resume crash --store {rescued}" in said
    before = driver.history(rescued)
    assert sum(state is TrialState.COMPLETED for _, _, state, *_ in before) >= 3
    shutil.copy(folder / "study.yaml", rescued / "study.yaml")
    again = subprocess.run([sys.executable, "-c", RUNS, str(rescued)], check=False, timeout=120)
    assert again.returncode == 0, (rescued / "driver.log").read_text()
    after = driver.history(rescued)
    finished = [row for row in before if row[2].finished]
    assert [row for row in after if row[0] in {row[0] for row in finished}] == finished


OPENED_ELSEWHERE = """
import sys
from autotune.ledger import Ledger
ledger = Ledger.open(sys.argv[1], guarded=True)
ledger.ensure_kept()
ledger.close()
"""


def test_another_process_that_ends_takes_no_log_away(tmp_path):
    path = tmp_path / "runs" / "ledger.sqlite"
    with start(path, "toy") as study:
        for value in range(3):
            study.add({"a": value + 1}, {"x": 1.0 * value})
            subprocess.run([sys.executable, "-c", OPENED_ELSEWHERE, str(path)], check=True, timeout=240)
            assert path.with_name("ledger.sqlite-wal").exists(), "the locks of this process were lost"
        study.ledger.ensure_kept()
        assert study.ledger.path == path
