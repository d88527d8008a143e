"""What is launched runs as it will be deployed: not as the process that launches it happens to run."""

import json
import os
import subprocess
import sys

import pytest

from autotune.executor import priority
from autotune.executor.priority import priorities_of, priority_facts, reset_priorities

# A worker as Ray starts it: nice 15, first to be ended for want of memory. It tells how it launches a server.
WORKER = """
import json, os, time
from pathlib import Path
os.nice(15)
Path("/proc/self/oom_score_adj").write_text("1000")
from autotune.executor.priority import priorities_of, priority_facts, reset_priorities
from autotune.core.environment import server_environment
from autotune.executor.process import SupervisedProcess
if {reset}:
    reset_priorities()
process = SupervisedProcess(["sleep", "60"], env=server_environment({{}}), log=Path("log"), cwd=Path("."),
                            mark="store/s/0/1", grace_s=0.3)
pids = (os.getpid(), process.supervisor_pid, process.pid)
print(json.dumps([*map(priorities_of, pids), priority_facts(process.pid)]))
process.stop()
"""


def launched(tmp_path, *, reset):
    done = subprocess.run([sys.executable, "-c", WORKER.format(reset=reset)], cwd=tmp_path, check=True,
                          capture_output=True, text=True, timeout=240)  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.skipif(os.geteuid() != 0, reason="lower values need rights")
@pytest.mark.parametrize("reset", [True, False])
def test_a_server_is_launched_at_ordinary_priority(tmp_path, reset):
    ordinary, inherited = {"nice": 0, "oom_score_adj": 0}, {"nice": 15, "oom_score_adj": 1000}
    worker, supervisor, server, facts = launched(tmp_path, reset=reset)
    assert worker == (ordinary if reset else inherited)
    assert supervisor == server == ordinary
    assert facts == {**ordinary, "inherited": inherited}


def test_without_the_right_the_facts_say_what_is_left(monkeypatch):
    def refused(*_):
        raise PermissionError(1, "not yours")

    monkeypatch.setattr(priority, "_inherited", {})
    monkeypatch.setattr(priority.os, "getpriority", lambda *_: 15)
    monkeypatch.setattr(priority.os, "setpriority", refused)
    reset_priorities()
    assert priority_facts(os.getpid())["nice"] == 15
    assert "nice" not in dict(priority_facts(os.getpid()).get("inherited", {}))


def test_a_process_that_is_gone_has_no_priorities():
    assert priorities_of(2**22 + 1) == {}


def test_a_lower_value_was_somebodys_choice(monkeypatch):
    def never(*_):
        raise AssertionError

    monkeypatch.setattr(priority, "_inherited", {})
    monkeypatch.setattr(priority, "priorities_of", lambda _: {"nice": -5, "oom_score_adj": -500})
    monkeypatch.setattr(priority.os, "setpriority", never)
    reset_priorities()
