"""What deploys a configuration: the launch that was measured, on a known port, and what clients must send."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.core.environment import inherited
from autotune.errors import SpecError
from autotune.systems.base import launched_config
from autotune.systems.deployment import PORT, Deployment, deployment
from autotune.systems.registry import SYSTEMS, build_system, locate_system
from autotune.systems.served.negotiation import as_measured
from autotune.testing.system_contract import NOWHERE, SystemContract
from tests_shared import anywhere

GOLDEN = Path(__file__).parent / "golden"
TINY = {"model": "tiny"}
CASES = {
    "openvino": (
        {"use": "openvino", "program": "/server/bin/python", **TINY, "draft_model": "tiny"},
        {"model_quantization": "Q8_0", "threads": 1, "draft_length": 3, "max_num_seqs": 8},
    ),
    "ovms": ({"use": "openvino", "model": "org/m"}, {"max_num_seqs": 8, "threads": 2}),
    "llama_cpp": (
        {"use": "llama_cpp", **TINY, "draft_model": "tiny", "memory_limit": "2 GiB"},
        {"model_quantization": "Q8_0", "threads": 2, "draft_length": 4},
    ),
    "llama_cpp_python": (
        {"use": "llama_cpp", **TINY, "program": "/server/bin/python"},
        {"model_quantization": "Q8_0", "threads": 2, "draft_length": 4},
    ),
    "vllm": (
        {"use": "vllm", **TINY, "draft_model": "tiny", "env": {"VLLM_CPU_KVCACHE_SPACE": "2"}},
        {"threads": 2, "max_num_seqs": 8, "draft_length": 2},
    ),
    "vllm_named": (
        {"use": "vllm", "model": "org/m", "flags": {"served_model_name": "chat"}}, {"quantization_bits": 8},
    ),
    "sglang": ({"use": "sglang", **TINY}, {"max_running_requests": 8}),
    "tensorrt_llm": ({"use": "tensorrt_llm", "model": "org/m"}, {"max_batch_size": 8}),
    "triton": ({"use": "triton", "model": "/models"}, {"max_batch_size": 8, "dynamic_batching": True}),
    "onnxruntime": ({"use": "onnxruntime", "model": "/m.onnx"}, {"intra_op_num_threads": 2}),
    "ollama": ({"use": "ollama", "model": "llama3"}, {"num_parallel": 4}),
    "transformers_serve": ({"use": "transformers_serve", **TINY}, {"threads": 2, "dtype": "float32"}),
    "transformers": (
        {"use": "transformers", **TINY, "memory_limit": "8 GiB"},
        {"draft_length": 2, "quantization_bits": 8, "threads": 2},
    ),
    "openai_server": (
        {
            "use": "openai_server", "command": ["serve", "--port", "{port}", "--n", "{n}"], "model": "m",
            "path": "/v1/chat/completions", "request": ["top_k"], "env": {"OMP_NUM_THREADS": "2"},
        },
        {"n": 1, "top_k": 40},
    ),
    "openai_url": (
        {
            "use": "openai_server", "url": "https://models.example/api/", "model": "m",
            "key_variable": "MY_KEY",
            "body": {"ignore_eos": True, "min_tokens": "{max_tokens}", "reasoning": "it's off"},
        },
        {"temperature": 0.5},
    ),
    "command": (
        {
            "use": "command", "argv": ["./bench", "--at={metrics_file}", "{parameters}"], "folder": "/bench",
            "env": {"THREADS": "{threads}"}, "metrics": "file",
        },
        {"threads": 2, "batch_size": 8},
    ),
    "function": ({"use": "function", "call": "module:function", "folder": "/work"}, {"n": 1}),
    "ray_tune": (
        {
            "use": "ray_tune", "trainable": "train.py:Steps", "folder": "/work",
            "config": {"model": {"lr": "{lr}"}}, "stop": {"training_iteration": 3},
        },
        {"lr": 0.5},
    ),
}  # fmt: skip


@pytest.fixture
def bare(monkeypatch):
    """A machine without servers, whose cache is known."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("PYTHONPATH")


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("case", CASES)
def test_the_text_of_a_deployment(case, request):
    section, config = CASES[case]
    system = build_system(section)
    assert system.check(config) is None
    found = anywhere("\n".join(deployment(system, config, ()).lines()) + "\n")
    golden = GOLDEN / f"deployment-{case}.txt"
    if not golden.exists() and request.config.getoption("--write-golden"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(found)
    assert found == golden.read_text()


def test_no_system_is_left_out():
    assert {section["use"] for section, _ in CASES.values()} | {"replay", "toy"} == {*SYSTEMS.names(), "toy"}


def launches():
    """Return the configurations of every contract test and of this file, each with its section."""
    kinds = [kind for kind in SystemContract.__subclasses__() if hasattr(kind, "section")]
    return [(kind.section, config) for kind in kinds for config in (*kind.configs, *kind.alike)] + [
        *CASES.values()
    ]


@pytest.mark.parametrize(("section", "config"), launches())
def test_what_is_deployed_is_what_was_launched(section, config, monkeypatch):
    for module in ("autotune.systems.served.system", "autotune.systems.openai_server"):
        monkeypatch.setattr(f"{module}.free_port", lambda: PORT)
    system = build_system(section)
    command, found = system.command(config, NOWHERE), system.deploy(config)
    if command is None:
        assert found.argv == ()
        return
    if section["use"] in (
        "command",
        "function",
        "ray_tune",
    ):  # launched by a program that runs them and waits
        assert set(found.env.items()) <= set(command.env.items()) or section.get("metrics") == "file"
        launched = command.argv[command.argv.index("--") + 1 :]
        assert len(launched) == len(found.argv)
        return
    argv, env = list(command.argv), {k: v for k, v in command.env.items() if k != "PYTHONUNBUFFERED"}
    if section["use"] == "transformers":  # the same program over standard input in place of a socket
        argv[3], cut = "autotune.systems.transformers.generate", "--perplexity-text"
        argv = argv[: argv.index(cut)] if cut in argv else argv
    if section["use"] == "openai_server":
        argv[0] = shutil.which(argv[0]) or argv[0]
    assert list(found.argv) == argv
    assert dict(found.env) == env


def test_derived_values_that_a_system_does_not_know_are_left_out_as_in_a_launch():
    system = build_system({"use": "vllm", "model": "m"})
    config = {"max_num_seqs": 8, "ranks": 4}
    found = deployment(system, config, ("ranks",))
    assert found == system.deploy(launched_config(system, config, ("ranks",)))
    assert "--max-num-seqs" in found.argv
    assert not any("ranks" in word for word in found.argv)


@pytest.mark.parametrize(
    ("section", "config", "fields"),
    [
        (CASES["openvino"][0], {"draft_length": 3}, {"num_assistant_tokens": 3}),
        (CASES["openvino"][0], {"draft_length": 0}, {}),
        (CASES["openai_server"][0], {"n": 1, "top_k": 40}, {"top_k": 40}),
        (CASES["openai_server"][0], {"n": 1}, {}),
        (CASES["openai_url"][0], {"temperature": 0.5}, {"reasoning": "it's off", "temperature": 0.5}),
        (CASES["vllm"][0], {}, {}),
    ],
)
def test_requests_carry_what_the_configuration_asks_of_them_and_nothing_of_the_measurement(
    section, config, fields
):
    found = build_system(section).deploy(config)
    assert found.request == fields
    sent = json.loads(shlex.split(found.ask)[-1])
    assert sent.items() >= fields.items()
    assert not {"ignore_eos", "min_tokens"} & set(sent)
    shown = "\n".join(found.lines())
    assert ("every request carries" in shown) == bool(fields)


def run(line, folder, **env):
    """Run a line in an empty shell and an empty folder."""
    return subprocess.run(
        ["env", "-i", f"HOME={Path.home()}", "PATH=/usr/bin:/bin", *(f"{k}={v}" for k, v in env.items()),
         "bash", "-c", line],
        capture_output=True, text=True, check=True, cwd=folder,
    ).stdout  # fmt: skip


def test_a_program_and_a_function_run_once_from_an_empty_shell(tmp_path, monkeypatch):
    work, empty = tmp_path / "it's work", tmp_path / "empty"
    work.mkdir(), empty.mkdir()
    code = (
        "import json, os, sys\nprint('loading')\nopen(sys.argv[1], 'w').write(json.dumps({'at': os.getcwd()"
    )
    (work / "bench.py").write_text(code + ", 'words': sys.argv[2:], 'mode': os.environ['MODE']}))\n")
    (work / "tuned.py").write_text(
        "def speed(config):\n    print('loading')\n    return {'n': config['n']}\n"
    )
    monkeypatch.chdir(tmp_path)
    section = {
        "use": "command", "argv": ["{python}", "bench.py", "{metrics_file}", "{parameters}"], "folder": ".",
        "env": {"MODE": "{mode}"}, "metrics": "file",
    }  # fmt: skip
    system = build_system(locate_system(section, work))
    printed = run(system.deploy({"n": 2, "mode": "fast one"}).line, empty)
    found, _ = json.JSONDecoder().raw_decode(printed, printed.index("{"))
    assert found == {"at": str(work), "words": ["--n", "2", "--mode", "fast one"], "mode": "fast one"}
    for call in ("tuned.py:speed", "tuned:speed"):
        system = build_system(locate_system({"use": "function", "call": call}, work))
        assert json.loads(run(system.deploy({"n": "it's"}).line, empty)) == {"n": "it's"}
    assert list(empty.iterdir()) == []


def test_an_endpoint_that_runs_already_is_asked_with_the_key_of_the_shell(tmp_path):
    found = build_system(CASES["openai_url"][0]).deploy({"temperature": 0.5})
    assert found.words == []
    shown = run(f"curl() {{ printf '%s\\n' \"$@\"; }}; {found.ask}", tmp_path, MY_KEY="a b$(c)")
    *_, header, _, body = shown.splitlines()
    assert header == "Authorization: Bearer a b$(c)"
    assert json.loads(body)["temperature"] == 0.5
    with pytest.raises(SpecError, match="key_variable must be the name of a variable"):
        build_system({**CASES["openai_url"][0], "key_variable": "$(date)"})


def test_a_list_of_words_of_a_third_party_is_a_command():
    assert deployment(build_system({"use": "toy"}), {"a": 1}, ()) == Deployment(("toy", '{"a": 1}'))


@pytest.mark.parametrize("use", ["vllm", "transformers", "openai_server"])
def test_a_model_is_found_from_another_folder_than_the_study_was_started_in(use, tmp_path, monkeypatch):
    started, elsewhere = tmp_path / "started", tmp_path / "elsewhere"
    (started / "models" / "m").mkdir(parents=True), elsewhere.mkdir()
    monkeypatch.chdir(started)
    extra = {"command": ["serve", "{model}", "{port}"]} if use == "openai_server" else {}
    for model in ("models/m", "./models/m"):
        section = locate_system({"use": use, "model": model, **extra}, started)
        monkeypatch.chdir(elsewhere)
        assert str(started / "models" / "m") in build_system(section).deploy({}).argv
        assert locate_system(section, elsewhere) == section
        monkeypatch.chdir(started)
    assert locate_system({"use": use, "model": "org/name", **extra}, started)["model"] == "org/name"
    for started_by in ({"url": "http://localhost:1"}, {"command": ["serve", "{port}"]}):
        named = {"use": "openai_server", "model": "models/m", **started_by}
        assert locate_system(named, started)["model"] == "models/m"  # the name that requests give


def test_a_program_is_named_by_its_path(tmp_path, monkeypatch):
    program = tmp_path / "vllm"
    program.symlink_to(sys.executable)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert build_system({"use": "vllm", "model": "m"}).deploy({}).argv[:2] == (str(program), "serve")


def test_variables_of_the_shell_that_a_launch_is_given_are_given_again_but_for_secrets():
    shell = {
        "HOME": "/h", "PATH": "/bin", "LD_LIBRARY_PATH": "/lib", "HF_HOME": "/hf", "HF_TOKEN": "hf_x",
        "HF_API_KEY": "k", "CUDA_VISIBLE_DEVICES": "3", "MINE": "m", "AUTOTUNE_PASS_ENV": "MINE",
    }  # fmt: skip
    assert inherited(shell) == {"LD_LIBRARY_PATH": "/lib", "HF_HOME": "/hf"}


def test_the_line_says_what_it_needs():
    found = Deployment(("p", "a b"), {"X": "1 2"}, "/some where", stdin="it's")
    assert found.words == ["env", "--chdir=/some where", "X=1 2", "p", "a b"]
    assert found.line == """echo 'it'"'"'s' | env '--chdir=/some where' 'X=1 2' p 'a b'"""
    assert replace(found, argv=()).words == []


def test_a_server_is_asked_as_its_first_answers_told():
    found = build_system({"use": "openai_server", "url": "http://localhost:1"}).deploy({"top_k": 4})
    facts = {
        "served_model": "m", "path": "/v1/chat/completions", "omitted": ["temperature"],
        "request_changes": ["max_completion_tokens in place of max_tokens: HTTP 400: no"],
    }  # fmt: skip
    asked = replace(found, endpoint=as_measured(found.endpoint, facts))
    message = {"role": "user", "content": "The quick brown fox"}
    assert json.loads(shlex.split(asked.ask)[-1]) == {
        "model": "m", "messages": [message], "max_completion_tokens": 32, "top_k": 4,
    }  # fmt: skip
    assert "/v1/chat/completions" in asked.ask
    assert asked.request == {"top_k": 4}
    assert as_measured(found.endpoint, {}) == found.endpoint
