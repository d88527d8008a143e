"""``autotune stop``: a study that another process runs ends in order, and goes on afterwards."""

import json
import os
import subprocess
import sys

import pytest

from autotune.ledger.lock import study_process
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


def test_a_study_that_runs_is_stopped_and_says_how_it_goes_on(start, tmp_path, autotune_command):
    run = start(600)
    wait_until((tmp_path / "begun").exists, 60)
    done = autotune_command("stop", "chat")
    assert run.wait(5) == 5  # as SIGTERM ends it
    assert f"asked process {run.pid} to stop study chat; its servers have 10 s to end" in done.stdout
    assert "study chat has stopped; 0 finished trials are kept" in done.stdout
    assert "`autotune resume chat` goes on with it" in done.stdout
    again = json.loads(autotune_command("stop", "--json").stdout)
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
