"""A small trained model in both forms, and servers that serve it, launched as the worker launches them."""

import contextlib
import os
import signal
import time
from dataclasses import replace

import psutil
import pytest
from safetensors.torch import load_file, save_file

from autotune.core.deadlines import Deadlines
from autotune.core.environment import server_environment
from autotune.core.file_names import LOG_NAME, PROCESS_NAME
from autotune.executor.attempt_files import log_tail, write_json
from autotune.executor.base import Job
from autotune.executor.process import SupervisedProcess
from autotune.systems.base import NotReady
from autotune.systems.gguf import write_gguf
from autotune.systems.registry import build_system
from autotune.systems.served.tiny import SHAPE, make_tiny_files
from tests.servers.install import is_installed, program_of, python_of

SMALL = replace(SHAPE, hidden=64, heads=2, layers=2, intermediate=128, steps=200, sequence=64)
DRAFT = replace(SMALL, hidden=32, heads=1, layers=1, intermediate=64, steps=40)
PROMPT = "The quick brown fox"
START_S = 300.0  # vLLM imports for a minute on a busy machine


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """The model: folders of safetensors, and GGUF files beside them."""
    made = make_tiny_files(tmp_path_factory.mktemp("models"), SMALL, DRAFT)
    weights = made.pair.target / "model.safetensors"
    # rounded once, so that both forms hold the same numbers
    rounded = {name: tensor.half().float() for name, tensor in load_file(weights).items()}
    save_file(rounded, weights, metadata={"format": "pt"})
    write_gguf(made.pair.target, made.gguf("F16"))
    return made


def needs(server):
    """Return the Python that has a server, or skip the test."""
    if not is_installed(server):
        pytest.skip(f"{server} is not installed: python tests/servers/install.py {server}")
    return str(python_of(server))


def sections(server, files):
    """Return the system section that serves the model with a server in full precision."""
    python = needs(server)
    draft = str(files.gguf("F16", draft=True))
    gguf = str(files.gguf("F16"))
    return {
        "openvino": {
            "use": "openvino", "model": gguf, "draft_model": draft, "program": python,
            "flags": {"inference_precision_hint": "f32", "kv_cache_precision": "f32"},
        },
        "llama_cpp": {
            "use": "llama_cpp", "model": gguf, "program": python,
            "flags": {"cache_type_k": "f32", "cache_type_v": "f32", "ctx_size": 512},
        },
        "llama_server": {
            "use": "llama_cpp", "model": gguf, "draft_model": draft, "program": str(program_of(server)),
            "flags": {"cache_type_k": "f32", "cache_type_v": "f32", "ctx_size": 2048},
        },
        "vllm": {
            "use": "vllm", "model": str(files.pair.target), "program": python,
            "flags": {"dtype": "float32", "enforce_eager": True, "max_model_len": 512},
            "env": {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"},
        },
    }[server]  # fmt: skip


@contextlib.contextmanager
def launched(section, config, folder):
    """Run a server and give its driver and its process."""
    folder.mkdir(parents=True, exist_ok=True)
    system = build_system(section)
    assert system.check(config) is None
    system.prepare(print)
    command = system.command(config, folder)
    process = SupervisedProcess(
        command.argv, env=server_environment(command.env), log=folder / LOG_NAME, cwd=folder,
        mark="servers/s/0/1", grace_s=5.0,
    )  # fmt: skip
    try:
        write_json(folder / PROCESS_NAME, {"pid": process.pid, "supervisor": process.supervisor_pid})
        deadline = time.monotonic() + START_S
        while True:
            code = process.poll()
            assert code is None, log_tail(folder / LOG_NAME)
            try:
                driver = system.connect(folder, deadline)
                break
            except NotReady:
                assert time.monotonic() < deadline, log_tail(folder / LOG_NAME)
                time.sleep(0.1)
        yield driver, process
    finally:
        process.stop()


def job_of(section, config, folder, **changes):
    """Return a short attempt."""
    settings = {
        "study": "servers", "trial": 0, "attempt": 1, "config": config, "system": section,
        "goal": "output_throughput",
        "workload": {
            "arrival": "concurrency", "concurrency": "3", "prompt_tokens": "16", "output_tokens": "12",
            "time": "6 s", "precision": "20 %",
        },
        "scratch": str(folder / "store" / "servers" / "trial-0000" / "attempt-1"),
        "deadlines": Deadlines(startup_s=START_S, measure_s=60, stop_s=5),
    }  # fmt: skip
    return Job(**{**settings, **changes})


def kill_tree(root):
    """Kill a process and all below it, as the kernel might."""
    process = psutil.Process(root)
    for one in [*process.children(recursive=True), process]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one.pid, signal.SIGKILL)
