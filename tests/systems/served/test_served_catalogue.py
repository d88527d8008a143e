"""Every shipped space is loaded, counted, sampled and turned into command lines; every flag exists."""

from pathlib import Path

import numpy as np
import pytest

from autotune import load_objective
from autotune.spec.catalogue import entries, find, names
from autotune.systems.base import launched_config
from autotune.systems.deployment import deployment
from autotune.systems.served.system import ServedSystem
from tests_catalogue import read_space
from tests_shared import anywhere

GOLDEN = Path(__file__).parent / "golden"
SPACES = names("search_spaces")


def test_the_catalogue_has_what_people_come_for():
    assert set(SPACES) >= {
        "vllm", "sglang", "llama_cpp", "tensorrt_llm", "transformers", "openvino", "onnxruntime", "triton",
        "ollama", "cpu_inference", "speculative_decoding", "quantization", "kv_cache", "moe",
        "inference_time_compute",
    }  # fmt: skip
    assert set(names("objectives")) == {
        "latency", "throughput", "goodput", "cost", "energy", "latency_throughput", "quality_guarded",
        "effectiveness_efficiency",
    }  # fmt: skip
    for kind in ("search_spaces", "objectives"):
        for line in entries(kind).values():
            assert 20 < len(line) <= 51  # one line of `autotune list` at 80 columns


@pytest.mark.parametrize("name", SPACES)
def test_a_space_is_counted_sampled_and_turned_into_commands(name, request, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")  # where the small model would lie: part of its command
    monkeypatch.setenv("PATH", "/nowhere")  # programs that are here are named by their paths
    monkeypatch.delenv("PYTHONPATH")
    space, system = read_space(name)
    assert space.count().value > 100
    sample = space.sample(50, np.random.default_rng(0))
    assert len(sample) == 50
    for parameter in space:
        assert parameter.description, parameter.name
        assert parameter.default is not None, parameter.name
    if system is None:
        return
    lines = []
    for i, config in enumerate([space.default_config, *sample]):
        values = launched_config(system, config, space.derived)
        assert system.check(values) is None, (config, system.check(values))
        deployed = deployment(system, config, space.derived)
        assert all(isinstance(word, str) and word for word in deployed.words)
        if i < 4:
            lines.append(deployed.line)
            lines += [f"{file}:\n{text}" for file, text in deployed.files.items()]
    golden = GOLDEN / f"{name}.txt"
    found = anywhere("\n".join(lines) + "\n")
    if not golden.exists() and request.config.getoption("--write-golden"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(found)
    assert found == golden.read_text()


@pytest.mark.parametrize("name", SPACES)
def test_defaults_are_the_servers_own_or_say_why_not(name):
    space, system = read_space(name)
    if not isinstance(system, ServedSystem):
        return
    flags = system.table.flags
    for parameter in space:
        flag = flags.get(system.aliases.get(parameter.name, parameter.name))
        if flag is None or flag.default is None or str(flag.default) == str(parameter.default):
            continue
        assert "the server's" in parameter.description, (parameter.name, flag.default)


def test_configurations_of_parallel_systems_say_how_many_gpus_they_need():
    _, vllm = read_space("vllm")
    assert vllm.resources({"tensor_parallel": 4, "pipeline_parallel": 2})["gpus"] == 8
    _, llama = read_space("cpu_inference")
    assert llama.resources({"threads": 16}) == {"cpus": 16.0}


@pytest.mark.parametrize("name", names("objectives"))
def test_an_objective_is_read_and_written(name):
    objective = load_objective(find("objectives", name))
    assert type(objective).from_dict(objective.to_dict()) == objective
    assert objective.goals
