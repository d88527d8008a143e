"""llama.cpp: ``llama-server``, or ``python -m llama_cpp.server`` where the program is a Python.

Beside the server's own flags: ``draft_length`` (``--spec-draft-n-max``; 0 is off) with ``spec_type``, and
``model_quantization``, which picks a file: ``{quantization}`` in the model's name becomes its value.

The server of ``llama-cpp-python`` runs one request after another and has flags of its own: parameters keep
the names of ``llama-server``, :data:`PYTHON_FLAGS` says what they become, and one that is not there is
refused. There ``draft_length`` drafts by looking up the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from autotune.core.endpoint import count_of
from autotune.core.trial import Config
from autotune.systems.container import Image
from autotune.systems.deployment import HOST
from autotune.systems.served.flagged import Settings
from autotune.systems.served.flags import plain
from autotune.systems.served.gguf_model import CHOICE, GGUFSystem
from autotune.systems.served.launch import Launch, startup_log
from autotune.systems.served.system import told

PYTHON_FLAGS = {
    "model": "model", "threads": "n_threads", "threads_batch": "n_threads_batch", "ctx_size": "n_ctx",
    "batch_size": "n_batch", "ubatch_size": "n_ubatch", "gpu_layers": "n_gpu_layers", "main_gpu": "main_gpu",
    "flash_attn": "flash_attn", "cache_type_k": "type_k", "cache_type_v": "type_v", "numa": "numa",
    "load_mode": "use_mlock", "kv_offload": "offload_kqv", "draft_length": "draft_model_num_pred_tokens",
}  # fmt: skip
"""Parameters that ``llama_cpp.server`` has too, and its flags."""

_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "iq4_nl": 20, "bf16": 30}
_WORDS: dict[str, dict[Any, Any]] = {
    "flash_attn": {"on": True, "off": False},
    "load_mode": {"mlock": True, "mmap": False},
    "numa": {"distribute": 1, "isolate": 2, "numactl": 4},
    "cache_type_k": _TYPES,
    "cache_type_v": _TYPES,
}
"""Values of ``llama-server`` as ``llama_cpp.server`` writes them: GGML's numbers, truth values."""

_LENGTHS = {
    "ngram-mod": "spec_ngram_mod_n_max",
    "ngram-simple": "spec_ngram_simple_size_m",
    "ngram-map-k": "spec_ngram_map_k_size_m",
    "ngram-map-k4v": "spec_ngram_map_k4v_size_m",
}
"""Flag that bounds the draft of each kind of lookup; the others have ``--spec-draft-n-max``."""

_NGRAM_MOD_MIN = 48  # its default: a shorter draft is thrown away

_DRAFTS = ("draft-simple", "draft-eagle3", "draft-dflash", "draft-dspark")


