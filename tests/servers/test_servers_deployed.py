"""The line that deploys a configuration, pasted into an empty shell: the server that was measured answers.

Run with ``make test-servers``; ``-k openvino`` for one. A server that is not installed is skipped.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from autotune.core.endpoint import Refused
from autotune.executor.attempt_files import log_tail
from autotune.systems.deployment import deployment
from autotune.systems.registry import build_system
from autotune.systems.served.client import ask
from autotune.systems.served.launch import free_port, tree
from tests.servers.conftest import START_S, launched, needs, sections
from tests_shared import wait_until

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]
CONFIGS = {
    "openvino": {"threads": 1, "max_num_seqs": 4, "draft_length": 3},
    "llama_cpp": {"threads": 1, "batch_size": 64},
    "llama_server": {"threads": 1, "parallel": 2, "draft_length": 2},
    "vllm": {"threads": 1, "max_num_seqs": 4},
    "transformers_serve": {"threads": 1, "dtype": "float32"},
}


def section_of(server, files):
    """Return the section of a server, with the quantization left to the configuration where it can be."""
    if server == "transformers_serve":
        return {"use": server, "model": str(files.pair.target), "program": needs(server)}
    section = sections(server, files)
    if server in ("openvino", "llama_server"):
        section["model"] = section["model"].replace("F16", "{quantization}")
    return section


def config_of(server):
    quantized = {"model_quantization": "F16"} if server in ("openvino", "llama_server") else {}
    return {**CONFIGS[server], **quantized}


def empty_shell(line):
    """Return the words that run a line in a shell that nobody has set up."""
    return ["env", "-i", f"HOME={Path.home()}", "PATH=/usr/bin:/bin", "bash", "-c", line]


@contextlib.contextmanager
def pasted(line, folder):
    """Run a line in an empty shell and an empty folder; give its process and its log."""
    log = folder / "log"
    (folder / "empty").mkdir(parents=True)
    with log.open("wb") as out:
        process = subprocess.Popen(
            empty_shell(line), cwd=folder / "empty", stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield process, log
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(url, ready):
    """Return whether a server takes requests."""
    try:
        ask(url, ready, timeout=2)
    except Refused:
        return False
    return True


def settings_of(server, url, log):
    """Return what the server itself tells of its settings."""
    if server == "openvino":
        return ask(url, "/version")["scheduler"]
    if server == "llama_server":
        found = ask(url, "/props")
        return json.dumps([found["total_slots"], found["model_path"]])
    return log.read_text()


EXPECTED = {
    "openvino": r"max_num_seqs: 4\b",
    "llama_server": r"\[2, .*target-F16.gguf",
    "vllm": r"'max_num_seqs': 4\b",
}


@pytest.mark.parametrize("server", CONFIGS)
def test_the_line_of_a_deployment_serves_what_was_measured(server, files, tmp_path, monkeypatch):
    section, config = section_of(server, files), config_of(server)
    port = free_port()
    monkeypatch.setattr("autotune.systems.served.system.PORT", port)  # another test may have the usual one
    system = build_system(section)
    found, ready = deployment(system, config, ()), system.launch(config, port).ready
    question = json.loads(found.ask.rsplit(" -d ", 1)[1].strip("'"))
    with launched(section, config, tmp_path / "measured") as (driver, process):
        endpoint = driver.endpoint()
        measured = psutil.Process(process.pid).cmdline()
        asked = {**question, "model": endpoint.model}
        expected = ask(endpoint.url, endpoint.path, asked, timeout=60)["choices"][0]["text"]
        port_then = endpoint.url.rpartition(":")[2]
    with pasted(found.line, tmp_path / "deployed") as (process, log):
        url = found.endpoint.url

        def up():
            assert process.poll() is None, log_tail(log)
            return answers(url, ready)

        wait_until(up, START_S)
        done = subprocess.run(
            empty_shell(found.ask), capture_output=True, text=True, check=True, cwd=tmp_path / "deployed"
        )
        answer = json.loads(done.stdout)
        assert answer["choices"][0]["text"] == expected, done.stdout
        assert re.search(EXPECTED.get(server, ""), settings_of(server, url, log))
        words = [one.cmdline() for one in tree(process.pid)]
        assert [word.replace(port_then, str(port)) for word in measured] in words
        assert found.request == ({"num_assistant_tokens": 3} if server == "openvino" else {})
        assert question.items() >= found.request.items()
    assert not answers(url, ready)
