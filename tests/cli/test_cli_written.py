"""Files that options name to be written: what is no file stays what it is, links are followed."""

import os
import socket
import stat

import pytest

from autotune import Space
from autotune.cli import main
from autotune.study.study import Study
from tests_described import write_config

STUDY = """
parameters: {n: {type: int, low: 1, high: 2, default: 1}}
system: {use: command, argv: ["true"]}
objective: {minimize: latency}
"""
SWEEP = """
program: t.py
method: random
metric: {name: x, goal: minimize}
parameters: {n: {values: [1, 2]}}
"""


def device(path):
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


def bound_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))


KINDS = {"a device": device, "a FIFO": os.mkfifo, "a socket": bound_socket}
COMMANDS = {
    "init": (["init", "model", "--force", "-o"], "s.yaml"),
    "report": (["report", "demo", "-o"], "r.html"),
    "report as a table": (["report", "demo", "-o"], "r.csv"),
    "export": (["export", "demo", "--as", "yaml", "-o"], "e.yaml"),
    "convert": (["convert", "sweep.yaml", "-o"], "c.yaml"),
    "verify": (["verify", "demo", "--local", "--junit"], "j.xml"),
    "sweep": (["sweep", "study.yaml", "--out"], "t.csv"),
    "flags": (["flags", "vllm", "--write"], "f.json"),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_config(tmp_path / "model")
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    space = Space.from_dict({"parameters": {"n": {"type": "int", "low": 1, "high": 2, "default": 1}}})
    path = tmp_path / "autotune-runs" / "ledger.sqlite"
    with Study(space, {"maximize": "throughput"}, engine="random", name="demo", path=path) as study:
        study.add({"n": 1}, {"throughput": 1.0})
        study.ledger.set_study_state("demo", "COMPLETED")
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_no_file_is_refused_and_stays(here, capsys, command, kind):
    args, name = COMMANDS[command]
    KINDS[kind](here / name)
    (here / f"link-{name}").symlink_to(name)
    before = os.lstat(here / name)
    for given in (name, f"link-{name}"):
        code = main([*args, given])
        assert (code, capsys.readouterr().err) == (
            2,
            f"error: {args[-1]} wants a file, found {kind}: {given}\n",
        )
    after = os.lstat(here / name)
    assert (stat.S_IFMT(after.st_mode), after.st_ino) == (stat.S_IFMT(before.st_mode), before.st_ino)
    assert (here / f"link-{name}").is_symlink()


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"verify", "sweep"}))
def test_the_file_that_a_link_leads_to_is_written(here, command):
    args, name = COMMANDS[command]
    (here / "elsewhere").mkdir()
    target = here / "elsewhere" / f"target-{name}"
    target.write_text("earlier")
    (here / name).symlink_to(target)
    assert main([*args, name]) == 0
    assert (here / name).is_symlink()
    assert target.read_text() not in ("", "earlier")
    assert os.listdir(here / "elsewhere") == [target.name]


def test_a_report_beside_the_ledger_follows_no_link_and_takes_no_fifos_place(here, capsys):
    place, mine = here / "autotune-runs" / "demo-report.html", here / "mine"
    mine.write_text("mine")
    place.symlink_to(mine)
    assert main(["report", "demo"]) == 0
    assert mine.read_text() == "mine"
    assert not place.is_symlink()
    place.unlink()
    os.mkfifo(place)
    assert main(["report", "demo"]) == 3
    assert "cannot be written: it is a FIFO" in capsys.readouterr().err
    assert stat.S_ISFIFO(place.stat().st_mode)
