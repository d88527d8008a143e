"""TensorRT-LLM: ``trtllm-serve``."""

from __future__ import annotations

from typing import Any, ClassVar

from autotune.core.trial import Config
from autotune.systems.container import Image
from autotune.systems.served.launch import Launch
from autotune.systems.served.system import ServedSystem


class TensorRTLLMSystem(ServedSystem):
    """TensorRT-LLM as a server."""

    name: ClassVar[str] = "tensorrt_llm"
    own_program: ClassVar[tuple[str, ...]] = ("trtllm-serve",)
    package: ClassVar[str] = "tensorrt_llm"
    image: ClassVar[Image] = Image("nvcr.io/nvidia/tensorrt-llm/release", ("trtllm-serve",), newest="")
    asked: ClassVar[Launch] = Launch("", prometheus="/metrics")
    exact: ClassVar[dict[str, Any]] = {"ignore_eos": True, "min_tokens": "{max_tokens}"}
    env_names: ClassVar[tuple[str, ...]] = ("TRTLLM_*", "TLLM_*", "OMPI_*", "UCX_*")
    aliases: ClassVar[dict[str, str]] = {
        "tensor_parallel": "tensor_parallel_size",
        "pipeline_parallel": "pipeline_parallel_size",
        "expert_parallel": "moe_expert_parallel_size",
    }
    gpus: ClassVar[tuple[str, ...]] = ("tensor_parallel", "pipeline_parallel")

    def rules(self, config: Config) -> str:
        """Name combinations that TensorRT-LLM refuses."""
        experts, ranks = int(config.get("expert_parallel", 1)), int(config.get("tensor_parallel", 1))
        return f"expert_parallel {experts} does not divide tensor_parallel {ranks}" if ranks % experts else ""
