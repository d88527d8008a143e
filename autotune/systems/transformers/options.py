"""Everything that decides how a model runs, as a value and as command-line arguments."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

BITS = (16, 8, 4)
KV_BITS = (16, 4, 2)
DTYPES = ("bfloat16", "float16")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Options:
    """The way a model runs.

    Args:
        model: Folder or hub name.
        draft_model: Folder or hub name of the model that drafts; empty without one.
        device: ``cpu``, ``cuda``, or ``auto``: CUDA where there is one.
        dtype: Dtype of the weights at 16 bits, and of the arithmetic.
        batch_size: Sequences at once.
        quantization_bits: Bits of the linear layers' weights: 16, 8 or 4.
        draft_length: Tokens drafted per step; 0 switches drafting off.
        draft_layers: Layers of the model itself that draft (the others are skipped); 0 for a draft model.
        kv_cache_bits: Bits of cached keys and values: 16, 4 or 2.
        tensor_parallel: Processes that the layers are split over.
        threads: Processor threads of each process; 0 leaves it to the library.
        memory_limit: Most bytes of data memory per process; 0 without a limit.
        perplexity_text: File to measure perplexity on; empty without one.
    """

    model: str
    draft_model: str = ""
    device: str = "auto"
    dtype: str = "bfloat16"
    batch_size: int = 1
    quantization_bits: int = 16
    draft_length: int = 0
    draft_layers: int = 0
    kv_cache_bits: int = 16
    tensor_parallel: int = 1
    threads: int = 0
    memory_limit: int = 0
    perplexity_text: str = ""

    def argv(self) -> list[str]:
        """Return the arguments that :meth:`from_argv` reads back; what is switched off is left out."""
        result = ["--model", self.model, "--device", self.device, "--dtype", self.dtype]
        for name in ("batch_size", "quantization_bits", "tensor_parallel"):
            result += [f"--{name.replace('_', '-')}", str(getattr(self, name))]
        if self.draft_length:
            layers = ["--draft-layers", str(self.draft_layers)]
            result += layers if self.draft_layers else ["--draft-model", self.draft_model]
            result += ["--draft-length", str(self.draft_length)]
        if self.kv_cache_bits != 16:
            result += ["--kv-cache-bits", str(self.kv_cache_bits)]
        if self.threads:
            result += ["--threads", str(self.threads)]
        if self.memory_limit:
            result += ["--memory-limit", str(self.memory_limit)]
        if self.perplexity_text:
            result += ["--perplexity-text", self.perplexity_text]
        return result

    @classmethod
    def from_argv(cls, argv: Sequence[str], program: str) -> Options:
        """Read arguments; exits with a message and 2 for what is wrong, as programs do."""
        parser = argparse.ArgumentParser(prog=f"python -m {program}")
        parser.add_argument("--model", required=True)
        parser.add_argument("--draft-model", default="")
        parser.add_argument("--device", choices=DEVICES, default="auto")
        parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
        parser.add_argument("--batch-size", type=int, default=1)
        parser.add_argument("--quantization-bits", type=int, choices=BITS, default=16)
        parser.add_argument("--draft-length", type=int, default=0)
        parser.add_argument("--draft-layers", type=int, default=0)
        parser.add_argument("--kv-cache-bits", type=int, choices=KV_BITS, default=16)
        parser.add_argument("--tensor-parallel", type=int, default=1)
        parser.add_argument("--threads", type=int, default=0)
        parser.add_argument("--memory-limit", type=int, default=0)
        parser.add_argument("--perplexity-text", default="")
        return cls(**vars(parser.parse_args(argv)))
