"""Write a Llama checkpoint as GGUF, the one file that llama.cpp, Ollama and OpenVINO GenAI load [GGUF]_.

Only what a plain Llama with a byte-level tokenizer needs: weights as ``F32``, ``F16`` or ``Q8_0``, the
vocabulary and merges of ``tokenizer.json``. numpy is all it takes, so that a model made here is served by
servers whose own converters would pull torch. Query and key rows are reordered: checkpoints rotate halves of
a head, GGUF's ``llama`` rotates neighbours.

.. [GGUF] https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from autotune.core.json_object import JsonObject
from autotune.errors import SpecError

TYPES = {"F32": 0, "F16": 1, "Q8_0": 8}
"""Types of the weights, by GGML's numbers; norms are always ``F32``."""

_FILE_TYPES = {"F32": 0, "F16": 1, "Q8_0": 7}
_ALIGNMENT = 32  # GGUF's default
_BLOCK = 32  # weights that share a scale in Q8_0
_DTYPES: dict[str, np.dtype[np.generic]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
_LAYER = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip
_WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}

Array = npt.NDArray[np.generic]


def write_gguf(model: Path, file: Path, kind: str = "F16") -> None:
    """Write the checkpoint in a folder as one GGUF file.

    Args:
        model: Folder with ``config.json``, ``model.safetensors`` and ``tokenizer.json``.
        file: File that is written; whoever sees it sees all of it.
        kind: One of :data:`TYPES`.

    Raises:
        SpecError: The model is no Llama, or the type is unknown.
    """
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") != "llama" or kind not in TYPES:
        found = config.get("model_type")
        raise SpecError(f"only a llama becomes GGUF here, as {', '.join(TYPES)}; found {found!r}, {kind!r}")
    values = {**_architecture(config, kind), **_tokenizer(model, int(config["vocab_size"]), config)}
    tensors = [(name, *_encoded(name, array, kind)) for name, array in _tensors(model, config)]
    draft = file.with_name(file.name + ".part")
    with draft.open("wb") as out:
        out.write(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(values)))
        for key, value in values.items():
            out.write(_text(key) + _value(value))
        offset = 0
        for name, shape, number, data in tensors:
            out.write(_text(name) + struct.pack("<I", len(shape)))
            out.write(struct.pack(f"<{len(shape)}Q", *reversed(shape)) + struct.pack("<IQ", number, offset))
            offset += len(data) + -len(data) % _ALIGNMENT
        _pad(out)
        for *_, data in tensors:
            out.write(data)
            _pad(out)
    draft.replace(file)


def _architecture(config: JsonObject, kind: str) -> dict[str, object]:
    heads = int(config["num_attention_heads"])
    width = int(config.get("head_dim") or config["hidden_size"] // heads)
    rope = config.get("rope_parameters") or {}
    return {
        "general.architecture": "llama",
        "general.name": "autotune",
        "general.file_type": np.uint32(_FILE_TYPES[kind]),
        "llama.context_length": np.uint32(config["max_position_embeddings"]),
        "llama.embedding_length": np.uint32(config["hidden_size"]),
        "llama.block_count": np.uint32(config["num_hidden_layers"]),
        "llama.feed_forward_length": np.uint32(config["intermediate_size"]),
        "llama.attention.head_count": np.uint32(heads),
        "llama.attention.head_count_kv": np.uint32(config.get("num_key_value_heads") or heads),
        "llama.attention.key_length": np.uint32(width),
        "llama.attention.value_length": np.uint32(width),
        "llama.attention.layer_norm_rms_epsilon": np.float32(config["rms_norm_eps"]),
        "llama.rope.dimension_count": np.uint32(width),
        "llama.rope.freq_base": np.float32(rope.get("rope_theta", config.get("rope_theta", 10000.0))),
        "llama.vocab_size": np.uint32(config["vocab_size"]),
    }


def _tokenizer(model: Path, size: int, config: JsonObject) -> dict[str, object]:
    """Return the vocabulary, filled up to the rows of the embedding with unused tokens."""
    data = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
    words = {int(number): word for word, number in data["model"]["vocab"].items()}
    words |= {int(item["id"]): item["content"] for item in data.get("added_tokens", [])}
    special = {int(item["id"]) for item in data.get("added_tokens", []) if item.get("special")}
    normal, control, unused = 1, 3, 5
    kinds = [control if i in special else normal if i in words else unused for i in range(size)]
    merges = [m if isinstance(m, str) else " ".join(m) for m in data["model"].get("merges", [])]
    found: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": [words.get(i, f"[unused{i}]") for i in range(size)],
        "tokenizer.ggml.token_type": np.array(kinds, dtype=np.int32),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.add_bos_token": False,
    }
    for ours, theirs in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        number = config.get(f"{ours}_token_id")
        if number is not None:
            found[f"tokenizer.ggml.{theirs}_token_id"] = np.uint32(number)
    return found


def _tensors(model: Path, config: JsonObject) -> Iterator[tuple[str, Array]]:
    heads = int(config["num_attention_heads"])
    rotated = {"attn_q": heads, "attn_k": int(config.get("num_key_value_heads") or heads)}
    for name, array in _safetensors(model / "model.safetensors"):
        stem = name.removesuffix(".weight")
        if stem in _WHOLE:
            yield f"{_WHOLE[stem]}.weight", array
            continue
        _, _, number, rest = stem.split(".", 3)  # model.layers.N.rest
        kind = _LAYER[rest]
        if kind in rotated:
            shape = (rotated[kind], 2, array.shape[0] // rotated[kind] // 2, *array.shape[1:])
            array = array.reshape(shape).swapaxes(1, 2).reshape(array.shape)  # noqa: PLW2901 - the same rows
        yield f"blk.{number}.{kind}.weight", array


def _safetensors(file: Path) -> Iterator[tuple[str, Array]]:
    """Yield every tensor of a safetensors file as float32."""
    data = file.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + position for position in entry["data_offsets"])
        raw = np.frombuffer(data[begin:end], dtype=_DTYPES[entry["dtype"]])
        if entry["dtype"] == "BF16":  # the upper half of a float32
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        yield name, raw.astype(np.float32).reshape(entry["shape"])


def _encoded(name: str, array: Array, kind: str) -> tuple[tuple[int, ...], int, bytes]:
    """Return a tensor's shape, GGML type and bytes."""
    if array.ndim == 1:
        kind = "F32"
    if kind == "Q8_0" and array.shape[-1] % _BLOCK:
        kind = "F16"  # rows that do not divide into blocks
    if kind == "Q8_0":
        return array.shape, TYPES[kind], _q8(array)
    return array.shape, TYPES[kind], array.astype(_DTYPES[kind]).tobytes()


def _q8(array: Array) -> bytes:
    """Return blocks of a half-precision scale and 32 signed bytes."""
    blocks = array.reshape(-1, _BLOCK)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / 127.0
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    packed = np.zeros(len(blocks), dtype=[("scale", "<f2"), ("values", "i1", (_BLOCK,))])
    packed["scale"] = scale[:, 0]
    packed["values"] = np.rint(blocks * inverse)
    return packed.tobytes()


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    """Return a typed value: numbers of GGUF's types 4 to 9."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, np.uint32):
        return struct.pack("<II", 4, int(value))
    if isinstance(value, np.float32):
        return struct.pack("<If", 6, float(value))
    if isinstance(value, np.ndarray):
        return struct.pack("<IIQ", 9, 5, len(value)) + value.astype("<i4").tobytes()
    return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(_text(word) for word in value)


def _pad(out: BinaryIO) -> None:
    out.write(b"\0" * (-out.tell() % _ALIGNMENT))