class LlamaCppSystem(GGUFSystem):
    """llama.cpp as a server."""

    name: ClassVar[str] = "llama_cpp"
    own_program: ClassVar[tuple[str, ...]] = ("llama-server",)
    model_words: ClassVar[tuple[str, ...]] = ()
    package: ClassVar[str] = "llama-cpp-python"
    image: ClassVar[Image] = Image(
        "ghcr.io/ggml-org/llama.cpp",
        ("/app/llama-server",),
        "server-cuda-{version}",
        "server-cuda",
        cpu=("ghcr.io/ggml-org/llama.cpp", "server-{version}", "server"),
        curl=True,
    )
    asked: ClassVar[Launch] = Launch("", tokenize="/tokenize")
    env_names: ClassVar[tuple[str, ...]] = ("GGML_*", "LLAMA_*", "GOMP_*", "LD_PRELOAD")
    translated: ClassVar[tuple[str, ...]] = ("draft_length", CHOICE)

    def translate(self, settings: Settings) -> Settings:
        """Pick the model's file and write the draft length, or leave drafting out."""
        rest = {name: value for name, value in settings.items() if name not in self.translated}
        model = self.model_file(settings)
        length = int(settings.get("draft_length", 0))
        if not length or rest.get("spec_type") == "none":
            rest = {name: value for name, value in rest.items() if not name.startswith("spec_")}
        elif str(rest.get("spec_type", "draft-simple")) in _DRAFTS:
            rest |= {"spec_draft_model": self.draft_model, "spec_draft_n_max": length}
        else:
            rest[_LENGTHS.get(str(rest.get("spec_type")), "spec_draft_n_max")] = length
            if rest["spec_type"] == "ngram-mod":
                rest.setdefault("spec_ngram_mod_n_min", min(length, _NGRAM_MOD_MIN))
        return {"model": model, **rest}

    def rules(self, config: Config) -> str:
        """Name combinations that llama-server refuses."""
        hole = self.hole_rule(config)
        if hole or self.runs_python:
            return hole or self._python_rules(config)
        kind = str(config.get("spec_type", "draft-simple"))
        if int(config.get("draft_length", 0)) and kind in _DRAFTS and not self.draft_model:
            return f"spec_type {kind} needs a draft_model in the system section"
        value_type = str(config.get("cache_type_v", "f16"))
        if value_type not in ("f32", "f16", "bf16") and config.get("flash_attn") == "off":
            return f"cache_type_v {value_type} needs flash_attn"
        ubatch, batch = int(config.get("ubatch_size", 1)), int(config.get("batch_size", 2048))
        return f"ubatch_size {ubatch} is above batch_size {batch}" if ubatch > batch else ""

    def _python_rules(self, config: Config) -> str:
        """Name what the server of llama-cpp-python cannot do."""
        for name, value in {**self.flags, **config}.items():
            if name not in (*PYTHON_FLAGS, CHOICE):
                return f"llama_cpp.server has no {name}; it has {', '.join(PYTHON_FLAGS)}"
            words = _WORDS.get(name)
            if words is not None and value != "auto" and value not in words:
                return f"{name} {value} is nothing that llama_cpp.server has; allowed: {', '.join(words)}"
        if self.draft_model:
            return "llama_cpp.server takes no draft_model: with draft_length it looks the prompt up"
        return ""

    def launch_words(self, config: Config, port: int) -> list[str]:
        """Return the words of the command, with where to listen."""
        if not self.runs_python:
            return super().launch_words(config, port)
        return [*self._python_words(config), *(word.format(host=HOST, port=port) for word in self.port_words)]

    def _python_words(self, config: Config) -> list[str]:
        values = {**self.flags, **config}
        length = self.whole(config, "draft_length", 0)
        values.pop("draft_length", None)
        words = [self.program[0], *(self.program[1:] or ("-m", "llama_cpp.server"))]
        words += ["--model", self.model_file(values)]
        values.pop(CHOICE, None)
        for name, value in values.items():
            if value != "auto":
                words += [f"--{PYTHON_FLAGS[name]}", plain(_WORDS.get(name, {}).get(value, value))]
        if length:
            words += ["--draft_model", "prompt-lookup-decoding", "--draft_model_num_pred_tokens", str(length)]
        return [*words, "--interrupt_requests", "false"]  # a new request would cut off the one that runs

    @property
    def official_image(self) -> Image | None:
        """The image; none for a Python, whose server has flags of its own."""
        return None if self.runs_python else self.image

    def launch(self, config: Config, port: int) -> Launch:
        """Return how the server is asked; the Python one has other paths and fields."""
        found = super().launch(config, port)
        if not self.runs_python:
            return found
        # it penalizes repetition unless told otherwise, which no other server does
        body = {"min_tokens": "{max_tokens}", "repeat_penalty": 1.0}
        return replace(found, ready="/v1/models", tokenize="/extras/tokenize", body=body)

    def server_facts(self, url: str, scratch: Path) -> dict[str, Any]:
        """Return the build and the slots that ``llama-server`` tells, and what its log says holds."""
        found = told(url, "/props") if not self.runs_python else None
        if not isinstance(found, Mapping):
            return {}
        facts = {"version": found.get("build_info"), "slots": count_of(found.get("total_slots"))}
        known = {name: value for name, value in facts.items() if type(value) in (str, int)}
        log = startup_log(scratch)
        effective = effective_settings(log)
        if known.get("slots"):
            effective["parallel"] = known["slots"]
        return {**known, **({"effective": effective} if effective else {})}

    def resources(self, config: Config) -> dict[str, float]:
        """Return the threads, or a GPU where layers are put on one."""
        threads = self.whole(config, "threads", 1)
        on_gpu = config.get("gpu_layers", self.flags.get("gpu_layers", 0))
        gpus = {"gpus": 1.0} if on_gpu not in (0, "0") else {}
        return {"cpus": float(max(1, threads)), **gpus}


def effective_settings(log: str) -> dict[str, object]:
    """Return the settings that the log of ``llama-server`` says hold, by the names of its flags."""
    found: dict[str, object] = {}
    for name, field in (("ctx_size", "n_ctx"), ("batch_size", "n_batch"), ("ubatch_size", "n_ubatch")):
        if match := re.search(rf"llama_context: {field}\s*= (\d+)", log):
            found[name] = int(match.group(1))
    if match := re.search(r"llama_context: flash_attn\s*= (\w+)", log):
        found["flash_attn"] = {"1": "on", "enabled": "on", "0": "off", "disabled": "off"}.get(match.group(1))
    if match := re.search(r"Flash Attention was auto, set to (\w+)", log):
        found["flash_attn"] = {"enabled": "on", "disabled": "off"}.get(match.group(1))
    if match := re.search(r"load_tensors: offloaded (\d+)/(\d+) layers to GPU", log):
        count, layers = int(match.group(1)), int(match.group(2))
        found["gpu_layers"] = count if count < layers else None  # more than there are means all of them
    return {name: value for name, value in found.items() if value is not None}
