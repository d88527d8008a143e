"""MLflow's database: made by many at once, killed in the making, full, read-only, of other versions."""

import contextlib
import logging
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys

import pytest
import stores

from autotune.report.plain import QuietView
from autotune.study.run import run_study
from autotune.study.study_file import read_study
from autotune.tracking.mlflow import sync
from tests_shared import small_disk, wait_until

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("environment_restored"),
    # MLflow and what it loads warn about themselves
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TRIALS = 4
OLD = "728d730b5ebd"  # a revision of 2019


@pytest.fixture
def study(tmp_path, toy_study):
    """Run a study of simulated trials beside the database of a folder; how many items the mirror lacks."""

    def run(folder, name="toy", each=lambda number: None):
        tracking = f"{{mlflow: 'sqlite:///{folder}/mlflow.db', experiment: all}}"
        path = toy_study(name=name, tracking=tracking, budget=f"{{trials: {TRIALS}, confirm: 0}}")
        summary = run_study(
            read_study(path),
            store=tmp_path / "autotune-runs",
            view=QuietView(),
            make_executor=lambda *_: stores.Simulated(each),
        )
        assert summary.state == "completed"
        assert len(summary.view.trials) == TRIALS, "nothing measured is lost"
        return summary.mirror_pending

    return run


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own with commands to change it."""
    with small_disk(tmp_path / "disk", "8m") as mount:
        # a disk with a file that is being written becomes read-only between two writes only
        yield (
            tmp_path / "disk",
            lambda options: wait_until(lambda: mount(f"remount,{options}").returncode == 0, 30),
        )


@pytest.fixture
def told():
    """What a person was told of the store; migrations of MLflow 3.0 take the root logger's handlers away."""
    said, handler = [], logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger = logging.getLogger("autotune.tracking")
    logger.addHandler(handler)
    yield lambda: said
    logger.removeHandler(handler)


def complete(tmp_path, folder, name="toy"):
    ledger = tmp_path / "autotune-runs" / "ledger.sqlite"
    return sync(ledger, name, tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment="all")


def check_complete(tmp_path, folder, pending):
    """Complete the store and see that each trial is there once, ended."""
    written = complete(tmp_path, folder)
    assert written >= pending
    assert complete(tmp_path, folder) == 0
    assert stores.runs(folder) == {"toy": [-1, *range(TRIALS)]}
    return f"{pending} of {TRIALS + 1} runs missing, then 0, none twice"


def midway(folder, inject):
    """Return what does something at the end of trial 1, once the store has a trial whole."""

    def each(number):
        if number == 1:
            wait_until(lambda: ended(folder), 90)
            inject()

    return each


def ended(folder):
    """Return how many trials have ended in a store; 0 while there is none."""
    try:
        with sqlite3.connect(f"file:{folder}/mlflow.db?mode=ro", uri=True) as database:
            (count,) = database.execute("SELECT count(*) FROM runs WHERE status = 'FINISHED'").fetchone()
    except sqlite3.OperationalError:
        return 0
    database.close()
    return count


# -- many and killed ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 20])
def test_many_studies_that_start_at_once_in_a_fresh_folder_share_a_store(tmp_path, record, count):
    figure = stores.many_at_once(tmp_path / "many", count)
    record(f"{count} `autotune run` at once in a fresh folder", "P6: one whole store, each run once", figure)


@pytest.mark.slow
def test_kills_at_random_moments_leave_a_store_that_opens(tmp_path, record):
    draw = random.Random(0)
    figure = stores.many_kills(tmp_path, [draw.uniform(0.0, 10.0) for _ in range(50)])
    record("SIGKILL at 50 random moments of the first 10 s of a run", "P6: the store opens", figure)


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 50])
def test_kills_while_a_store_is_made_leave_none_half_made(tmp_path, record, count):
    argv = [sys.executable, stores.__file__, "0", str(count), str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr
    figure = done.stdout.strip().splitlines()[-1]
    assert "with a draft" in figure
    record(f"SIGKILL at {count} random moments of making the database", "P6: the store opens", figure)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["mirror.made", "mirror.linked"])
def test_a_kill_around_the_moment_a_store_gets_its_name(tmp_path, record, point):
    stores.prepare(tmp_path / "s")
    process = stores.begin(tmp_path / "s", "s", env={"AUTOTUNE_FAILPOINT": f"{point}:kill"})
    assert process.wait(120) == -9
    assert list((tmp_path / "s").glob("mlflow.db.new-*"))
    assert (tmp_path / "s" / "mlflow.db").exists() == (point == "mirror.linked")
    stores.kill_group(process)
    done = stores.sync(tmp_path / "s")
    assert done.returncode == 0, done.stderr
    assert stores.runs(tmp_path / "s") == stores.trials(tmp_path / "s")
    assert [path.name for path in (tmp_path / "s").glob("mlflow.db*")] == ["mlflow.db"]
    record(
        f"SIGKILL of a run at {point}", "P6: the store opens", "`sync` completed it, nothing left beside it"
    )


