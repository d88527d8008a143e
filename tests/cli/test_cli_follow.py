"""Following a study that another process runs, by its ledger alone."""

import hashlib
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys

import pytest

from autotune.cli import follow as follow_module
from autotune.cli import main
from autotune.cli.follow import follow
from autotune.core.space import Space
from autotune.ledger import study_lock
from autotune.report.plain import PlainView
from autotune.study.study import Study

LONGEST_S = 120

RUN = """
import sys
from pathlib import Path
from autotune.core.space import Space
from autotune.ledger import study_lock
from autotune.study.study import Study
space = Space.from_dict({"parameters": {"x": {"type": "int", "low": 1, "high": 9}}})
file = Path(sys.argv[1])
with study_lock(file, "demo"), Study(
    space, {"maximize": "speed"}, engine="random", name="demo", path=file
) as study:
    study.ledger.set_study_note("demo", "started_with", ["--local"])
    study.ledger.set_study_state("demo", "RUNNING")
    print("ready", flush=True)
    for line in sys.stdin:
        trial = study.ask()
        if line.strip() == "begin":
            study.start_attempt(trial.number, executor="local")
        elif line.strip() == "fail":
            study.tell(trial, failure="out_of_memory")
        else:
            study.tell(trial, {"speed": float(line)})
        print("told", flush=True)
    study.ledger.set_study_state("demo", "COMPLETED")
"""


