"""The database of an MLflow store: made whole or not at all, never replaced where it holds something."""

import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from autotune.errors import EnvironmentProblem
from autotune.ledger import Ledger
from autotune.tracking.base import StoppedError
from autotune.tracking.mlflow_addresses import database_file, opened_address
from autotune.tracking.mlflow_database import SETTLED_S, prepare_database
from tests_shared import small_disk

pytestmark = [
    # MLflow and what it loads warn about themselves
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

OLD = "728d730b5ebd"  # a revision of 2019
DRAFT = "mlflow.db.new-0123456789abcdef"


@pytest.fixture
def said():
    return []


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store" / "mlflow.db"


@pytest.fixture
def prepare(said):
    return lambda path, give_up=lambda: False: prepare_database(f"sqlite:///{path}", give_up, said.append)


@pytest.fixture
def copied(path, empty_store):
    """A whole store at the path."""
    path.parent.mkdir()
    shutil.copy(empty_store, path)
    return path


def change(path, *statements):
    """Change a database behind MLflow's back, long ago."""
    with sqlite3.connect(path) as database:
        for statement in statements:
            database.execute(statement)
    database.close()
    settle(path)


def settle(path):
    then = time.time() - 2 * SETTLED_S
    os.utime(path, (then, then))


PROBE = """
from mlflow import MlflowClient
client = MlflowClient(tracking_uri=uri)
assert client.create_run(client.create_experiment("probe")).info.run_id
"""


def opens(path):
    """Return whether MLflow itself opens a store and can write to it, in a process of its own."""
    code = f"import sys; uri = sys.argv[1]\n{PROBE}"
    done = subprocess.run(
        [sys.executable, "-c", code, f"sqlite:///{path}"], capture_output=True, text=True, check=False
    )
    return done.returncode == 0 or done.stderr


def names(path):
    return sorted(entry.name for entry in path.parent.iterdir())


# -- made ---------------------------------------------------------------------------------------------


def test_a_store_that_is_not_there_is_made_whole(path, prepare, said):
    path.parent.mkdir()
    path.with_name(DRAFT).write_bytes(b"SQLite format 3\0 of one who was killed")
    path.with_name(f"{DRAFT}-journal").write_bytes(b"its journal")
    path.with_name("mlflow.db-journal").write_bytes(b"of a database that is gone")
    prepare(path)
    assert names(path) == ["mlflow.db", "mlflow.db-journal.half-made-1"]
    assert opens(path) is True
    before = path.stat()
    prepare(path)
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert said == []


def test_two_stores_are_made_at_once_in_one_process(tmp_path, prepare, said):
    """As by threads that tune: Alembic keeps the migration that it runs in its module."""
    paths = [tmp_path / name / "mlflow.db" for name in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
    with ThreadPoolExecutor() as threads:
        list(threads.map(prepare, paths))
    for path in paths:
        exec(PROBE, {"uri": f"sqlite:///{path}"})
    assert said == []


OTHERS = {
    "a text": lambda path: path.write_text("my own backup\n"),
    "an empty file": Path.touch,
    "a database": lambda path: change(path, "CREATE TABLE mine (x)", "INSERT INTO mine VALUES (1)"),
    "a folder": lambda path: (path.mkdir(), (path / "kept").touch()),
    "a FIFO": os.mkfifo,
    "a link": lambda path: path.symlink_to(path.with_name("users.txt")),
    "a dangling link": lambda path: path.symlink_to(path.with_name("nowhere")),
    "a second name": lambda path: os.link(path.with_name("users.txt"), path),
    "a socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
}


def seen(folder):
    """What a folder holds: names, kinds and contents, links and FIFOs not followed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else ""
        link = path.readlink() if path.is_symlink() else ""
        found[path.name] = (stat.S_IFMT(status.st_mode), status.st_ino, link, content)
    return found


FILES = ("a text", "an empty file", "a database", "a second name")
REFUSED = "is (a folder|a FIFO|a symbolic link|a socket|a database of another program)|cannot be read"
PLACES = [
    *((name, what) for name in ("mlflow.db.new", "mlflow.db.lock") for what in OTHERS),
    # of these names a file is a draft, is set aside, or is a database
    *((name, what) for name in (DRAFT, "mlflow.db-journal") for what in OTHERS if what not in FILES),
    *(("mlflow.db", what) for what in OTHERS if what not in ("an empty file", "a link", "a dangling link")),
]


@pytest.mark.parametrize(("name", "what"), PLACES)
def test_what_others_have_at_our_names_is_neither_followed_nor_touched(
    path, prepare, said, empty_store, monkeypatch, what, name
):
    monkeypatch.setattr(
        "mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore",
        lambda uri, _: (
            shutil.copy(empty_store, uri.removeprefix("sqlite:///")),
            SimpleNamespace(engine=Engine()),
        )[1],
    )
    path.parent.mkdir()
    path.with_name("users.txt").write_text("the user's\n" * 200)
    OTHERS[what](path.with_name(name))
    before = seen(path.parent)
    refused = ""
    try:
        prepare(path)
    except EnvironmentProblem as error:
        refused = f"{error.message} {error.hint}"
    after = seen(path.parent)
    if name in ("mlflow.db", "mlflow.db-journal") or (name == "mlflow.db.lock" and what not in FILES):
        assert re.search(REFUSED, refused)
        assert name in refused
        assert re.search("move it away|name another store", refused)
    else:
        assert refused == ""
        assert after.pop("mlflow.db")
    assert after == before, "nothing is there that was not, and all is as it was"
    assert said == []


class Engine:
    def dispose(self):
        pass


HALF_MADE = {
    "no byte": None,
    "no table": ["VACUUM"],
    "first tables": [
        "CREATE TABLE experiments (experiment_id INTEGER, name TEXT, artifact_location, lifecycle_stage)",
        "CREATE TABLE runs (run_uuid TEXT, name TEXT, status, artifact_uri, lifecycle_stage, experiment_id)",
    ],
}
LEFT_BY_STEPS = {
    "between two steps": [f"UPDATE alembic_version SET version_num = '{OLD}'"],
    "before the first step": ["DELETE FROM alembic_version"],
    "two at once": [f"INSERT INTO alembic_version VALUES ('{OLD}')"],
    "within a step": ["CREATE TABLE _alembic_tmp_latest_metrics (x INTEGER)", "DROP TABLE latest_metrics"],
    "without its workspaces": ["DROP TABLE workspaces"],
}


@pytest.mark.parametrize("how", [*HALF_MADE, *LEFT_BY_STEPS])
def test_a_half_made_store_that_holds_nothing_is_set_aside_and_made_again(
    path, prepare, said, empty_store, monkeypatch, how
):
    path.parent.mkdir()
    made = path.with_name("other.db")
    shutil.copy(empty_store, made)
    monkeypatch.setattr(
        "autotune.tracking.mlflow_database._create", lambda path: path.exists() or shutil.copy(made, path)
    )
    if how in LEFT_BY_STEPS:
        if "workspaces" in how and b"CREATE TABLE workspaces" not in made.read_bytes():
            pytest.skip("this MLflow has no workspaces")
        shutil.copy(empty_store, path)
        change(path, *LEFT_BY_STEPS[how])
    elif HALF_MADE[how] is None:
        path.touch()
    else:
        change(path, *HALF_MADE[how])
    settle(path)
    content = path.read_bytes()
    prepare(path)
    assert path.with_name("mlflow.db.half-made-1").read_bytes() == content, "nothing is deleted"
    assert len(said) == 1
    assert "half made and holds nothing: set aside as mlflow.db.half-made-1" in said[0]
    assert path.read_bytes() == made.read_bytes()
    assert not path.with_name("mlflow.db.lock").exists()


@pytest.mark.slow
def test_a_store_that_mlflow_leaves_when_it_is_killed_is_recognized(path, prepare, said):
    """MLflow itself is stopped in the middle of its steps, at several of them."""
    path.parent.mkdir()
    code = (
        "import os, sys, itertools; import alembic.runtime.migration as m; from mlflow import MlflowClient\n"
        "count = itertools.count()\n"
        "before = m.HeadMaintainer.update_to_step\n"
        "def step(self, step):\n"
        "    if next(count) == int(sys.argv[2]): os.kill(os.getpid(), 9)\n"
        "    return before(self, step)\n"
        "m.HeadMaintainer.update_to_step = step\n"
        "MlflowClient(tracking_uri=sys.argv[1]).search_experiments()"
    )
    subprocess.run([sys.executable, "-c", code, f"sqlite:///{path}", "20"], capture_output=True, check=False)
    assert path.stat().st_size > 0
    assert opens(path) is not True
    settle(path)
    prepare(path)
    assert said != []
    assert opens(path) is True


def test_a_store_that_is_in_the_making_is_left_to_its_maker(copied, prepare, said):
    change(copied, f"UPDATE alembic_version SET version_num = '{OLD}'")
    os.utime(copied)  # it changed a moment ago
    with pytest.raises(StoppedError):
        prepare(copied, give_up=lambda: True)
    settle(copied)
    code = "import sys, time; f = open(sys.argv[1]); print('open', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(copied)], stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(StoppedError):  # an `mlflow server` has it open
            prepare(copied, give_up=lambda: True)
        other.kill()
    assert names(copied) == ["mlflow.db"]
    assert said == []


def test_who_waits_for_a_maker_can_give_up_and_the_lock_goes_with_its_holder(path, prepare, monkeypatch):
    path.parent.mkdir()
    lock = path.with_name("mlflow.db.lock")
    code = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'a+'); fcntl.flock(f, fcntl.LOCK_EX)\n"
        "print('a database of MLflow is made by process 1', file=f, flush=True)\n"
        "print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(StoppedError):
            prepare(path, give_up=lambda: True)
        assert names(path) == ["mlflow.db.lock"]
        monkeypatch.setattr("autotune.tracking.mlflow_database._MAKING_S", 0.0)
        with pytest.raises(EnvironmentProblem, match="another process has been making") as caught:
            prepare(path)
        assert "it holds mlflow.db.lock" in caught.value.hint
        other.kill()
        other.wait()
        prepare(path)
    assert names(path) == ["mlflow.db"]


def test_a_link_and_a_question_mark_lead_to_the_file(tmp_path, prepare, empty_store, monkeypatch):
    (tmp_path / "disk").mkdir()
    (tmp_path / "mlflow.db").symlink_to(tmp_path / "disk" / "real.db")
    prepare(tmp_path / "mlflow.db")
    assert (tmp_path / "mlflow.db").is_symlink()
    assert (tmp_path / "disk" / "real.db").stat().st_size > 0
    odd = tmp_path / "what?" / "x"
    odd.mkdir(parents=True)
    shutil.copy(empty_store, odd / "mlflow.db")
    monkeypatch.chdir(odd)
    prepare("mlflow.db")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["disk", "mlflow.db", "what?"]


def test_what_a_maker_left_that_was_killed_after_the_last_step_is_removed(copied, prepare):
    os.link(copied, copied.with_name(DRAFT))
    copied.with_name("mlflow.db.lock").write_text(
        "a database of MLflow is made by process 1 of autotune; ..."
    )
    content = copied.read_bytes()
    prepare(copied)
    assert names(copied) == ["mlflow.db"]
    assert copied.read_bytes() == content


def test_a_database_elsewhere_that_does_not_open_is_not_called_damaged(said):
    with pytest.raises(EnvironmentProblem, match="cannot be read") as caught:
        prepare_database("sqlite:///file:/no/such/folder/x.db?mode=ro&uri=true", lambda: False, said.append)
    assert "see that the database server answers" in caught.value.hint


def test_addresses_of_sqlite_files_become_paths():
    assert database_file("sqlite:////a/b#c/mlflow.db?timeout=3") == Path("/a/b#c/mlflow.db")
    assert database_file("sqlite+pysqlite:///mlflow.db") == Path.cwd() / "mlflow.db"
    for uri in ("http://h:5000", "postgresql://h/db", "sqlite:///:memory:", "sqlite://", "mlruns"):
        assert database_file(uri) is None


def test_an_address_is_opened_where_it_leads_now(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert opened_address("sqlite:///mlflow.db?timeout=3") == f"sqlite:///{tmp_path}/mlflow.db?timeout=3"
    for uri in ("sqlite:////a/mlflow.db", "http://h:5000", "sqlite:///:memory:", "sqlite://", "mlruns"):
        assert opened_address(uri) == uri
    (tmp_path / "what?").mkdir()
    monkeypatch.chdir(tmp_path / "what?")
    assert opened_address("sqlite:///mlflow.db") == "sqlite:///mlflow.db"


# -- not touched --------------------------------------------------------------------------------------

HOLDS = "INSERT INTO experiments (experiment_id, name, lifecycle_stage) VALUES (1, 'mine', 'active')"


@pytest.mark.parametrize(
    ("statements", "found", "advice"),
    [
        ([f"UPDATE alembic_version SET version_num = '{OLD}'"], f"older MLflow.*{OLD}", "mlflow db upgrade"),
        (["DELETE FROM alembic_version"], "left half migrated", "move it away: `autotune sync`"),
        (["DROP TABLE latest_metrics"], "holds data and is not touched", "copy it, then"),
        (["UPDATE alembic_version SET version_num = 'f00'"], "a newer MLflow.*f00", "upgrade mlflow here"),
    ],
)
def test_a_store_with_data_is_never_touched(copied, prepare, said, statements, found, advice):
    change(copied, HOLDS, *statements)
    content = copied.read_bytes()
    with pytest.raises(EnvironmentProblem, match=found) as caught:
        prepare(copied)
    assert advice in caught.value.hint
    assert copied.read_bytes() == content
    assert names(copied) == ["mlflow.db"]
    assert said == []


FOREIGN = {
    "tables with rows": ["CREATE TABLE songs (title TEXT)", "INSERT INTO songs VALUES ('a')"],
    "empty tables": ["CREATE TABLE songs (title TEXT)", "CREATE TABLE albums (title TEXT)"],
    "no table, but a mark of its own": ["PRAGMA application_id = 7"],
    "a version of its own": ["PRAGMA user_version = 3"],
    "names of MLflow's": ["CREATE TABLE experiments (id, what)", "CREATE TABLE runs (id INTEGER)"],
    "one name of MLflow's": ["CREATE TABLE experiments (experiment_id, name)", "CREATE TABLE x (y)"],
    "revisions of Alembic": ["CREATE TABLE alembic_version (version_num TEXT)", "CREATE TABLE studies (x)",
                             "INSERT INTO alembic_version VALUES ('v3.2.0.a')"],
    "a view": ["CREATE VIEW v AS SELECT 1"],
    "views of MLflow's names": [
        "CREATE VIEW experiments AS "
        "SELECT 1 AS experiment_id, 2 AS name, 3 AS artifact_location, 4 AS lifecycle_stage",
        "CREATE VIEW runs AS SELECT 1 AS run_uuid, 2 AS name, 3 AS status, 4 AS experiment_id, "
        "5 AS artifact_uri, 6 AS lifecycle_stage",
    ],
    "Alembic's table": ["CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"],
    "a table of tags": ["CREATE TABLE tags (key TEXT, value TEXT)"],
    "a table of experiments": ["CREATE TABLE experiments (experiment_id INTEGER, name TEXT)"],
    "experiments and runs": ["CREATE TABLE experiments (experiment_id INTEGER, name TEXT)",
                             "CREATE TABLE runs (run_uuid TEXT, name TEXT)"],
    "a log of its own": ["PRAGMA journal_mode = WAL", "CREATE TABLE songs (title TEXT)"],
}  # fmt: skip


@pytest.mark.parametrize("how", FOREIGN)
def test_another_programs_database_is_refused_and_not_touched(path, prepare, said, how):
    path.parent.mkdir()
    change(path, *FOREIGN[how])
    before = seen(path.parent)
    with pytest.raises(
        EnvironmentProblem, match="a database of another program, not a store of MLflow"
    ) as caught:
        prepare(path)
    assert str(path) in caught.value.message
    assert "name another store" in caught.value.hint
    assert caught.value.exit_code == 3
    assert seen(path.parent) == before
    assert said == []


def test_another_programs_database_that_is_open_and_in_its_log_is_not_touched(path, prepare):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute("PRAGMA journal_mode = WAL")
        theirs.execute("CREATE TABLE songs (title TEXT)")
        theirs.commit()
        content = path.read_bytes()
        with pytest.raises(EnvironmentProblem, match="its tables: songs"):
            prepare(path)
        assert path.read_bytes() == content
        theirs.execute("INSERT INTO songs VALUES ('a')")
        theirs.commit()


@pytest.mark.parametrize("side", ["-wal", "-journal"])
def test_another_programs_log_of_an_empty_file_is_refused_at_once(path, prepare, monkeypatch, side):
    path.parent.mkdir()
    path.touch()
    path.with_name(f"mlflow.db{side}").write_text("theirs")
    before = seen(path.parent)
    monkeypatch.setattr("time.sleep", None)
    with pytest.raises(EnvironmentProblem, match=f"beside it is mlflow.db{side}, of another program"):
        prepare(path)
    assert seen(path.parent) == before


def test_a_half_made_store_with_a_users_view_is_not_set_aside(copied, prepare, said):
    change(copied, f"UPDATE alembic_version SET version_num = '{OLD}'", "CREATE VIEW mine AS SELECT 1")
    content = copied.read_bytes()
    with pytest.raises(EnvironmentProblem, match="not touched"):
        prepare(copied)
    assert copied.read_bytes() == content
    assert said == []


def test_our_own_ledger_is_no_store_of_mlflow(path, prepare):
    with Ledger.open(path.parent.parent / "ledger.sqlite"):
        pass
    ledger = path.parent.parent / "ledger.sqlite"
    content = ledger.read_bytes()
    with pytest.raises(EnvironmentProblem, match="another program"):
        prepare(ledger)
    assert ledger.read_bytes() == content


def test_a_store_of_mlflow_with_another_programs_empty_tables_is_not_set_aside(copied, prepare, said):
    change(copied, "CREATE TABLE songs (title TEXT)")
    prepare(copied)  # whole, and good
    change(copied, f"UPDATE alembic_version SET version_num = '{OLD}'")
    content = copied.read_bytes()
    with pytest.raises(EnvironmentProblem, match="not touched"):
        prepare(copied)
    assert copied.read_bytes() == content
    assert said == []


def test_a_newer_store_is_not_touched_though_it_holds_nothing(copied, prepare):
    change(copied, "UPDATE alembic_version SET version_num = 'f00'", "DROP TABLE latest_metrics")
    content = copied.read_bytes()
    with pytest.raises(EnvironmentProblem, match="newer MLflow"):
        prepare(copied)
    assert copied.read_bytes() == content


@pytest.mark.parametrize(
    "content", [b"this is a text, and long enough to be a page" * 200, b"SQLite format 3\0" * 300]
)
def test_a_file_that_is_no_database_is_not_touched(path, prepare, content):
    path.parent.mkdir()
    path.write_bytes(content)
    settle(path)
    with pytest.raises(EnvironmentProblem, match="cannot be read") as caught:
        prepare(path)
    assert "move it away" in caught.value.hint
    assert path.read_bytes() == content


def test_a_database_that_was_cut_is_not_touched(copied, prepare):
    change(copied, HOLDS)
    content = copied.read_bytes()[:40_000]
    copied.write_bytes(content)
    settle(copied)
    with pytest.raises(EnvironmentProblem):
        prepare(copied)
    assert copied.read_bytes() == content


def test_what_is_no_database_of_ours_is_left_to_mlflow(said):
    for uri in ("http://127.0.0.1:9", "mlruns", "file:///tmp/mlruns", "databricks"):
        prepare_database(uri, lambda: False, said.append)


# -- no room ------------------------------------------------------------------------------------------


@pytest.fixture
def mounted(tmp_path):
    with small_disk(tmp_path / "disk", "300k"):
        yield tmp_path / "disk"


def test_a_full_disk_is_noticed_before_seconds_of_work_and_leaves_nothing(mounted, prepare, monkeypatch):
    def never(*_args):
        raise AssertionError("it began to make the tables")

    monkeypatch.setattr("mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore", never)
    with pytest.raises(EnvironmentProblem, match="No space left") as caught:
        prepare(mounted / "mlflow.db")
    assert "free some space" in caught.value.hint
    assert list(mounted.iterdir()) == []


def test_a_read_only_disk_is_named(mounted, prepare, empty_store):
    subprocess.run(["mount", "-o", "remount,size=8m", str(mounted)], check=True)
    shutil.copy(empty_store, mounted / "there.db")
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    with pytest.raises(EnvironmentProblem, match="Read-only"):
        prepare(mounted / "mlflow.db")
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        prepare(mounted / "there.db")
