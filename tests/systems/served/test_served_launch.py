"""Launching without a server: what logs mean, how any server is started and asked, what GGUF files hold."""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from autotune.core.measurement import Cause
from autotune.errors import SpecError
from autotune.systems.base import AttemptFailed, ServedDriver
from autotune.systems.diagnosis import diagnose
from autotune.systems.gguf import _q8
from autotune.systems.registry import build_system
from tests_shared import serving_in_a_thread

VLLM_MEMORY = (
    "(Worker pid=13547) ERROR 11-25 01:37:17 [multiproc_executor.py:1063] ValueError: Available memory on "
    "node 0 (10.9/14.21 GiB) on kv cache allocation is less than requested "
    "memory for kv (100.0 GiB). Decrease\n"
    "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
)
# fmt: off
LOGS = [
    (1, VLLM_MEMORY, Cause.OUT_OF_MEMORY, "ValueError: Available memory on node 0", 100 / 10.9),
    (1, "llama_kv: failed to allocate buffer for kv cache", Cause.OUT_OF_MEMORY, "failed to allocate", None),
    (1, "INFO: fine\nERROR:    [Errno 98] error while attempting to bind on address: address "
     "already in use", Cause.PORT_TAKEN, "already in use", None),
    (2, "usage: vllm [-h]\nvllm: error: unrecognized arguments: --f", Cause.REJECTED_FLAGS, "--f", None),
    (1, "api_server.py:24: DeprecationWarning: this is unsupported soon\npydantic_core.ValidationError: 1 "
     "validation error for ModelConfig\n  Value error, max_model_len (9) is greater",
     Cause.REJECTED_FLAGS, "Value error, max_model_len (9)", None),
    (1, "RuntimeError: Exception from src/core.cpp:117:\nException from x.cpp:5:\nWrong value FASTEST",
     Cause.REJECTED_FLAGS, "RuntimeError: Wrong value FASTEST", None),
    (1, "loading\nthe flux capacitor is cold", Cause.CRASHED_UNDER_LOAD, "the flux capacitor is cold", None),
    (1, "", Cause.CRASHED_UNDER_LOAD, "no output", None),
    (1, "ModuleNotFoundError: No module named 'vllm'", Cause.OWNER_MISTAKE, "cannot be run here", None),
    (1, "[load_gguf] Failed to open '/no.gguf'", Cause.OWNER_MISTAKE, "model cannot be read", None),
    (-9, "listening", Cause.OUT_OF_MEMORY, "SIGKILL", None),
    (-11, "listening", Cause.CRASHED_UNDER_LOAD, "SIGSEGV", None),
]
# fmt: on


@pytest.mark.parametrize(("code", "log", "cause", "said", "shortfall"), LOGS)
def test_a_log_says_why_a_server_died(code, log, cause, said, shortfall):
    failure = diagnose(code, log)
    assert failure.cause is cause
    assert said in failure.message
    assert failure.shortfall == (None if shortfall is None else pytest.approx(shortfall))


class Stub(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"data": [{"id": "stub"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        refused = body.get("temperature") == 9
        answer = {"error": {"message": "temperature is too high"}} if refused else {
            "choices": [{"text": "ab"}], "usage": {"completion_tokens": body["max_tokens"]},
        }  # fmt: skip
        self.answer(answer, 400 if refused else 200)

    def answer(self, data, status=200):
        text = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@pytest.fixture
def stub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    server.bodies = []
    with serving_in_a_thread(server):
        yield server, f"http://127.0.0.1:{server.server_address[1]}"


def test_an_endpoint_that_runs_is_asked_with_the_parameters(stub, tmp_path):
    server, url = stub
    system = build_system({"use": "openai_server", "url": url})
    assert system.parameters() is None
    assert system.command({"temperature": 0.5}, tmp_path) is None
    driver = system.connect(tmp_path, time.monotonic() + 10)
    assert isinstance(driver, ServedDriver)
    endpoint = driver.endpoint()
    assert (endpoint.url, endpoint.model) == (url, "stub")
    assert endpoint.body == {"ignore_eos": True, "temperature": 0.5}
    assert server.bodies[0]["temperature"] == 0.5
    system.command({"temperature": 9}, tmp_path)
    with pytest.raises(AttemptFailed, match="temperature is too high") as caught:
        system.connect(tmp_path, time.monotonic() + 10)
    assert caught.value.failure.cause is Cause.REJECTED_FLAGS


def test_a_command_is_filled_in_word_by_word(tmp_path):
    section = {
        "use": "openai_server", "request": ["temperature"], "model": "m",
        "command": [
            sys.executable, "--at", "{host}:{port}", "--model", "{model}", "--n", "{n}", "--k", "{k}",
        ],
    }  # fmt: skip
    system = build_system(section)
    assert build_system({"use": "openai_server", **system.to_dict()}) == system
    assert system.parameters() == ("n", "k", "temperature")
    deployed = system.deploy({"n": 3, "temperature": 1.0})
    assert deployed.request == {"temperature": 1.0}
    assert deployed.words == [sys.executable, "--at", "127.0.0.1:8000", "--model", "m", "--n", "3"]
    assert system.check({"n": 3}) is None
    assert "neither the command nor request" in system.check({"m": 3}).message
    for bad in ("--evil", "a;b", "a\nb", "$(x)"):
        assert system.check({"k": bad}).cause is Cause.REJECTED_FLAGS
    argv = system.command({"n": 3, "k": "x"}, tmp_path).argv
    port = json.loads((tmp_path / "launch.json").read_text())["url"].rpartition(":")[2]
    assert argv[2] == f"127.0.0.1:{port}"
    assert argv[-2:] == ("--k", "x")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({}, "either a command or a url"),
        ({"url": "ftp://x"}, "url must be like"),
        ({"command": ["x"]}, "where to listen"),
        ({"command": ["x", "{port}", "--a={b}"]}, "a word of its own"),
        (
            {"command": ["x", "{port}", "a\nb"]},
            r"word 3 of command must be of one line.*'a\\nb' has a line end",
        ),
        ({"command": ["x\0", "{port}"]}, "word 1 of command must be of one line.* has a NUL"),
        ({"command": ["x", "{port}"], "env": {"MY_API_KEY": "1"}}, "sounds like a secret"),
    ],
)
def test_a_section_that_cannot_be_launched_is_refused(section, said):
    with pytest.raises(SpecError, match=said):
        build_system({"use": "openai_server", **section})


def test_variables_are_of_a_list():
    with pytest.raises(SpecError, match="vllm may not be given 'PATH'"):
        build_system({"use": "vllm", "model": "m", "env": {"PATH": "/evil"}})
    system = build_system({"use": "vllm", "model": "m", "env": {"VLLM_CPU_KVCACHE_SPACE": "2"}})
    assert system.deploy({"threads": 2}).words[:4] == [
        "env", "VLLM_CPU_KVCACHE_SPACE=2", "OMP_NUM_THREADS=2", "VLLM_CPU_OMP_THREADS_BIND=nobind",
    ]  # fmt: skip


def test_eight_bit_blocks_hold_the_weights():
    weights = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    blocks = np.frombuffer(_q8(weights), dtype=[("scale", "<f2"), ("values", "i1", (32,))])
    found = (blocks["scale"].astype(np.float32)[:, None] * blocks["values"]).reshape(4, 64)
    assert np.abs(found - weights).max() < np.abs(weights).max() / 127
