"""What a model is, as its ``config.json`` or GGUF header says: sizes, heads, context, quantization.

What stands in these files is a stranger's: numbers are held to sensible ranges, and every text is cut and
made printable before it is shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotune.convert.json_text import LIST, parse_json
from autotune.convert.names import printable
from autotune.core.input_file import read_text, why
from autotune.core.units import format_quantity
from autotune.errors import EnvironmentProblem, SpecError
from autotune.init.gguf_header import GGUFHeader, read_header
from autotune.spec.yaml_text import Document, Path_
from autotune.systems.served.tiny import SHAPE, TINY
from autotune.systems.transformers.make_model import made_model

SAFETENSORS, GGUF, OPENVINO, ONNX, TRITON = "safetensors", "gguf", "openvino", "onnx", "triton"
"""Forms of a model: each is served by other systems. Triton's is a folder of its model repository."""

_MOST_CONFIG = 8 << 20
_MOST_SHOWN = 80
_BITS = {"float32": 32, "float16": 16, "bfloat16": 16, "float8_e4m3fn": 8, "float8_e5m2": 8}
_QUANTIZED_BITS = {
    "awq": 4,
    "gptq": 4,
    "mxfp4": 4,
    "nvfp4": 4,
    "fp8": 8,
    "fbgemm_fp8": 8,
    "eetq": 8,
    "bitsandbytes": 8,
}
_GENERATES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ForImageTextToText")
_GGUF_OTHERS = ("bert", "clip", "t5encoder", "wavtokenizer", "mmproj", "whisper", "diffusion", "flux", "sd")
_GGUF_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    32: "BF16",
}  # fmt: skip
_TAG = re.compile(r"(?<![A-Za-z0-9])(?:I?Q\d(?:_[A-Z0-9]+)*|BF16|F16|F32)(?![A-Za-z0-9])", re.IGNORECASE)
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_TINY_VOCABULARY, _TINY_CONTEXT = 288, 2048


@dataclass(frozen=True)
class ModelCard:
    """Sizes of a model that decide what fits and what may be split.

    Args:
        model: Text of ``system.model``: a path, a hub name, ``tiny``.
        title: Name for people.
        form: Form of its files.
        architecture: Name of it, as the file says.
        layers: Transformer layers; 0 where it is not known, as with the numbers below.
        heads: Attention heads.
        kv_heads: Heads of keys and values.
        hidden: Width of the residual stream.
        kv_width: Numbers that one token leaves in the cache of one layer, keys and values together.
        vocabulary: Tokens that it knows.
        context: Longest sequence.
        parameters: Number of weights.
        stored: Bytes of the weights as they are stored.
        bits: Bits of a weight as it is stored, on average.
        quantization: Method and bits, such as ``awq 4 bits``; empty where the weights are not quantized.
        experts: Experts of each layer; 0 for a dense model.
        choices: Tag and bytes of each file that holds the same model with other bits, GGUF only.
        choice: Tag of the file that was named, where there are several.
        present: Whether the weights are on this machine.
        notes: Remarks that are worth a line in a study file.
    """

    model: str
    title: str
    form: str
    architecture: str = ""
    layers: int = 0
    heads: int = 0
    kv_heads: int = 0
    hidden: int = 0
    kv_width: int = 0
    vocabulary: int = 0
    context: int = 0
    parameters: int = 0
    stored: int = 0
    bits: float = 16.0
    quantization: str = ""
    experts: int = 0
    choices: tuple[tuple[str, int], ...] = ()
    choice: str = ""
    present: bool = True
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        count = f"{format_count(self.parameters)} parameters" if self.parameters else ""
        heads = f"{self.heads} heads" if self.heads else ""
        if self.kv_heads and self.kv_heads != self.heads:
            heads += f" ({self.kv_heads} of keys and values)"
        parts = [
            self.architecture,
            count,
            f"{self.layers} layers" if self.layers else "",
            heads,
            f"{self.experts} experts" if self.experts else "",
            self.quantization or (f"{self.bits:.3g} bits" if self.parameters else ""),
            f"{format_quantity(self.stored, 'B')} of weights" if self.stored else "",
            f"context {self.context:,}" if self.context else "",
        ]
        return ", ".join(part for part in parts if part)


