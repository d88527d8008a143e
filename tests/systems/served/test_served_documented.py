"""The examples of search_spaces/README.md on servers as they are, each against a real one."""

import importlib.util
import json
import re
import subprocess
import sys
import time
from pathlib import Path

from autotune.measure.load.body import fields
from autotune.study.study_file import read_study

ROOT = Path(__file__).resolve().parents[3]
FIELD = ROOT / "tests" / "toy" / "field_server.py"
SPEC = importlib.util.spec_from_file_location("field_server", FIELD)
field_server = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(field_server)
TEXT = (ROOT / "search_spaces" / "README.md").read_text(encoding="utf-8")
SECTION = TEXT.partition("### A server as it is")[2].partition("### The load on a server")[0]
RUNNING, STARTED = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)


def study_of(tmp_path, text):
    (tmp_path / "study.yaml").write_text(f"{text}objective: throughput\n")
    return read_study(tmp_path / "study.yaml")


def test_every_key_stands_in_the_table():
    keys = {"path", "ready", "model", "body", "request", "key_variable", "env", "tokenize", "tokenizer"}
    assert keys <= set(
        re.findall(r"`(\w+)`", "".join(line for line in SECTION.splitlines() if line[:1] == "|"))
    )


def test_the_example_of_a_server_that_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_SERVER_KEY", "the-key")
    with field_server.serving() as server:
        spec = study_of(tmp_path, RUNNING.replace("http://127.0.0.1:8000", server.url("auth-onlychat")))
        system = spec.system.built
        system.command({"temperature": 0.5}, tmp_path)
        driver = system.connect(tmp_path, time.monotonic() + 60)
        path, body, headers = server.asked[-1]
    assert path == driver.endpoint().path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer the-key"
    assert (body["temperature"], body["user"], body["min_tokens"]) == (0.5, "me", body["max_tokens"])
    under_load = fields(driver.endpoint(), [("user", "a")], "a", 77, None)
    assert (under_load["min_tokens"], under_load["max_tokens"], under_load["user"]) == (77, 77, "me")


def test_the_example_of_a_server_that_a_command_starts(tmp_path):
    (tmp_path / "server.py").symlink_to(FIELD)  # Python looks for its neighbours beside the file itself
    text = STARTED.replace("python, server.py", '"{python}", server.py')
    system = study_of(tmp_path, text).system.built
    assert system.parameters() == ("slots", "temperature")
    command = system.command({"slots": 3, "temperature": 0.5}, tmp_path)
    assert command.argv[:2] == (sys.executable, str(FIELD))
    with subprocess.Popen(command.argv, env=dict(command.env), stdout=subprocess.PIPE, text=True) as process:
        (tmp_path / "process.json").write_text(json.dumps({"pid": process.pid}))
        assert json.loads(process.stdout.readline()) == [["--slots", "3"], "1"]  # it listens by now
        driver = system.connect(tmp_path, time.monotonic() + 60)
        body = json.loads(process.stdout.readline())
        process.kill()
    assert body["temperature"] == 0.5
    assert "slots" not in body
    assert driver.facts()["path"] == "/v1/completions"
