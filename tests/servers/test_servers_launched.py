"""Real servers: launched, asked, refused, out of memory, killed; the same tokens from the same weights.

Run with ``make test-servers``; ``-k openvino`` for one. A server that is not installed is skipped.
"""

import contextlib
import http.client
import json
import re
import signal
import socket
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from autotune.core.file_names import LOG_NAME
from autotune.core.measurement import Cause
from autotune.executor.worker import run_attempt
from autotune.systems.base import ServedDriver
from autotune.systems.registry import build_system
from autotune.systems.served.client import ask
from autotune.systems.served.launch import connections
from autotune.systems.served.negotiation import request_body
from tests.servers.conftest import PROMPT, START_S, job_of, kill_tree, launched, sections
from tests_shared import wait_until

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]
TOKENS = 24
# Two configurations each, of which the server itself says what it runs with.
CONFIGS = {
    "openvino": ({"threads": 1, "max_num_seqs": 4}, {"threads": 1, "max_num_seqs": 16}),
    "llama_cpp": ({"threads": 1, "batch_size": 64}, {"threads": 1, "batch_size": 256}),
    "llama_server": ({"threads": 1, "parallel": 2}, {"threads": 1, "parallel": 4}),
    "vllm": ({"threads": 1, "max_num_seqs": 4}, {"threads": 1, "max_num_seqs": 16}),
}
SERVERS = tuple(CONFIGS)


def greedy(endpoint, prompt=PROMPT, tokens=TOKENS):
    """Return the text of a greedy answer, and how many tokens it has."""
    answer = ask(endpoint.url, endpoint.path, request_body(endpoint, prompt, tokens), timeout=60)
    return answer["choices"][0]["text"], answer["usage"]["completion_tokens"]


