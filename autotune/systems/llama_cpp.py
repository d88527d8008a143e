"""llama.cpp: ``llama-server``.

Beside the server's own flags: ``draft_length`` (``--spec-draft-n-max``; 0 is off) with ``spec_type``, and
``model_quantization``, which picks a file: ``{quantization}`` in the model's name becomes its value.
"""

from __future__ import annotations

from typing import ClassVar

from autotune.core.trial import Config
from autotune.systems.served.system import ServedSystem, Settings

HOLE = "{quantization}"
_DRAFTS = ("draft-simple", "draft-eagle3", "draft-dflash", "draft-dspark")


class LlamaCppSystem(ServedSystem):
    """Serve with llama.cpp."""

    name: ClassVar[str] = "llama_cpp"
    program: ClassVar[tuple[str, ...]] = ("llama-server",)
    model_words: ClassVar[tuple[str, ...]] = ()
    translated: ClassVar[tuple[str, ...]] = ("draft_length", "model_quantization")

    def translate(self, settings: Settings) -> Settings:
        """Pick the model's file and write the draft length, or leave drafting out."""
        rest = {name: value for name, value in settings.items() if name not in self.translated}
        model = self.model.replace(HOLE, str(settings.get("model_quantization", "")))
        length = int(settings.get("draft_length", 0))
        if not length:
            rest = {name: value for name, value in rest.items() if not name.startswith("spec_")}
        elif str(rest.get("spec_type", "draft-simple")) in _DRAFTS:
            rest |= {"spec_draft_model": self.draft_model, "spec_draft_n_max": length}
        elif rest.get("spec_type") == "draft-mtp":
            rest["spec_draft_n_max"] = length
        else:
            rest["spec_ngram_mod_n_max"] = length
        return {"model": model, **rest}

    def rules(self, config: Config) -> str:
        """Name combinations that llama-server refuses."""
        if (HOLE in self.model) != ("model_quantization" in config):
            return f"model_quantization and {HOLE} in the system's model go together"
        kind = str(config.get("spec_type", "draft-simple"))
        if int(config.get("draft_length", 0)) and kind in _DRAFTS and not self.draft_model:
            return f"spec_type {kind} needs a draft_model in the system section"
        value_type = str(config.get("cache_type_v", "f16"))
        if value_type not in ("f32", "f16", "bf16") and config.get("flash_attn") == "off":
            return f"cache_type_v {value_type} needs flash_attn"
        ubatch, batch = int(config.get("ubatch_size", 1)), int(config.get("batch_size", 2048))
        return f"ubatch_size {ubatch} is above batch_size {batch}" if ubatch > batch else ""

    def resources(self, config: Config) -> dict[str, float]:
        """Return the threads, or a GPU where layers are put on one."""
        threads = int(config.get("threads", self.flags.get("threads", 1)))
        on_gpu = config.get("gpu_layers", self.flags.get("gpu_layers", 0))
        gpus = {"gpus": 1.0} if on_gpu not in (0, "0") else {}
        return {"cpus": float(max(1, threads)), **gpus}
