"""``autotune stop``: a study that another process runs ends in order, and goes on afterwards."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack

import pytest

from autotune import Float, Objective, Space, Study
from autotune.cli import on_head
from autotune.cli.app import main
from autotune.ledger.lock import study_lock, study_process
from tests_shared import wait_until

WORK = """
import pathlib, time

def work(config):
    pathlib.Path("begun").touch()
    time.sleep({seconds})
    return {{"speed": [float(config["x"])] * 3}}
"""
STUDY = """
name: chat
parameters:
  x: {type: int, low: 1, high: 999, default: 6}
system: {use: function, call: "work.py:work"}
objective: {maximize: speed}
engine: {use: random}
budget: {trials: 2, confirm: 0, watch: 0}
tracking: {mlflow: none}
"""


@pytest.fixture
def start(tmp_path):
    """Start a study in a process of its own, each trial of which takes some seconds."""
    runs = []

    def start(seconds):
        (tmp_path / "work.py").write_text(WORK.format(seconds=seconds))
        (tmp_path / "study.yaml").write_text(STUDY)
        argv = [sys.executable, "-m", "autotune", "run", "study.yaml", "--local"]
        runs.append(subprocess.Popen(argv, cwd=tmp_path, env=os.environ, stdout=subprocess.DEVNULL))
        return runs[-1]

    yield start
    for run in runs:
        run.kill()
        run.wait()


def test_a_study_that_runs_is_stopped_and_says_how_it_goes_on(start, tmp_path, autotune_here):
    run = start(600)
    wait_until((tmp_path / "begun").exists, 60)
    done = autotune_here("stop", "chat")
    assert run.wait(60) == 5  # as SIGTERM ends it
    assert f"asked process {run.pid} to stop study chat; its servers have 10 s to end" in done.stdout
    assert "study chat has stopped; 0 finished trials are kept" in done.stdout
    assert "`autotune resume chat` goes on with it" in done.stdout
    again = json.loads(autotune_here("stop", "--json").stdout)
    assert again == {"study": "chat", "stopped": False, "state": "interrupted", "finished": 0}


@pytest.mark.slow
def test_a_program_that_holds_a_study_and_takes_no_signal_is_left_alone(tmp_path, autotune_command):
    code = f"""
import signal, sys, time
from autotune import Float, Objective, Space, Study
from autotune.ledger import study_lock
space, goal = Space([Float("x", low=0, high=1)]), Objective(minimize="y")
study = Study(space, goal, name="mine", path={str(tmp_path)!r})
with study_lock(study.path, "mine"):
    print("held", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], env=os.environ, stdout=subprocess.PIPE) as program:
        try:
            assert program.stdout.readline() == b"held\n"
            assert study_process(tmp_path / "ledger.sqlite", "mine") == program.pid
            done = autotune_command("stop", "mine", "--store", str(tmp_path), check=False)
            assert done.returncode == 3
            assert f"is held by process {program.pid}, which SIGTERM would end at once" in done.stderr
            assert program.poll() is None
        finally:
            program.kill()


@pytest.fixture
def running(tmp_path, monkeypatch):
    """Studies of a store, some of which this process holds."""
    monkeypatch.chdir(tmp_path)

    def begin(names, held, store="autotune-runs"):
        path = tmp_path / store / "ledger.sqlite"
        for name in names:
            Study(Space([Float("x", low=0, high=1)]), Objective(minimize="y"), name=name, path=path).close()
        for name in held:
            locks.enter_context(study_lock(path, name))

    with ExitStack() as locks:
        yield begin


LONG = "a" * 64


@pytest.mark.parametrize(
    ("names", "held", "given", "near"),
    [
        (["chat"], ["chat"], "chat-2", "chat"),
        (["chat", "chat-2"], ["chat-2"], "chat-3", "chat-2"),
        (["chat", "chat-2", "chap"], ["chap"], "chat-3", "chap"),  # the others are over
        ([LONG], [LONG], f"{LONG}-2", LONG),
        ([LONG, f"{LONG[:62]}-2"], [f"{LONG[:62]}-2"], f"{LONG}-2", f"{LONG[:62]}-2"),
        (["chat"], [], "chat-2", None),
    ],
)
def test_a_name_that_nobody_has_is_answered_by_the_nearest_that_runs(
    running, capsys, names, held, given, near
):
    running(names, held)
    assert main(["stop", given]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: no study {given!r} is running; running: {', '.join(held) or 'none'}\n")
    assert said.partition("\n")[2] == (f"  did you mean {near!r}?\n" if near else "")


def test_a_study_that_is_over_is_told_with_those_that_run(running, capsys):
    running(["chat", "chat-2"], ["chat-2"])
    assert main(["stop", "chat"]) == 0
    assert "study chat is not running: " in (said := capsys.readouterr().out)
    assert said.splitlines()[1] == "running: chat-2"


def test_without_a_name_it_is_the_only_one_that_runs_or_all_that_do_are_named(running, capsys):
    running(["chat", "chat-2", "code"], ["chat", "code"])
    assert main(["stop"]) == 2
    assert capsys.readouterr().err == "error: name a study; running: chat, code\n"


def test_on_a_head_the_nearest_is_found_whoever_owns_it(running, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("AUTOTUNE_STORE", str(tmp_path))
    for variable in ("AUTOTUNE_SHOWN_ADDRESS", "AUTOTUNE_OWNER"):
        monkeypatch.setenv(variable, "")
    running(["chat", "old"], ["chat"], store="alice")
    for given, near in {"chat-2": "chat", "alice/chat-2": "alice/chat", "old-2": None}.items():
        assert on_head.main(["stop", "--", given]) == 2
        kind, said = json.loads(capsys.readouterr().out.strip().lstrip("\x1e"))
        assert (kind, said) == (
            "err",
            f"error: no study {given!r} is running; running: alice/chat\n"
            + (f"  did you mean {near!r}?\n" if near else ""),
        )
