"""Load a model the way a configuration says, and report what really was loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import distributed
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.distributed import DistributedConfig

from autotune.systems.transformers.kernels import build_kernels
from autotune.systems.transformers.options import Options

_PEER_WAIT = timedelta(days=7)  # ranks wait for work; the worker's deadlines bound it, not the collective's


@dataclass
class Loaded:
    """A loaded model and its tokenizer.

    Args:
        model: The target.
        draft: The model that drafts, or ``None``.
        tokenizer: Tokenizer of the target.
        device: Device that this process computes on.
        rank: Rank of this process among the tensor-parallel ones.
        facts: Facts of the load: dtypes, bytes, versions.
    """

    model: Any
    draft: Any
    tokenizer: Any
    device: torch.device
    rank: int = 0
    facts: dict[str, Any] = field(default_factory=dict)


def load(options: Options) -> Loaded:
    """Load the model and its draft.

    With tensor parallelism every rank calls this; ``RANK`` tells which one it is, and the ranks meet in a
    file of the working folder.

    Raises:
        ValueError: The library refuses the combination.
        OSError: The model cannot be found.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if options.threads:
        torch.set_num_threads(options.threads)
    rank = int(os.environ.get("RANK", "0"))
    cuda = options.device == "cuda" or (options.device == "auto" and torch.cuda.is_available())
    if cuda and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, and torch sees no CUDA device")
    device = torch.device("cuda", rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if options.tensor_parallel > 1:
        distributed.init_process_group(
            "nccl" if cuda else "gloo",
            init_method=(Path.cwd() / "rendezvous").as_uri(),
            rank=rank,
            world_size=options.tensor_parallel,
            timeout=_PEER_WAIT,
        )
    if not cuda and (options.quantization_bits == 4 or options.kv_cache_bits != 16):
        build_kernels()  # else the first generation would, for minutes
    model = _model(options.model, options, device, parallel=options.tensor_parallel > 1)
    draft = None
    if options.draft_length and not options.draft_layers:
        draft = _model(options.draft_model, options, device, parallel=False)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    tokenizer.padding_side = "left"  # the answer continues the prompt
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    loaded = Loaded(model, draft, tokenizer, device, rank)
    loaded.facts = _facts(options, loaded)
    return loaded


def _model(name: str, options: Options, device: torch.device, *, parallel: bool) -> object:
    settings: dict[str, object] = {"dtype": getattr(torch, options.dtype)}
    if options.quantization_bits != 16:
        settings["quantization_config"] = transformers.QuantoConfig(weights=f"int{options.quantization_bits}")
    if parallel:
        settings["distributed_config"] = DistributedConfig(tp_plan="auto")
    else:
        settings["device_map"] = str(device)
    model = AutoModelForCausalLM.from_pretrained(name, **settings)
    return model.eval()


def leaves(tensor: torch.Tensor) -> list[torch.Tensor]:
    """Return the plain tensors that a tensor subclass keeps its data in."""
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if type(tensor) in (torch.Tensor, torch.nn.Parameter) or flatten is None:
        return [tensor]
    names, _ = flatten()
    parts = [getattr(tensor, name) for name in names]  # a DTensor keeps its mesh beside its local part
    return [leaf for part in parts if isinstance(part, torch.Tensor) for leaf in leaves(part)]


def weights(model: Any) -> dict[str, int]:
    """Return the bytes of all parameters and buffers by the dtype they are stored in, shared ones once."""
    sizes: dict[str, int] = {}
    seen: set[int] = set()
    for tensor in [*model.parameters(), *model.buffers()]:
        for leaf in leaves(tensor):
            storage = leaf.untyped_storage()
            if storage.data_ptr() not in seen:
                seen.add(storage.data_ptr())
                name = str(leaf.dtype).removeprefix("torch.")
                sizes[name] = sizes.get(name, 0) + storage.nbytes()
    return sizes


def _facts(options: Options, loaded: Loaded) -> dict[str, object]:
    parts = {"target": loaded.model} | ({} if loaded.draft is None else {"draft": loaded.draft})
    kinds = sorted(
        {type(module).__name__ for module in loaded.model.modules() if "Linear" in type(module).__name__}
    )
    return {
        "rank": loaded.rank,
        "pid": os.getpid(),
        "device": str(loaded.device),
        "weight_bytes": {name: weights(part) for name, part in parts.items()},
        "linear_layers": kinds,
        "threads": torch.get_num_threads(),
        "world_size": distributed.get_world_size() if distributed.is_initialized() else 1,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "attention": loaded.model.config._attn_implementation,
        "quantization_bits": options.quantization_bits,
    }
