"""vLLM: ``vllm serve``.

Beside the server's own flags: ``draft_length`` and ``draft_method`` (``--speculative-config``; 0 is off) and
``quantization_bits`` (16 as the model is, 8 ``fp8_per_tensor``, 4 ``nvfp4_per_token``: both quantize while
they load).
"""

from __future__ import annotations

from typing import Any, ClassVar

from autotune.core.trial import Config
from autotune.systems.served.system import ServedSystem, Settings

NEEDS_MODEL = ("draft_model", "eagle", "eagle3", "medusa", "mlp_speculator", "dflash", "dspark")
ONLINE = {8: "fp8_per_tensor", 4: "nvfp4_per_token"}
"""Quantization methods that need no prepared checkpoint, by bits."""


class VLLMSystem(ServedSystem):
    """Serve with vLLM."""

    name: ClassVar[str] = "vllm"
    program: ClassVar[tuple[str, ...]] = ("vllm", "serve")
    aliases: ClassVar[dict[str, str]] = {
        "tensor_parallel": "tensor_parallel_size",
        "pipeline_parallel": "pipeline_parallel_size",
        "data_parallel": "data_parallel_size",
        "expert_parallel": "enable_expert_parallel",
    }
    translated: ClassVar[tuple[str, ...]] = (
        "draft_length", "draft_method", "prompt_lookup_min", "prompt_lookup_max", "quantization_bits",
    )  # fmt: skip
    gpus: ClassVar[tuple[str, ...]] = ("tensor_parallel", "pipeline_parallel", "data_parallel")

    def translate(self, settings: Settings) -> Settings:
        """Write drafting as ``--speculative-config`` and bits as a quantization method."""
        rest = {name: value for name, value in settings.items() if name not in self.translated}
        length = int(settings.get("draft_length", 0))
        if length:
            method = str(settings.get("draft_method", "draft_model" if self.draft_model else "ngram"))
            config: dict[str, Any] = {"method": method, "num_speculative_tokens": length}
            if method in NEEDS_MODEL:
                config["model"] = self.draft_model
            lookup = ("prompt_lookup_min", "prompt_lookup_max")
            config |= {name: int(settings[name]) for name in lookup if name in settings}
            rest["speculative_config"] = config
        bits = int(settings.get("quantization_bits", 16))
        if bits != 16:
            rest["quantization"] = ONLINE.get(bits, str(bits))
        return rest

    def rules(self, config: Config) -> str:
        """Name combinations that vLLM refuses."""
        bits = int(config.get("quantization_bits", 16))
        if bits not in (16, *ONLINE):
            return f"quantization_bits must be 16, 8 or 4, found {bits}"
        method = str(config.get("draft_method", ""))
        if int(config.get("draft_length", 0)) and method in NEEDS_MODEL and not self.draft_model:
            return f"draft_method {method} needs a draft_model in the system section"
        if int(config.get("prompt_lookup_min", 1)) > int(config.get("prompt_lookup_max", 10**6)):
            return "prompt_lookup_min is above prompt_lookup_max"
        batched, seqs = config.get("max_num_batched_tokens"), config.get("max_num_seqs")
        if isinstance(batched, int) and isinstance(seqs, int) and batched < seqs:
            return f"max_num_batched_tokens {batched} is below max_num_seqs {seqs}"
        return ""
