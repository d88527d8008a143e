"""What a model is: sizes, heads, context and quantization, whatever its files are.

What stands in these files is a stranger's: numbers are held to sensible ranges, and every text is cut and
made printable before it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from autotune.convert.names import printable
from autotune.core.units import format_quantity
from autotune.systems.served.tiny import SHAPE, TINY
from autotune.systems.transformers.make_model import made_model

SAFETENSORS, GGUF, OPENVINO, ONNX, TRITON = "safetensors", "gguf", "openvino", "onnx", "triton"
"""Forms of a model: each is served by other systems. Triton's is a folder of its model repository."""

MOST_SIZE = 1 << 30
"""Largest size, such as a number of heads, that is believed."""

_MOST_SHOWN = 80
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


def cut(text: object) -> str:
    """Return a text of a stranger's file in one printable line of sensible length."""
    found = printable(str(text))
    return found if len(found) <= _MOST_SHOWN else f"{found[:_MOST_SHOWN]}..."


def shown(value: object) -> str:
    """Return a value of a stranger's file for a message."""
    return cut(repr(value))
