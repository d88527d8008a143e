"""Names of the systems; adding one is a module, a line here, a YAML file and golden commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.core.registry import Registry
from autotune.errors import SpecError
from autotune.systems.base import System

SYSTEMS = Registry(
    "system",
    "autotune.systems",
    {
        "transformers": "autotune.systems.transformers.system:TransformersSystem",
        "vllm": "autotune.systems.vllm:VLLMSystem",
        "sglang": "autotune.systems.sglang:SGLangSystem",
        "llama_cpp": "autotune.systems.llama_cpp:LlamaCppSystem",
        "tensorrt_llm": "autotune.systems.tensorrt_llm:TensorRTLLMSystem",
        "openvino": "autotune.systems.openvino:OpenVINOSystem",
        "onnxruntime": "autotune.systems.onnxruntime:ONNXRuntimeSystem",
        "triton": "autotune.systems.triton:TritonSystem",
        "ollama": "autotune.systems.ollama:OllamaSystem",
    },
)


def build_system(section: Mapping[str, Any]) -> System:
    """Build the system that a study file's ``system`` section describes.

    Raises:
        SpecError: The name or a key is wrong; ``path`` is relative to the section.
    """
    data = dict(section)
    name = data.pop("use", None)
    if not isinstance(name, str):
        raise SpecError(f"a system section needs 'use'; allowed: {', '.join(SYSTEMS.names())}")
    try:
        kind = SYSTEMS.load(name)
    except SpecError as error:
        raise SpecError(error.message, path=("use",), hint=error.hint) from None
    system: System = kind.from_dict(data)
    return system
