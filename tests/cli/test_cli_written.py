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


@pytest.mark.parametrize("command", COMMANDS)
def test_what_cannot_be_written_is_found_out_before_the_work(here, capsys, monkeypatch, command):
    """One rule for all: no folder is made, neither by a name nor by a link, and nothing is launched."""
    for name in ("autotune.study.verify.run_study", "autotune.study.sweep.run_study"):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("launched"))
    for name in ("autotune.report.html.render_report", "autotune.init.starter.start"):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("rendered"))
    args, name = COMMANDS[command]
    option = args[-1]
    (here / f"link-{name}").symlink_to(here / "nodir" / name)
    long = f"{'n' * 250}{os.path.splitext(name)[1]}"  # its draft's name does not fit
    for given, said in (
        (f"nodir/{name}", f"{option}: no such folder: nodir"),
        (f"link-{name}", f"{option}: no such folder: {here}/nodir, where the link link-{name} leads"),
        (f"/proc/{name}", f"{option}: /proc/{name} cannot be written: No such file or directory"),
        (long, f"{option}: {long} cannot be written: File name too long"),
    ):
        assert main([*args, given]) == 2
        assert said in capsys.readouterr().err
    assert not (here / "nodir").exists()
    assert not [path for path in here.iterdir() if path.name.endswith(".part")]


@pytest.mark.parametrize(
    "args",
    [["verify", "demo", "--local"], ["resume", "demo"], ["run", "study.yaml"], ["sweep", "study.yaml"],
     ["check", "study.yaml"]],
    ids=lambda args: args[0],
)  # fmt: skip
def test_a_file_as_the_store_of_what_writes_is_one_clear_error(here, capsys, args):
    (here / "copy.sqlite").write_bytes((here / "autotune-runs" / "ledger.sqlite").read_bytes())
    os.mkfifo(here / "fifo")
    for store, kind, hint in (
        ("copy.sqlite", "a file", "read the ledger of such a name too"),
        ("autotune-runs/ledger.sqlite", "a file", "`--store autotune-runs` is the folder of this ledger"),
        ("fifo", "a FIFO", ""),
    ):
        assert main([*args, "--store", store]) == 2
        said = capsys.readouterr().err
        assert f"error: --store wants the folder of a store, found {kind}: {store}\n" in said
        assert hint in said


def test_what_is_good_of_a_ledger_of_any_name_is_salvaged(here, capsys):
    (here / "autotune-runs" / "ledger.sqlite").rename(here / "copy.sqlite")
    assert main(["salvage", "--store", "copy.sqlite", "--to", "saved"]) == 0
    assert "kept: 1 trial of study demo" in capsys.readouterr().out
