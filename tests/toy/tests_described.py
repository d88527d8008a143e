"""Machines and models that are described, for tests of what ``init`` makes of them."""

import json
import struct
from dataclasses import replace

from autotune.init.installed import Installed
from autotune.init.machine import GIB, Gpu, Machine
from autotune.init.model import GGUF, SAFETENSORS, ModelCard

SERVERS = (
    Installed("transformers", "5.23.0"),
    Installed("vllm", "0.32.0", on_cpu=False),
    Installed("sglang", "0.5.23", on_cpu=False),
    Installed("llama_cpp", "0.5.0"),
    Installed("tensorrt_llm", "1.2.0", on_cpu=False),
    Installed("openvino", "2026.4.1", ("/opt/openvino/bin/python",)),
    Installed("ollama", "0.33.0"),
)
H100 = Gpu("NVIDIA H100 80GB HBM3", 80 * GIB, 9.0)
MACHINES = {
    "1xh100": Machine("Xeon 8480C", 26, 26, 220 * GIB, (H100,), installed=SERVERS),
    "8xh200": Machine(
        "Xeon 8592", 192, 96, 2000 * GIB, (Gpu("NVIDIA H200", 141 * GIB, 9.0),) * 8, 2, installed=SERVERS
    ),
    "24gb": Machine(
        "Ryzen 9 7950X", 32, 16, 64 * GIB, (Gpu("NVIDIA GeForce RTX 3090", 24 * GIB, 8.6),), installed=SERVERS
    ),
    "laptop": Machine("Core i7-1165G7", 8, 4, 16 * GIB, installed=SERVERS),
}
CARDS = {
    "8b": ModelCard(
        "Qwen/Qwen3-8B",
        "Qwen/Qwen3-8B",
        SAFETENSORS,
        "Qwen3ForCausalLM",
        36,
        32,
        8,
        4096,
        2 * 8 * 128,
        151936,
        40960,
        8190735360,
        16381470720,
    ),
    "70b": ModelCard(
        "meta-llama/Llama-3.1-70B",
        "meta-llama/Llama-3.1-70B",
        SAFETENSORS,
        "LlamaForCausalLM",
        80,
        64,
        8,
        8192,
        2 * 8 * 128,
        128256,
        131072,
        70553706496,
        141107412992,
    ),
    "moe": ModelCard(
        "Qwen/Qwen3-30B-A3B",
        "Qwen/Qwen3-30B-A3B",
        SAFETENSORS,
        "Qwen3MoeForCausalLM",
        48,
        32,
        4,
        2048,
        2 * 4 * 128,
        151936,
        40960,
        30532122624,
        61064245248,
        experts=128,
    ),
    "gguf": ModelCard(
        "/models/qwen3-4b-{quantization}.gguf",
        "qwen3-4b-Q4_K_M.gguf",
        GGUF,
        "qwen3",
        36,
        32,
        8,
        2560,
        2 * 8 * 128,
        151936,
        40960,
        4022468096,
        2497280256,
        5.0,
        "Q4_K_M (5.0 bits)",
        choices=(("Q4_K_M", 2497280256), ("Q8_0", 4280404704)),
        choice="Q4_K_M",
    ),
    "small": ModelCard(
        "Qwen/Qwen3-0.6B",
        "Qwen/Qwen3-0.6B",
        SAFETENSORS,
        "Qwen3ForCausalLM",
        28,
        16,
        8,
        1024,
        2 * 8 * 128,
        151936,
        40960,
        596049920,
        1192099840,
    ),
}
CARDS["awq"] = replace(
    CARDS["8b"],
    model="Qwen/Qwen3-8B-AWQ",
    title="Qwen/Qwen3-8B-AWQ",
    stored=6100000000,
    bits=4.0,
    quantization="awq 4 bits",
)
CARDS["ollama"] = replace(CARDS["gguf"], model="qwen3:4b", title="qwen3:4b", choices=(), choice="")


def write_config(folder, weights=True, **values):
    """Write a small model's ``config.json``, and weights of the size that it says."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "vocab_size": 256,
        "max_position_embeddings": 4096,
        "torch_dtype": "bfloat16",
        **values,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))
    if weights:
        (folder / "model.safetensors").write_bytes(b"\0" * 200_000)
    return folder


def text(value):
    """Return a text as GGUF stores it."""
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def gguf_bytes(values=None, tensors=((64, 64),), keys=None, version=3, magic=b"GGUF"):
    """Return a GGUF file of metadata (numbers, texts, or bytes as they are) and tensors without weights."""
    if values is None:
        values = {
            "general.architecture": "llama",
            "llama.block_count": 2,
            "llama.embedding_length": 64,
            "llama.attention.head_count": 4,
            "llama.attention.head_count_kv": 2,
            "llama.context_length": 4096,
            "general.file_type": 1,
        }
    body = b""
    for key, value in values.items():
        body += text(key)
        if isinstance(value, bytes):
            body += value
        elif isinstance(value, str):
            body += struct.pack("<I", 8) + text(value)
        else:
            body += struct.pack("<IQ", 10, value)
    for i, shape in enumerate(tensors):
        body += text(f"t{i}") + struct.pack(f"<I{len(shape)}Q", len(shape), *shape) + struct.pack("<IQ", 1, 0)
    count = len(values) if keys is None else keys
    return magic + struct.pack("<IQQ", version, len(tensors), count) + body + b"\0" * 8192
