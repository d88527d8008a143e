"""A model as the ``config.json`` of a checkpoint of the Hugging Face form describes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autotune.convert.json_text import LIST, parse_json
from autotune.core.input_file import read_text, why
from autotune.errors import EnvironmentProblem, SpecError
from autotune.init.model import MOST_SIZE, SAFETENSORS, ModelCard, cut, shown
from autotune.spec.yaml_text import Document, Path_

_MOST_CONFIG = 8 << 20
_BITS = {"float32": 32, "float16": 16, "bfloat16": 16, "float8_e4m3fn": 8, "float8_e5m2": 8}
_OF_FOUR_BITS = ("awq", "gptq", "mxfp4", "nvfp4")
_GENERATES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ForImageTextToText")


def card_of_config(
    config: Path, model: str, title: str, weights: Sequence[Path], *, present: bool = True
) -> ModelCard:
    """Return the card of a checkpoint of the Hugging Face form.

    Args:
        config: Its ``config.json``.
        model: Text of ``system.model``.
        title: Name for people.
        weights: Files of the weights; those that are missing are downloaded by the server.
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
        if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= MOST_SIZE:
            said = "it is missing" if found is None else f"found {shown(found)}"
            text = f"{names[0]} must be a whole number from {least} to {MOST_SIZE:,}, {said}"
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
    bits = _first_bits(found, 0) or (4 if method in _OF_FOUR_BITS else 8)
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
