"""Train a small byte-level Llama and a smaller draft on text that ships with Python, in about a minute.

Acceptance rates of drafting and the loss from quantization mean something only for weights that have learned
something; where no model can be downloaded, these are made and cached. The text is Python's own help topics
(``pydoc_data.topics``); its end is held out for perplexity.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

HELD_OUT = "held_out.txt"
_HELD_OUT_BYTES = 16_384
_CONTEXT = 2048  # positions the model is configured for; rotary positions need no training of their own


@dataclass(frozen=True)
class Shape:
    """The size of one model and its training."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    steps: int
    batch: int
    sequence: int
    learning_rate: float


# Deep and narrow against shallow: the time of a decoding step grows with the number of layers, so that the
# draft is several times faster. Dimensions divide by 2 ranks and by quantization groups of 32.
TARGET = Shape(
    hidden=192, layers=6, heads=8, intermediate=384, steps=230, batch=8, sequence=128, learning_rate=4e-3
)
DRAFT = Shape(
    hidden=128, layers=1, heads=4, intermediate=256, steps=500, batch=8, sequence=128, learning_rate=6e-3
)


@dataclass(frozen=True)
class ModelPaths:
    """Folders of the two models; the held-out text lies in the target's."""

    target: Path
    draft: Path


def cache_folder() -> Path:
    """Return the user's cache folder for what is made once."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "autotune"


def made_model(
    folder: Path | None = None, *, seed: int = 0, target: Shape = TARGET, draft: Shape = DRAFT
) -> ModelPaths:
    """Return where :func:`make_model` keeps the pair, whether it is made or not; loads no torch."""
    root = cache_folder() / "models" if folder is None else folder
    recipe = json.dumps([1, seed, asdict(target), asdict(draft), _text_digest()])
    home = root / f"tiny-{hashlib.blake2b(recipe.encode(), digest_size=6).hexdigest()}"
    return ModelPaths(home / "target", home / "draft")


def make_model(
    folder: Path | None = None,
    *,
    seed: int = 0,
    target: Shape = TARGET,
    draft: Shape = DRAFT,
    log: Callable[[str], None] = print,
) -> ModelPaths:
    """Return the trained pair, made now if it is not cached.

    Args:
        folder: Folder where models are kept; the user's cache by default.
        seed: Seed of the weights and of the order of the text.
        target: Size of the model that is served.
        draft: Size of the model that drafts for it.
        log: Callable that shows progress, a line at a time.
    """
    paths = made_model(folder, seed=seed, target=target, draft=draft)
    home = paths.target.parent
    root = home.parent
    if home.exists():
        return paths
    root.mkdir(parents=True, exist_ok=True)
    with (root / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second process waits here and then finds the model made
        if home.exists():
            return paths
        workplace = Path(tempfile.mkdtemp(prefix=".making-", dir=root))
        try:
            began = time.monotonic()
            log(f"training a small model once, about a minute; it is kept in {home}")
            _train(workplace / "target", target, seed, lambda text: log(f"target: {text}"))
            _train(workplace / "draft", draft, seed + 1, lambda text: log(f"draft: {text}"))
            _, held_out = corpus()
            (workplace / "target" / HELD_OUT).write_bytes(held_out)
            workplace.rename(home)
            log(f"model made in {time.monotonic() - began:.0f} s")
        finally:
            shutil.rmtree(workplace, ignore_errors=True)
    return paths


def corpus() -> tuple[bytes, bytes]:
    """Return the training text and the held-out text."""
    from pydoc_data.topics import topics

    text = "\n\n".join(topics[name] for name in sorted(topics)).encode("ascii", errors="ignore")
    return text[:-_HELD_OUT_BYTES], text[-_HELD_OUT_BYTES:]


@cache
def _text_digest() -> str:
    train, held_out = corpus()
    return hashlib.blake2b(train + held_out, digest_size=6).hexdigest()


def save_tokenizer(folder: Path) -> int:
    """Write a tokenizer whose tokens are the 256 bytes; return the size of its vocabulary."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0, "</s>": 1, "<pad>": 2} | {letter: i + 3 for i, letter in enumerate(letters)}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",  # noqa: S106 - a token of the vocabulary
        eos_token="</s>",  # noqa: S106
        pad_token="<pad>",  # noqa: S106
        model_max_length=_CONTEXT,
    )
    fast.save_pretrained(folder)
    return _padded(len(vocabulary))


def _padded(size: int) -> int:
    return -(-size // 32) * 32  # the output layer divides by quantization groups and by ranks too


def _train(folder: Path, shape: Shape, seed: int, log: Callable[[str], None]) -> None:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()

    torch.manual_seed(seed)
    size = save_tokenizer(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=_CONTEXT,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    model = LlamaForCausalLM(config)
    text, _ = corpus()
    tokens = torch.tensor(tokenizer(text.decode("ascii"), verbose=False)["input_ids"])
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=shape.learning_rate, betas=(0.9, 0.95), weight_decay=0.05
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=shape.learning_rate, total_steps=shape.steps, pct_start=0.1
    )
    draws = torch.Generator().manual_seed(seed)
    loss_of: Any = torch.nn.functional.cross_entropy
    for step in range(shape.steps):
        starts = torch.randint(len(tokens) - shape.sequence - 1, (shape.batch,), generator=draws)
        batch = torch.stack([tokens[s : s + shape.sequence + 1] for s in starts.tolist()])
        logits = model(batch[:, :-1]).logits
        loss = loss_of(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % max(1, shape.steps // 5) == 0:
            log(f"step {step + 1} of {shape.steps}, {loss.item() / 0.6931:.2f} bits per byte")
    model.eval()
    model.save_pretrained(folder)


if __name__ == "__main__":
    make_model()
