"""Every system keeps the contract, and none is left out."""

# ruff: noqa: RUF012 - the contract declares the class variables
import sys

import pytest

from autotune.core.measured_table import write_table
from autotune.systems.registry import SYSTEMS
from autotune.testing.system_contract import SystemContract


class TestTransformers(SystemContract):
    section = {"use": "transformers", "model": "/models/m"}
    configs = ({"threads": 1}, {"threads": 2}, {"quantization_bits": 8})
    alike = ({"batch_size": 1}, {"batch_size": 8})


class TestVLLM(SystemContract):
    section = {"use": "vllm", "model": "m"}
    configs = ({"max_num_seqs": 8}, {"max_num_seqs": 16}, {"tensor_parallel": 2})


class TestSGLang(SystemContract):
    section = {"use": "sglang", "model": "m"}
    configs = ({"max_running_requests": 8}, {"max_running_requests": 16})


class TestLlamaCpp(SystemContract):
    section = {"use": "llama_cpp", "model": "m.gguf", "draft_model": "d.gguf"}
    configs = ({"parallel": 2}, {"parallel": 4}, {"draft_length": 2})


class TestLlamaCppPython(SystemContract):
    section = {"use": "llama_cpp", "model": "m.gguf", "program": "python3"}
    configs = ({"batch_size": 64}, {"batch_size": 128}, {"draft_length": 2})


class TestTensorRTLLM(SystemContract):
    section = {"use": "tensorrt_llm", "model": "m"}
    configs = ({"max_batch_size": 8}, {"max_batch_size": 16})


class TestOpenVINO(SystemContract):
    section = {"use": "openvino", "model": "m.gguf", "draft_model": "d.gguf", "program": "python3"}
    configs = ({"max_num_seqs": 8}, {"max_num_seqs": 16}, {"draft_length": 2})
    alike = ({"draft_length": 2}, {"draft_length": 4})


class TestOVMS(SystemContract):
    section = {"use": "openvino", "model": "m"}
    configs = ({"max_num_seqs": 8}, {"max_num_seqs": 16})


class TestONNXRuntime(SystemContract):
    section = {"use": "onnxruntime", "model": "m"}
    configs = ({"intra_op_num_threads": 1}, {"intra_op_num_threads": 2})


class TestTriton(SystemContract):
    section = {"use": "triton", "model": "m"}
    configs = ({"instance_count": 1}, {"instance_count": 2})


class TestOllama(SystemContract):
    section = {"use": "ollama", "model": "m"}
    configs = ({"num_parallel": 1}, {"num_parallel": 2})


class TestTransformersServe(SystemContract):
    section = {"use": "transformers_serve", "model": "m"}
    configs = ({"attn_implementation": "sdpa"}, {"attn_implementation": "eager"})


class TestOpenAIServer(SystemContract):
    section = {
        "use": "openai_server", "command": ["serve", "--port", "{port}", "--n", "{n}"], "request": ["top_k"],
    }  # fmt: skip
    configs = ({"n": 1}, {"n": 2}, {})
    alike = ({"n": 1, "top_k": 1}, {"n": 1, "top_k": 2})


class TestCommand(SystemContract):
    section = {"use": "command", "argv": [sys.executable, "-c", "print(1)", "{n}"]}
    configs = ({"n": 1}, {"n": 2})


class TestFunction(SystemContract):
    section = {"use": "function", "call": "module:function"}
    configs = ({"n": 1}, {"n": 2})


class TestRayTune(SystemContract):
    section = {"use": "ray_tune", "trainable": "module:train", "config": {"model": {"lr": "{lr}"}}}
    configs = ({"lr": 1}, {"lr": 2})


class TestReplay(SystemContract):
    configs = ({"a": 1}, {"a": 2})

    @pytest.fixture(autouse=True)
    def table(self, tmp_path):
        from autotune.core.measured_table import MeasuredRow, MeasuredTable
        from autotune.core.measurement import Estimate
        from autotune.core.space import Space

        space = Space.from_dict({"parameters": {"a": {"type": "ordinal", "values": [1, 2]}}})
        rows = tuple(MeasuredRow({"a": n}, {"speed": Estimate(n, 0.1, 2, "1")}, None, 1, {}) for n in (1, 2))
        write_table(tmp_path / "t.csv", MeasuredTable("t", "t", space, {"maximize": "speed"}, rows, {}))
        type(self).section = {"use": "replay", "table": str(tmp_path / "t.csv")}


def test_no_system_is_left_out():
    tested = {kind.section["use"] for kind in SystemContract.__subclasses__() if hasattr(kind, "section")}
    assert tested | {"replay", "toy"} == {"toy", *SYSTEMS.names()}