class Run:
    """A process that holds a study and measures what it is told to."""

    def __init__(self, path):
        argv = [sys.executable, "-c", RUN, str(path)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def tell(self, text):
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "told\n"

    def end(self):
        self.process.stdin.close()
        self.process.wait(LONGEST_S)

    def kill(self):
        self.process.kill()
        self.process.wait(LONGEST_S)


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")  # paths of tests are long
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def run(ledger):
    started = Run(ledger)
    with started.process:
        yield started
        started.process.kill()


def followed(ledger, steps, view=None):
    """Return the exit code and what was written; each look is preceded by the next step."""
    out = io.StringIO()
    left = list(steps)

    def pause(_seconds):
        left.pop(0)()

    code = follow("demo", ledger.parent, view or PlainView(out), pause=pause)
    assert not left
    return code, out.getvalue()


def test_what_another_process_measures_is_shown_until_it_ends(ledger, run):
    code, text = followed(
        ledger, [lambda: run.tell("5.0"), lambda: run.tell("fail"), lambda: run.tell("7.0"), run.end]
    )
    assert code == 0
    lines = text.splitlines()
    assert f"study demo is run by process {run.process.pid} on " in lines[0]
    assert "Ctrl-C ends this view, not the study" in lines[0]
    assert any(line.startswith("trial 0 measured: speed 5") for line in lines)
    assert any(line.startswith("trial 1: out_of_memory") for line in lines)
    assert any(line.startswith("trial 2 measured: speed 7") for line in lines)
    assert "study demo: completed, 3 trials, 2 measured" in text
    assert lines[-1].startswith("next: `autotune best demo --store")


def test_a_run_that_was_killed_is_said_to_have_died(ledger, run):
    code, text = followed(ledger, [lambda: run.tell("5.0"), run.kill])
    assert code == 5
    assert "the run of study demo has died: no process holds the study, and none has ended it" in text
    assert f"next: in Python, `path='{ledger}'` goes on with 'demo'" in text


def test_every_command_knows_that_a_run_was_killed(ledger, run, capsys):
    def shown(*words):
        assert main([*words, "--store", str(ledger.parent)]) == 0
        return capsys.readouterr().out

    run.tell("5.0")
    assert "demo: running" in shown("status", "demo")
    assert "`autotune status demo --follow" in shown("status", "demo")
    assert json.loads(shown("best", "demo", "--json"))["state"] == "running"
    assert shown("list", "studies").startswith("demo  running")
    run.tell("begin")
    assert json.loads(shown("status", "demo", "--json"))["counts"]["RUNNING"] == 1
    run.kill()
    text = shown("status", "demo")
    for words in (["status", "demo", "--json"], ["report", "demo", "-o", "-", "--format", "json"]):
        found = json.loads(shown(*words))
        assert (found["counts"]["RUNNING"], found["counts"]["WAITING"]) == (0, 1)
        assert [trial["state"] for trial in found["trials"]] == ["COMPLETED", "WAITING"]
    assert "demo: interrupted" in text
    assert f"next: in Python, `path='{ledger}'` goes on with 'demo'" in text
    assert f"next: in Python, `path='{ledger}'` goes on with 'demo'" in shown("best", "demo")
    for command in ("status", "best"):
        assert json.loads(shown(command, "demo", "--json"))["state"] == "interrupted"
    assert shown("list", "studies").startswith("demo  interrupted")


def test_the_view_changes_nothing_and_takes_no_lock(ledger, run):
    run.tell("5.0")

    def content():
        files = [path for path in sorted(ledger.parent.iterdir()) if not path.name.endswith("-shm")]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    before = content()
    looks = []

    def look():
        looks.append(content())

    def last():
        look()
        run.kill()
        with study_lock(ledger, "demo"):  # whoever comes next is not refused because of a viewer
            pass

    followed(ledger, [look, look, last])
    assert all(found == before for found in looks)


def test_a_ledger_that_nobody_wrote_to_is_not_read_again(ledger, run, monkeypatch):
    looks = []
    look = follow_module._look
    monkeypatch.setattr(follow_module, "_look", lambda *args: looks.append(1) or look(*args))
    run.tell("5.0")
    followed(ledger, [lambda: None] * 6 + [lambda: run.tell("6.0"), run.end])
    assert len(looks) == 4  # at the beginning, at the first turn, what was told, the end


def test_ctrl_c_leaves_the_study_alone(ledger, run):
    def interrupt():
        raise KeyboardInterrupt

    code, text = followed(ledger, [lambda: run.tell("5.0"), interrupt])
    assert code == 0
    assert "the study goes on; `autotune status demo --follow --store" in text
    run.tell("6.0")
    run.end()
    assert run.process.returncode == 0


def test_a_view_that_nobody_sees_any_more_ends(ledger, run):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    code, _ = followed(ledger, [], PlainView(Gone()))
    assert code == 0
    assert run.process.poll() is None


def test_the_live_view_is_that_of_run(ledger, run):
    run.tell("5.0")
    argv = [sys.executable, "-m", "autotune", "status", "--follow", "--store", str(ledger.parent)]
    master, slave = pty.openpty()
    viewer = subprocess.Popen(argv, stdout=slave, env={**os.environ, "TERM": "xterm", "COLUMNS": "80"})
    os.close(slave)
    text = ""

    def read_until(wanted):
        nonlocal text
        while wanted not in text:
            part = os.read(master, 65536).decode(errors="replace")
            text += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", part)

    with viewer:
        read_until("best    trial 0, the default: 5")
        run.tell("8.0")
        read_until("best    trial 1: 8")
        run.end()
        read_until("autotune best demo")
        os.close(master)
    assert viewer.returncode == 0


def test_a_study_that_nobody_runs_is_shown_once(ledger, capsys):
    space = Space.from_dict({"parameters": {"x": {"type": "int", "low": 1, "high": 9}}})
    with Study(space, {"maximize": "speed"}, engine="random", name="demo", path=ledger) as study:
        study.tell(study.ask(), {"speed": 3.0})
        study.ledger.set_study_state("demo", "COMPLETED")
    assert main(["status", "demo", "--follow", "--store", str(ledger.parent)]) == 0
    assert "study demo: completed, 1 trial" in capsys.readouterr().out


def test_a_run_that_died_before_its_first_trial_is_not_waited_for(ledger, capsys):
    space = Space.from_dict({"parameters": {"x": {"type": "int", "low": 1, "high": 9}}})
    system = {"use": "command", "argv": ["a"]}  # as `autotune run` keeps it
    with Study(space, {"maximize": "speed"}, name="demo", path=ledger, spec={"system": system}):
        pass
    assert main(["status", "demo", "--follow", "--store", str(ledger.parent)]) == 4
    assert "study demo: created, 0 trials" in capsys.readouterr().out


def test_from_the_command_line_ctrl_c_and_pipes(ledger, run):
    argv = [sys.executable, "-m", "autotune", "status", "--follow", "--store", str(ledger.parent)]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "60"}
    ) as viewer:
        assert "is run by process" in viewer.stdout.readline()
        run.tell("5.0")
        for line in viewer.stdout:
            assert "\x1b" not in line
            if line.startswith("trial 0 measured"):
                break
        viewer.send_signal(signal.SIGINT)
        rest = viewer.stdout.read()
    assert viewer.returncode == 0
    assert "the study goes on" in rest
    run.tell("6.0")


def test_a_program_that_asks_and_tells_by_itself_is_followed_until_ctrl_c(ledger):
    def interrupt():
        raise KeyboardInterrupt

    space = Space.from_dict({"parameters": {"x": {"type": "int", "low": 1, "high": 9}}})
    with Study(space, {"maximize": "speed"}, engine="random", name="demo", path=ledger) as study:
        _, text = followed(ledger, [lambda: study.tell(study.ask(), {"speed": 3.0}), interrupt])
    assert "study demo is run by a program that asks and tells itself" in text
    assert "trial 0 measured: speed 3" in text


def test_status_follow_json_prints_one_event_per_line(ledger, run):
    argv = [sys.executable, "-m", "autotune", "status", "--follow", "--json", "--store", str(ledger.parent)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as viewer:
        assert json.loads(viewer.stdout.readline())["event"] == "message"
        assert json.loads(viewer.stdout.readline())["event"] == "start"
        run.tell("5.0")
        assert json.loads(viewer.stdout.readline())["event"] == "trial"
        run.end()
        assert [json.loads(line)["event"] for line in viewer.stdout][-1] == "finish"
    assert viewer.returncode == 0
