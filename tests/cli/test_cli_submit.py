"""``autotune submit`` and ``--address`` on a real head with its job server."""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import pytest

from tests_shared import wait_until, without_libraries

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(
        importlib.util.find_spec("aiohttp_cors") is None or importlib.util.find_spec("opencensus") is None,
        reason="a job server needs ray[default]",
    ),
]

TRIES = 20  # Ray gives up where its node is not up within 30 s, which no setting makes longer
PATIENCE_S = 900  # of every wait, which is over as soon as what is waited for is there
PATIENT = {
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "600",
    "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "600",
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_gcs_server_port_wait_time_s": "300",
}
"""Of Ray: a head of which a part comes up late on a busy machine goes on without its job server, or ends."""
TOKEN, SECRET = "d" * 64, "correct-horse-battery-staple"
WORK = """
import os, time
from helper import double

def work(config):
    time.sleep(1.5)
    return {"speed": [double(config["x"])] * 3, "key": len(os.environ.get("MY_KEY", ""))}
"""
STUDY = """
name: chat
parameters:
  x: {{type: int, low: 1, high: 999, default: 6}}
system: {{use: function, call: "work:work"}}
objective: {{maximize: speed}}
engine: {{use: random}}
budget: {{trials: {trials}, confirm: 0, watch: 0}}
tracking: {{mlflow: none}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Head:
    """A head with a job server, whose python is ours, a home and a store of its own."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="at-head-"))  # short: Ray's sockets lie below
        self.address = f"http://127.0.0.1:{free_port()}"
        self.store = self.folder / "home" / ".autotune"
        (self.folder / "home").mkdir()
        programs = self.folder / "bin"
        programs.mkdir()
        (programs / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (programs / "python").chmod(0o755)
        self.env = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
        argv = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=1"]
        argv += [f"--port={free_port()}", f"--dashboard-port={self.address.rpartition(':')[2]}"]
        argv += [f"--dashboard-agent-listen-port={free_port()}"]  # else every head's is the same: one has it
        argv += ["--include-dashboard=true", "--disable-usage-stats", f"--temp-dir={self.folder / 'ray'}"]
        env = {
            **os.environ, **self.env, **PATIENT, "HOME": str(self.folder / "home"),
            "RAY_worker_niceness": "0", "PATH": f"{programs}:{os.environ['PATH']}",
        }  # fmt: skip
        self.argv, self.environment, self.tries = argv, env, 0
        self.start()

    def start(self):
        if self.tries:  # what is left of a start that failed
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.tries += 1
        with (self.folder / "head.log").open("wb") as log:
            self.process = subprocess.Popen(
                self.argv, env=self.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def get(self, path):
        request = urllib.request.Request(
            f"{self.address}{path}", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def answers(self):
        if self.process.poll() is not None and self.tries < TRIES:  # a busy machine misses Ray's limits
            self.start()
        assert self.process.poll() is None, (self.folder / "head.log").read_text()[-2000:]
        if "Ray runtime started" not in (self.folder / "head.log").read_text():
            return None  # the job server answers before, and goes with a start that fails
        try:
            return self.get("/api/version")
        except OSError:
            return None

    def close(self):
        self.process.terminate()
        self.process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def head():
    head = Head()
    try:
        wait_until(head.answers, PATIENCE_S)
        yield head
    finally:
        head.close()


@pytest.fixture
def laptop(tmp_path, head, autotune_command):
    """Give commands in a folder with a study and more; none of ours is left out of what the head may see."""
    (tmp_path / "work.py").write_text(WORK)
    (tmp_path / "helper.py").write_text("def double(x):\n    return 2.0 * x\n")
    (tmp_path / "private.txt").write_text("nobody named it")

    def give(*words, trials=12, check=True, **env):
        (tmp_path / "study.yaml").write_text(STUDY.format(trials=trials))
        words = (*words, "--address", head.address)
        return autotune_command(*words, env={**head.env, **env}, check=check, timeout=PATIENCE_S)

    return give


def status(laptop, name):
    return json.loads(laptop("status", name, "--json").stdout)


def test_a_study_goes_on_without_the_laptop_and_is_reached_by_owner_and_name(laptop, head, tmp_path):
    private = ["--pass-env", "MY_KEY", "--notify", f"http://127.0.0.1:9/{SECRET}"]
    done = laptop("submit", "study.yaml", "--owner", "alice", *private, MY_KEY=SECRET)
    assert "study alice/chat is job alice-chat-" in done.stdout  # and the process that submitted it is gone
    ran = laptop("status", "chat", "--follow", check=False, trials=12)
    assert "WebSocket" not in ran.stdout + ran.stderr
    assert "trial 11 measured" in ran.stdout, ran.stdout + ran.stderr
    assert ran.returncode == 0
    found = status(laptop, "alice/chat")
    assert (found["owner"], found["state"], len(found["trials"])) == ("alice", "completed", 12)
    assert {trial["metrics"]["key"]["value"] for trial in found["trials"]} == {len(SECRET)}
    (folder,) = (head.store / "alice" / "files" / "chat").iterdir()
    files = {path.name for path in folder.iterdir() if not path.name.startswith((".autotune", "__pycache__"))}
    assert files == {"study.yaml", "work.py", "helper.py"}
    assert SECRET not in head.get("/api/jobs/")
    for path in head.folder.rglob("*"):  # logs, packages, the ledger
        if path.is_file() and path.stat().st_size < 1 << 24:
            assert SECRET.encode() not in path.read_bytes(), path
    laptop("report", "alice/chat", "-o", "here.csv")
    assert len((tmp_path / "here.csv").read_text().splitlines()) == 13
    assert "alice/chat" in laptop("list", "studies").stdout
    questions = [job for job in json.loads(head.get("/api/jobs/")) if "autotune_question" in job["metadata"]]
    assert len(questions) <= 3  # earlier ones are taken off the list


def test_a_second_submission_names_the_first_and_a_stopped_study_goes_on(laptop, head):
    laptop("submit", "study.yaml", "--owner", "bob", trials=200)
    wait_until(lambda: len(status(laptop, "bob/chat")["trials"]) > 2, PATIENCE_S)
    again = laptop("submit", "study.yaml", "--owner", "bob", check=False)
    assert again.returncode == 2
    assert "study 'bob/chat' is already running, as job bob-chat-" in again.stderr
    laptop("submit", "study.yaml", "--owner", "carol", trials=200)  # whose study is another one
    refused = laptop("stop", "chat", check=False)
    assert refused.returncode == 2
    assert "'chat' could be any of these: " in refused.stderr
    assert "bob/chat, carol/chat" in refused.stderr  # behind alice's, which has ended
    wait_until(
        lambda: len(status(laptop, "carol/chat")["trials"]) > 1, PATIENCE_S
    )  # they share the only node
    beside = laptop("submit", "study.yaml", "--owner", "carol", "--new", trials=200)
    assert "study carol/chat-2 is job carol-chat-2-" in beside.stdout
    assert "study carol/chat-2 has stopped" in laptop("stop", "carol/chat-2").stdout
    stopped = laptop("stop", "bob/chat")
    assert "study bob/chat has stopped" in stopped.stdout
    laptop("stop", "carol/chat")
    before = status(laptop, "bob/chat")
    assert before["state"] == "interrupted"
    kept = [t for t in before["trials"] if t["state"].lower() == "completed"]
    assert kept
    ran = laptop("submit", "study.yaml", "--owner", "bob", "--follow", trials=len(before["trials"]) + 1)
    assert "going on" in ran.stdout
    after = status(laptop, "bob/chat")
    assert after["state"] == "completed"
    assert after["trials"][: len(kept)] == before["trials"][: len(kept)]


WITHOUT_OPTUNA = f"""
{without_libraries("optuna")}
from autotune.cli.app import main

sys.exit(main(sys.argv[1:]))
"""


def test_a_study_whose_engine_is_missing_on_the_laptop_runs_on_a_head_that_has_it(laptop, head, tmp_path):
    laptop("list", "studies")
    text = STUDY.format(trials=3).replace("use: random", "use: 'optuna:tpe'").replace("chat", "parzen")
    (tmp_path / "parzen.yaml").write_text(text)
    words = ["submit", "parzen.yaml", "--owner", "erin", "--follow", "--address", head.address]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_OPTUNA, *words], cwd=tmp_path, env={**os.environ, **head.env},
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = status(laptop, "erin/parzen")
    assert (found["state"], len(found["trials"])) == ("completed", 3)


def test_who_is_refused_or_finds_nobody_is_told_so(laptop, head, autotune_command):
    for word, said in {
        "http://127.0.0.1:9": "the job server at http://127.0.0.1:9",
        "ray://127.0.0.1:10001": "is no address of a job server",
    }.items():
        done = autotune_command("list", "studies", "--address", word, check=False, env=head.env)
        assert done.returncode == 3
        assert said in done.stderr
    assert laptop("list", "studies", RAY_AUTH_MODE="").returncode == 0  # the token is sent where it is wanted
    done = laptop("list", "studies", check=False, RAY_AUTH_TOKEN="e" * 64)
    assert done.returncode == 3
    assert "share its token" in done.stderr
