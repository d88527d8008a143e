"""A model as its GGUF file describes it, with the files beside it that hold it with other bits."""

from __future__ import annotations

import re
from pathlib import Path

from autotune.errors import EnvironmentProblem, SpecError
from autotune.init.gguf_header import GGUFHeader, begins_as_gguf, read_header
from autotune.init.model import GGUF, MOST_SIZE, ModelCard, cut

_GGUF_OTHERS = ("bert", "clip", "t5encoder", "wavtokenizer", "mmproj", "whisper", "diffusion", "flux", "sd")
_GGUF_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    32: "BF16",
}  # fmt: skip
_TAG = re.compile(r"(?<![A-Za-z0-9])(?:I?Q\d(?:_[A-Z0-9]+)*|BF16|F16|F32)(?![A-Za-z0-9])", re.IGNORECASE)
PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")


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
    if _TAG.search(path.name) and not model and not PART.search(path.name):
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
    if key in header.values and (found is None or not 0 <= found <= MOST_SIZE):
        value = header.values[key]
        raise SpecError(f"{path}: {cut(key)} must be a whole number up to {MOST_SIZE:,}, found {value!r}")
    return found or 0


def _all_parts(path: Path, header: GGUFHeader) -> int:
    """Return the bytes of a file with all the parts that it is split into.

    Raises:
        EnvironmentProblem: A part is missing.
    """
    match = PART.search(path.name)
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
        if fits and file.is_file() and begins_as_gguf(file):
            found.append((middle, file.stat().st_size))
    if len(found) == 1 or "{" in str(path):
        return str(path), (), ""
    found.sort(key=lambda item: item[1])
    return str(path.with_name(f"{head}{{quantization}}{tail}")), tuple(found), tag[0]
