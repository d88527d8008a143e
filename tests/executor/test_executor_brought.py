"""Files of submissions: each has a folder of its own, and none that is not used stays."""

import os
import subprocess
import sys

import pytest

from autotune.executor import brought
from autotune.executor.brought import FOLDER, lay_out, remove_unused, same_place, submission_folder, use

HOLD = """
import sys
from pathlib import Path
from autotune.executor.brought import use
use(Path(sys.argv[1]))
print(1, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def submit(tmp_path, monkeypatch):
    """Lay a submission out that has these files; its folder."""
    monkeypatch.setattr(brought, "_used", {})

    def submit(number, **files):
        source = tmp_path / f"sent-{number}"
        for name, text in files.items():
            path = source / name.replace("_", "/") / "a.txt"
            path.parent.mkdir(parents=True)
            path.write_text(text)
        folder = submission_folder(source, tmp_path / "chat")
        folder.mkdir(parents=True, exist_ok=True)
        lay_out(source, folder)
        return folder

    return submit


def test_a_submission_has_the_folder_of_its_content(submit):
    first, again = submit(1, x="one"), submit(2, x="one")
    others = [submit(3, x="two"), submit(4, y="one"), submit(5, x="one", y=""), submit(6, x_y="one")]
    assert first == again
    assert len({first, *others}) == 5
    assert (first / "x" / "a.txt").read_text() == "one"


def test_what_no_process_uses_is_removed_but_for_what_the_study_wrote(submit, tmp_path):
    old, written, used, kept = (submit(n, deep_x=f"{n}") for n in range(4))
    (written / "deep" / "x" / "own.csv").write_text("measured")
    (old / "deep" / "__pycache__").mkdir()
    (old / "deep" / "__pycache__" / "a.pyc").write_text("")
    for other in ("mlflow.db", "notes"):  # of the study, and of a version that had all in one folder
        (tmp_path / "chat" / other).write_text("")
    (tmp_path / "chat" / ("f" * 16)).mkdir()  # not laid out by us
    argv = [sys.executable, "-c", HOLD, str(used)]
    with subprocess.Popen(argv, env=os.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"1\n"
        remove_unused(tmp_path / "chat", kept={kept})
        assert (used / "deep" / "x" / "a.txt").read_text() == "2"
        process.stdin.close()
        process.wait(60)
    there = {path.name for path in (tmp_path / "chat").iterdir()}
    assert there == {written.name, used.name, kept.name, "mlflow.db", "notes", "f" * 16}
    assert [path.name for path in written.rglob("*") if path.is_file()] == ["own.csv"]
    remove_unused(tmp_path / "chat", kept={kept})  # its process has ended
    assert not used.exists()
    assert (kept / "deep" / "x" / "a.txt").read_text() == "3"


@pytest.mark.parametrize(
    "text",
    [
        "", '["x/a.t', "{}", "7", "[7]", '[""]', "\udcff", '["a\\u0000b"]', "[" * 100_000,
        '["x/a.txt", "/victim"]', '["x/a.txt", "../../victim"]', '["x/../../victim"]',
    ],
)  # fmt: skip
def test_a_folder_whose_list_is_damaged_stays_whole_and_the_others_go(submit, tmp_path, caplog, text):
    damaged, other = submit(1, x="one"), submit(2, x="two")
    (tmp_path / "victim").write_text("")
    (damaged / brought._LIST).write_bytes(text.encode(errors="surrogateescape"))
    remove_unused(tmp_path / "chat")
    assert (damaged / "x" / "a.txt").read_text() == "one"
    assert (tmp_path / "victim").exists()
    assert not other.exists()
    assert f"{damaged} stays" in caplog.text


def test_nothing_is_removed_through_a_link(submit, tmp_path):
    folder, linked = submit(1, x="one", y="own", z="three"), tmp_path / "outside"
    (linked / "__pycache__").mkdir(parents=True)
    (linked / "a.txt").write_text("theirs")
    (folder / "x").rename(tmp_path / "x")
    (folder / "x").symlink_to(linked)
    (folder / "y" / "a.txt").unlink()
    (folder / "y" / "a.txt").symlink_to(linked / "a.txt")
    (tmp_path / "chat" / ("e" * 16)).symlink_to(tmp_path / "other")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("theirs")
    (tmp_path / "other" / brought._LIST).write_text('["a.txt"]')
    remove_unused(tmp_path / "chat")
    assert sorted(path.name for path in linked.iterdir()) == ["__pycache__", "a.txt"]
    assert (tmp_path / "other" / "a.txt").exists()
    assert not (folder / "z").exists()
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == ["x", "y", "y/a.txt"]


@pytest.mark.parametrize("step", ["opened", "locked"])
@pytest.mark.parametrize("again", [False, True])
def test_a_folder_that_another_worker_removes_meanwhile_is_left_to_it(
    submit, tmp_path, monkeypatch, step, again
):
    folder, real = submit(1, x="one"), {"opened": os.open, "locked": brought.fcntl.flock}[step]

    def other_worker(first, *rest):
        if first == folder or step == "locked":
            folder.rename(tmp_path / "removed")
            if again:  # and the same submission comes again
                submit(2, x="one")
        monkeypatch.undo()
        return real(first, *rest)

    owner, name = {"opened": (os, "open"), "locked": (brought.fcntl, "flock")}[step]
    monkeypatch.setattr(owner, name, other_worker)
    remove_unused(tmp_path / "chat")
    assert folder.exists() == (again and step == "locked")


def test_what_is_laid_out_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent" / "a.txt").write_text("one")
    synced, sync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: (synced.append(os.fstat(number).st_ino), sync(number)))
    lay_out(tmp_path / "sent", tmp_path / "there")
    assert {(tmp_path / "there" / name).stat().st_ino for name in ("a.txt", brought._LIST)} == set(synced)


def test_a_folder_that_is_removed_meanwhile_is_made_again(submit, tmp_path):
    folder = submit(1, x="one")
    use(folder)
    count = len(os.listdir("/proc/self/fd"))
    use(folder)
    assert len(os.listdir("/proc/self/fd")) == count  # an attempt after the other in one worker
    folder.rename(tmp_path / "away")
    use(folder)
    assert folder.is_dir()


def test_paths_of_submissions_compare_as_of_one_place():
    a, b, home = "/s/files/chat/0123456789abcdef", "/s/files/chat/fedcba9876543210", "/s/files/chat"
    data = lambda at: {"folder": at, "on": [f"{at}/h.py:f"], "n": 1, "x": f"{at}0", "say": f"see {at}"}  # noqa: E731
    env = {FOLDER: a}
    same = same_place(data(a), env)
    assert same["folder"] == home
    assert same["on"] == [f"{home}/h.py:f"]
    assert (same["n"], same["x"], same["say"]) == (1, f"{a}0", f"see {a}")
    assert same_place({"folder": b}, env) == same_place({"folder": home}, env) == {"folder": home}
    assert same_place(data(a), {}) == data(a)