def format_count(number: float) -> str:
    """Return a number of weights as people say it: ``8.19 B``, ``494 M``."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.0f}"


def tiny_card() -> ModelCard:
    """Return the card of the small model that is trained here."""
    attention = 4 * SHAPE.hidden**2
    layer = attention + 3 * SHAPE.hidden * SHAPE.intermediate
    weights = SHAPE.layers * layer + 2 * _TINY_VOCABULARY * SHAPE.hidden
    return ModelCard(
        TINY, TINY, TINY, "LlamaForCausalLM", SHAPE.layers, SHAPE.heads, SHAPE.heads, SHAPE.hidden,
        2 * SHAPE.hidden, _TINY_VOCABULARY, _TINY_CONTEXT, weights, 2 * weights,
        present=made_model().target.exists(),
        notes=("a small model that is trained on this machine once, in about a minute, and kept",),
    )  # fmt: skip


def card_of_file(path: Path, model: str = "", title: str = "") -> ModelCard:
    """Return the card of a GGUF file, with the files beside it that hold the same model with other bits.

    Args:
        path: The file, or the first part of one that is split.
        model: Text of ``system.model``; the path by default.
        title: Name for people; the file's by default.

    Raises:
        SpecError: It is damaged, or a model that generates no text.
        EnvironmentProblem: It cannot be read.
    """
    header = read_header(path)
    architecture = header.text("general.architecture")
    if not architecture:
        raise SpecError(f"{path}: the header names no general.architecture")
    kind = header.text("general.type") or "model"
    if any(word in architecture.lower().split("-") or word == architecture for word in _GGUF_OTHERS) or (
        kind not in ("model", "")
    ):
        found = f"{cut(architecture)} {cut(kind)}".strip()
        raise SpecError(
            f"{path}: a {found} generates no text by itself", hint="name the language model's file"
        )
    title = title or path.name
    if _TAG.search(path.name) and not model and not _PART.search(path.name):
        model, choices, choice = _other_bits(path)
    else:
        model, choices, choice = model or str(path), (), ""
    stored = _all_parts(path, header)
    heads = _gguf_number(header, "attention.head_count", path)
    kv_heads = _gguf_number(header, "attention.head_count_kv", path) or heads
    hidden = _gguf_number(header, "embedding_length", path)
    width = _gguf_number(header, "attention.key_length", path) or (hidden // heads if heads else 0)
    kind = _GGUF_TYPES.get(header.number("general.file_type") or 0, "")
    bits = 8 * stored / header.parameters if header.parameters and stored == header.size else 16.0
    plain = kind in ("F16", "BF16", "F32")
    return ModelCard(
        model=model,
        title=title,
        form=GGUF,
        architecture=cut(architecture),
        layers=_gguf_number(header, "block_count", path),
        heads=heads,
        kv_heads=kv_heads,
        hidden=hidden,
        kv_width=2 * kv_heads * width,
        vocabulary=header.lengths.get("tokenizer.ggml.tokens", 0),
        context=_gguf_number(header, "context_length", path),
        parameters=header.parameters,
        stored=stored,
        bits=bits,
        quantization="" if plain else f"{kind or 'quantized'} ({bits:.1f} bits)",
        experts=_gguf_number(header, "expert_count", path),
        choices=choices,
        choice=choice,
    )


def _gguf_number(header: GGUFHeader, name: str, path: Path) -> int:
    """Return a size of the architecture; 0 where there is none, or one for each layer."""
    key = f"{header.text('general.architecture')}.{name}"
    found = header.number(key)
    if key in header.values and (found is None or not 0 <= found <= _MOST_SIZE):
        value = header.values[key]
        raise SpecError(f"{path}: {cut(key)} must be a whole number up to {_MOST_SIZE:,}, found {value!r}")
    return found or 0


def _all_parts(path: Path, header: GGUFHeader) -> int:
    """Return the bytes of a file with all the parts that it is split into.

    Raises:
        EnvironmentProblem: A part is missing.
    """
    match = _PART.search(path.name)
    if match is None:
        return header.size
    count = int(match[2])
    parts = [
        path.with_name(f"{path.name[: match.start()]}-{n:05d}-of-{match[2]}.gguf")
        for n in range(1, count + 1)
    ]
    absent = [part for part in parts if not part.is_file()]
    if absent:
        raise EnvironmentProblem(
            f"{path}: {len(absent)} of {count} parts are missing, first {absent[0].name}"
        )
    return sum(part.stat().st_size for part in parts)


def _other_bits(path: Path) -> tuple[str, tuple[tuple[str, int], ...], str]:
    """Return the model with a hole for the bits, the files beside it that fill the hole, and its own bits."""
    tag = [*_TAG.finditer(path.name)][-1]
    head, tail = path.name[: tag.start()], path.name[tag.end() :]
    found = [(tag[0], path.stat().st_size)]
    for file in sorted(path.parent.iterdir()):
        middle = file.name[len(head) : len(file.name) - len(tail)]
        fits = file.name == head + middle + tail and file != path and _TAG.fullmatch(middle)
        if fits and file.is_file() and file.stat().st_size > 0:
            with file.open("rb") as opened:
                if opened.read(4) == b"GGUF":
                    found.append((middle, file.stat().st_size))
    if len(found) == 1 or "{" in str(path):
        return str(path), (), ""
    found.sort(key=lambda item: item[1])
    return str(path.with_name(f"{head}{{quantization}}{tail}")), tuple(found), tag[0]


def card_of_config(
    config: Path, model: str, title: str, weights: Sequence[Path], *, present: bool = True
) -> ModelCard:
    """Return the card of a checkpoint of the Hugging Face form.

    Args:
        config: Its ``config.json``.
        model: Text of ``system.model``.
        title: Name for people.
        weights: Files of the weights; those that are missing are downloaded by the engine.
        present: Whether they are all there.

    Raises:
        SpecError: A value is wrong (``file:line:column``), or it is a model that generates no text.
        EnvironmentProblem: It cannot be read.
    """
    document = _read_config(config)
    _refuse_others(document, config)
    inner: Path_ = next(
        ((key,) for key in ("text_config", "llm_config", "language_config")
         if isinstance(document.data.get(key), Mapping)), (),
    )  # fmt: skip
    read = _Numbers(document, inner)
    layers = read.whole("num_hidden_layers", "n_layer", "num_layers", "n_layers")
    heads = read.whole("num_attention_heads", "n_head", "n_heads", least=0)
    hidden = read.whole("hidden_size", "n_embd", "d_model")
    kv_heads = read.whole("num_key_value_heads", "num_kv_heads", "multi_query_group_num", least=0) or heads
    width = read.whole("head_dim", least=0) or (hidden // heads if heads else 0)
    latent = read.whole("kv_lora_rank", least=0)  # DeepSeek: one compressed vector for keys and values
    kv_width = latent + read.whole("qk_rope_head_dim", least=0) if latent else 2 * kv_heads * width
    experts = read.whole("num_local_experts", "num_experts", "n_routed_experts", least=0)
    counted = _count_weights(read, layers, heads, kv_heads, hidden, width, experts)
    quantization, bits = _quantization(document, inner)
    stored = sum(file.stat().st_size for file in weights) if present else 0
    if not quantization:
        bits = read.bits()
        if stored and (not counted or 0.8 <= stored * 8 / bits / counted <= 1.25):
            counted = int(stored * 8 / bits)
    notes = (
        ["it reads images too: the load here is text alone"]
        if inner or "vision_config" in document.data
        else []
    )
    if not present:
        notes.append("its weights are not on this machine yet: the first launch downloads them")
    return ModelCard(
        model=model,
        title=title,
        form=SAFETENSORS,
        architecture=_architecture(document),
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        hidden=hidden,
        kv_width=kv_width,
        vocabulary=read.whole("vocab_size", least=0),
        context=read.whole("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", least=0),
        parameters=counted,
        stored=stored or int(counted * bits / 8),
        bits=bits,
        quantization=quantization,
        experts=experts,
        present=present,
        notes=tuple(notes),
    )


_MOST_SIZE = 1 << 30


class _Numbers:
    """Whole numbers of a configuration, by any of the names that families of models give them."""

    def __init__(self, document: Document, inner: Path_) -> None:
        self.document = document
        self.places: list[Path_] = [inner, ()] if inner else [()]

    def find(self, *names: str) -> tuple[Path_, object]:
        for place in self.places:
            data: Any = self.document.data
            for key in place:
                data = data[str(key)]
            for name in names:
                if data.get(name) is not None:
                    return (*place, name), data[name]
        return (names[0],), None

    def whole(self, *names: str, least: int = 1) -> int:
        """Return a number; 0 where it is missing and may be.

        Raises:
            SpecError: It is missing and needed, or no whole number in a sensible range; located.
        """
        path, found = self.find(*names)
        if found is None and least == 0:
            return 0
        if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= _MOST_SIZE:
            said = "it is missing" if found is None else f"found {shown(found)}"
            text = f"{names[0]} must be a whole number from {least} to {_MOST_SIZE:,}, {said}"
            raise self.document.locate(SpecError(text, path=path))
        return found

    def bits(self) -> float:
        """Return the bits of a weight by its dtype; 16 where none is said."""
        _, found = self.find("dtype", "torch_dtype")
        return float(_BITS.get(str(found).removeprefix("torch."), 16))


def _count_weights(
    read: _Numbers, layers: int, heads: int, kv_heads: int, hidden: int, width: int, experts: int
) -> int:
    """Return the number of weights by the arithmetic of a transformer; 0 where sizes are missing.

    Formula: layers x (attention + feed-forward of all experts) + embeddings, once where they are tied.
    """
    inner = read.whole("intermediate_size", "n_inner", "ffn_hidden_size", least=0) or 4 * hidden
    if not heads:
        return 0
    attention = 2 * hidden * heads * width + 2 * hidden * kv_heads * width
    one = read.whole("moe_intermediate_size", least=0) or inner
    shared = read.whole("n_shared_experts", least=0)
    feed_forward = 3 * hidden * (one * (experts + shared) if experts else inner)
    _, tied = read.find("tie_word_embeddings")
    embeddings = read.whole("vocab_size", least=0) * hidden * (1 if tied is True else 2)
    return layers * (attention + feed_forward) + embeddings


def _read_config(path: Path) -> Document:
    try:
        text = read_text(path, _MOST_CONFIG)
    except OSError as error:
        raise EnvironmentProblem(f"{path}: cannot be read: {why(error)}") from None
    except ValueError as error:
        raise SpecError(f"{path}: {why(error)}") from None
    document = parse_json(text, str(path))
    if LIST in document.data:
        raise SpecError(f"{path}: a model's configuration must be a mapping, found a list")
    return document


def _architecture(document: Document) -> str:
    found = document.data.get("architectures")
    first = found[0] if isinstance(found, list) and found else document.data.get("model_type")
    return cut(first) if isinstance(first, str) else "unknown architecture"


def _refuse_others(document: Document, path: Path) -> None:
    """Refuse models that generate no text, and encoder-decoders, which no system here is measured with."""
    name = _architecture(document)
    classes = document.data.get("auto_map")
    generates = isinstance(classes, Mapping) and "AutoModelForCausalLM" in classes
    known = isinstance(document.data.get("architectures"), list) and bool(document.data["architectures"])
    if document.data.get("is_encoder_decoder") is True:
        raise SpecError(f"{path}: {name} is an encoder-decoder (translation, speech); these systems serve "
                        "models that continue a text")  # fmt: skip
    if known and not generates and not name.endswith(_GENERATES):
        raise SpecError(
            f"{path}: {name} generates no text: it embeds, classifies or sees",
            hint=f"a model that continues a text ends in one of: {', '.join(_GENERATES)}",
        )


def _quantization(document: Document, inner: Path_) -> tuple[str, float]:
    """Return method and bits of a checkpoint that is quantized; an empty method where it is not."""
    found = document.data.get("quantization_config")
    for key in inner:
        found = found or document.data[str(key)].get("quantization_config")
    if not isinstance(found, Mapping):
        return "", 16.0
    method = found.get("quant_method")
    method = cut(method) if isinstance(method, str) else "quantized"
    bits = _first_bits(found, 0) or _QUANTIZED_BITS.get(method, 8)
    if found.get("load_in_4bit") is True:
        bits = 4
    return f"{method} {bits} bits", float(bits)


def _first_bits(data: Mapping[str, object], depth: int) -> int:
    for name in ("bits", "w_bit", "num_bits", "weight_bits"):
        value = data.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 16:
            return value
    for key in ("config_groups", "group_0", "weights"):
        value = data.get(key)
        if isinstance(value, Mapping) and depth < 3 and (bits := _first_bits(value, depth + 1)):
            return bits
    return 0


def cut(text: object) -> str:
    """Return a text of a stranger's file in one printable line of sensible length."""
    found = printable(str(text))
    return found if len(found) <= _MOST_SHOWN else f"{found[:_MOST_SHOWN]}..."


def shown(value: object) -> str:
    """Return a value of a stranger's file for a message."""
    return cut(repr(value))