def stream(endpoint, tokens):
    """Yield the pieces of a streamed answer."""
    body = {**request_body(endpoint, PROMPT, tokens), "stream": True}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(endpoint.url + endpoint.path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        for line in answer:
            text = line.decode().strip()
            if text.startswith("data: {"):
                yield json.loads(text.removeprefix("data: "))["choices"]


def alive_in(folder):
    """Return the processes that work under a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd().startswith(str(folder)) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def requests_under_way(root, port):
    """Return whether two connections to the server stay open: a load, not a first answer."""

    def count():
        return connections(root, port).count(psutil.CONN_ESTABLISHED)

    if count() < 2:
        return False
    time.sleep(1)
    return count() >= 2


@pytest.fixture(scope="session")
def reference(files):
    """What transformers generates from the same weights, in full precision."""
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(files.pair.target, dtype=torch.float32)
    tokens = AutoTokenizer.from_pretrained(files.pair.target)(PROMPT, return_tensors="pt")
    answer = model.generate(
        input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"],
        max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False,
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(files.pair.target)
    return tokenizer.decode(answer[0, tokens["input_ids"].shape[1] :])


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("server", SERVERS)
def test_a_server_serves_what_the_weights_say(server, which, files, reference, tmp_path):
    config = CONFIGS[server][which]
    with launched(sections(server, files), config, tmp_path) as (driver, process):
        assert isinstance(driver, ServedDriver)
        endpoint = driver.endpoint()
        assert greedy(endpoint) == (reference, TOKENS)
        # the end of the text, which an untrained continuation may reach, does not end an answer
        assert greedy(endpoint, "\n\n", 60)[1] == 60
        pieces = [choices for choices in stream(endpoint, TOKENS) if choices]
        assert len(pieces) > 1  # a server that is ahead of us sends several tokens at once
        assert "".join(choices[0]["text"] for choices in pieces) == reference
        facts = driver.facts()
        assert re.match(r"b?\d", facts["version"])  # llama-server counts builds
        told = (
            json.dumps(facts)
            + (tmp_path / LOG_NAME).read_text()
            + repr(psutil.Process(process.pid).cmdline())
        )
        assert str(list(config.values())[1]) in told
        assert 1 << 24 < driver.metrics(0.0)["memory.peak"].value < 1 << 34
        if endpoint.tokenize:
            asked = {"model": endpoint.model, "prompt": PROMPT, "input": PROMPT, "content": PROMPT}
            assert len(ask(endpoint.url, endpoint.tokenize, asked)["tokens"]) == len(PROMPT)
        if endpoint.prometheus:
            assert "# " in ask(endpoint.url, endpoint.prometheus) or server == "openvino"
    assert alive_in(tmp_path) == []


@pytest.mark.parametrize("server", ["openvino", "llama_server"])
def test_drafting_changes_no_answer(server, files, reference, tmp_path):
    config = {**CONFIGS[server][0], "draft_length": 3}
    with launched(sections(server, files), config, tmp_path) as (driver, process):
        assert greedy(driver.endpoint()) == (reference, TOKENS)
        words = psutil.Process(process.pid).cmdline()
    assert str(files.gguf("F16", draft=True)) in words
    assert alive_in(tmp_path) == []


REFUSED = {
    "openvino": ({"performance_hint": "FASTEST"}, "PERFORMANCE_HINT|FASTEST"),
    "llama_cpp": ({"cache_type_v": "q4_0", "flash_attn": "off"}, "flash|context|cache"),
    "llama_server": ({"device": "no-such-device"}, "device"),
    "vllm": ({"max_model_len": 100_000}, "max_model_len"),
}
TOO_MUCH = {
    "openvino": ({"cache_size": 500}, {"memory_limit": "3 GiB"}),
    "llama_cpp": ({"ctx_size": 1 << 24}, {"memory_limit": "2 GiB"}),
    "llama_server": ({"ctx_size": 1 << 24}, {"memory_limit": "2 GiB"}),
    "vllm": ({"threads": 1, "cpu_kvcache_space": 100_000}, {}),
}


@pytest.mark.parametrize("server", SERVERS)
def test_what_a_server_refuses_is_the_configurations_fault(server, files, tmp_path):
    config, said = REFUSED[server]
    section = sections(server, files)
    section["flags"] = {name: value for name, value in section["flags"].items() if name not in config}
    failure = run_attempt(job_of(section, config, tmp_path)).measurement.failure
    assert failure.cause is Cause.REJECTED_FLAGS, (failure.message, failure.log_tail)
    assert re.search(said, failure.message), failure.message
    assert alive_in(tmp_path) == []


@pytest.mark.parametrize("server", SERVERS)
def test_too_much_memory_is_known_as_such(server, files, tmp_path):
    config, more = TOO_MUCH[server]
    section = {**sections(server, files), **more}
    section["flags"] = {name: value for name, value in section["flags"].items() if name not in config}
    failure = run_attempt(job_of(section, config, tmp_path)).measurement.failure
    assert failure.cause is Cause.OUT_OF_MEMORY, (failure.message, failure.log_tail)
    assert alive_in(tmp_path) == []


@pytest.mark.parametrize("server", SERVERS)
def test_a_killed_server_leaves_nothing(server, files, tmp_path):
    section = sections(server, files)
    with launched(section, CONFIGS[server][0], tmp_path) as (driver, process):
        answer = stream(driver.endpoint(), 400)
        next(answer)
        kill_tree(process.pid)
        with contextlib.suppress(OSError, http.client.HTTPException):
            assert sum(len(choices) for choices in answer) < 400
        assert wait_until(process.poll, 10) == -signal.SIGKILL
        failure = build_system(section).diagnose(process.poll(), (tmp_path / LOG_NAME).read_text())
        assert failure.cause.configuration_at_fault
    assert alive_in(tmp_path) == []


@pytest.mark.parametrize("server", SERVERS)
def test_an_attempt_is_measured_from_launch_to_clean_stop(server, files, tmp_path):
    for attempt in range(1, 4):  # a measurement may be invalid where others work on the machine
        job = job_of(sections(server, files), CONFIGS[server][0], tmp_path / str(attempt), attempt=attempt)
        found = run_attempt(job).measurement
        if found.failure is None or found.failure.cause.configuration_at_fault:
            break
    assert found.failure is None, (found.failure.message, found.failure.log_tail)
    metrics = found.metrics
    assert metrics["output_throughput"].value > 1
    assert 0 < metrics["ttft.p50"].value < metrics["e2e.p50"].value
    assert metrics["memory.peak"].value > 1 << 24
    assert found.facts["system"]["version"]
    assert found.facts["measured"]["errors"] == 0
    assert alive_in(tmp_path) == []


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_that_is_killed_under_load_is_known_as_such(server, files, tmp_path):
    job = job_of(sections(server, files), CONFIGS[server][0], tmp_path)
    job = replace(job, workload={**job.workload, "time": "60 s", "precision": "0.1 %"})

    def kill_once_loaded():
        log = Path(job.scratch) / "process.json"
        wait_until(log.exists, START_S)
        root = json.loads(log.read_text())["pid"]
        port = json.loads((log.parent / "launch.json").read_text())["url"].rpartition(":")[2]
        wait_until(lambda: requests_under_way(root, int(port)), START_S)
        kill_tree(root)

    with ThreadPoolExecutor() as pool:
        killed = pool.submit(kill_once_loaded)
        failure = run_attempt(job).measurement.failure
        killed.result()
    assert failure.cause in (Cause.CRASHED_UNDER_LOAD, Cause.OUT_OF_MEMORY), failure.message
    assert alive_in(tmp_path) == []


def test_a_port_that_is_taken_is_an_environment_fault(files, tmp_path, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr("autotune.systems.served.system.free_port", lambda: taken.getsockname()[1])
        job = job_of(sections("openvino", files), {"threads": 1}, tmp_path)
        failure = run_attempt(job).measurement.failure
    assert failure.cause is Cause.PORT_TAKEN, (failure.message, failure.log_tail)


def test_a_model_that_cannot_be_read_is_the_owners_mistake(files, tmp_path):
    section = {**sections("openvino", files), "model": str(tmp_path / "no.gguf")}
    failure = run_attempt(job_of(section, {"threads": 1}, tmp_path)).measurement.failure
    assert failure.cause is Cause.OWNER_MISTAKE, (failure.message, failure.log_tail)