# -- an earlier victim --------------------------------------------------------------------------------


def test_a_store_that_an_earlier_version_left_half_made(tmp_path, study, empty_store, record, told):
    folder = tmp_path / "half"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    change(folder, f"UPDATE alembic_version SET version_num = '{OLD}'", "DROP TABLE latest_metrics")
    pending = study(folder)
    assert len(told()) == 1
    assert "set aside as mlflow.db.half-made-1" in told()[0]
    figure = check_complete(tmp_path, folder, pending)
    assert (folder / "mlflow.db.half-made-1").exists()
    record("MLflow's database half made, without data", "P6: set aside and made again", figure)


VERSIONS = {
    "older": (f"UPDATE alembic_version SET version_num = '{OLD}'", "mlflow db upgrade"),
    "newer": ("UPDATE alembic_version SET version_num = 'f00'", "upgrade mlflow here"),
    "half migrated": ("DELETE FROM alembic_version", "move it away"),
}


@pytest.mark.parametrize(
    "version", [name if name == "older" else pytest.param(name, marks=pytest.mark.slow) for name in VERSIONS]
)
def test_a_store_of_another_version_is_not_touched(tmp_path, study, empty_store, record, told, version):
    folder = tmp_path / "other"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    statement, advice = VERSIONS[version]
    (revision,) = change(folder, "SELECT version_num FROM alembic_version")
    holds = "INSERT INTO experiments (experiment_id, name, lifecycle_stage) VALUES (7, 'mine', 'active')"
    change(folder, holds, statement)
    content = (folder / "mlflow.db").read_bytes()
    pending = study(folder)
    assert pending == TRIALS + 1
    assert (folder / "mlflow.db").read_bytes() == content
    assert len(told()) == 1
    assert advice in told()[0]
    change(folder, "DELETE FROM alembic_version", f"INSERT INTO alembic_version VALUES ('{revision}')")
    figure = check_complete(tmp_path, folder, pending)
    what = "half migrated" if version == "half migrated" else f"of an {version} MLflow".replace("an n", "a n")
    record(f"MLflow's database {what}, with data", "P6: not touched, told once with what to do", figure)


def test_a_database_that_is_moved_away_within_a_run(tmp_path, study, empty_store, record):
    folder = tmp_path / "moved"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    pending = study(folder, each=midway(folder, lambda: (folder / "mlflow.db").rename(folder / "moved.db")))
    assert pending > 0, "what was written to the moved one is known"
    stores.settle(folder / "mlflow.db")  # what SQLite left at its name has no table
    figure = check_complete(tmp_path, folder, pending)
    record("MLflow's database moved away within a run", "P6: `sync` writes all into a new one", figure)


# -- the disk -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "begins", [pytest.param("before the store is made", marks=pytest.mark.slow), "within a run"]
)
def test_a_full_disk_of_the_store_costs_the_study_nothing(
    tmp_path, study, disk, empty_store, record, told, begins
):
    folder, _ = disk
    ballast = folder / "ballast"

    def fill():
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        assert os.statvfs(folder).f_bavail == 0

    if begins == "within a run":
        shutil.copy(empty_store, folder / "mlflow.db")
        pending = study(folder, each=midway(folder, fill))
    else:
        fill()
        pending = study(folder)
    assert pending > 0
    assert len(told()) == 1
    assert re.search("disk is full.*has room|No space left.*free some space", told()[0])
    assert not list(folder.glob("mlflow.db.*")), "no draft is left"
    ballast.unlink()
    figure = check_complete(tmp_path, folder, pending)
    record(f"disk of MLflow's database full {begins}", "P6: told once, `sync` completes it", figure)


@pytest.mark.parametrize("begins", [pytest.param("from the start", marks=pytest.mark.slow), "within a run"])
def test_a_read_only_disk(tmp_path, study, disk, empty_store, record, told, begins):
    folder, remount = disk
    shutil.copy(empty_store, folder / "mlflow.db")
    if begins == "within a run":
        pending = study(folder, each=midway(folder, lambda: remount("ro")))
    else:
        remount("ro")
        pending = study(folder)
    assert re.search("cannot be written; allow it|(?i:read-?only|unable to open).*can be written", told()[0])
    assert pending > 0
    assert len(told()) == 1
    remount("rw")
    figure = check_complete(tmp_path, folder, pending)
    record(f"disk of MLflow's database read-only {begins}", "P6: told once, `sync` completes it", figure)


def change(folder, *statements):
    """Change a database behind MLflow's back, long ago; the first row of the last answer."""
    with sqlite3.connect(folder / "mlflow.db") as database:
        for statement in statements:
            row = database.execute(statement).fetchone()
    database.close()
    stores.settle(folder / "mlflow.db")
    return row
