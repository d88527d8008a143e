"""SGLang: ``python -m sglang.launch_server``.

Beside the server's own flags: ``draft_length`` (``--speculative-num-draft-tokens``), with
``speculative_algorithm`` ``off`` for no drafting at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from autotune.core.trial import Config
from autotune.systems.served.flagged import Settings
from autotune.systems.served.system import Asked, ServedSystem, told

OFF = "off"
NEEDS_MODEL = ("EAGLE", "EAGLE3", "STANDALONE")


class SGLangSystem(ServedSystem):
    """Serve with SGLang."""

    name: ClassVar[str] = "sglang"
    own_program: ClassVar[tuple[str, ...]] = ("python", "-m", "sglang.launch_server")
    model_words: ClassVar[tuple[str, ...]] = ("--model-path", "{model}")
    package: ClassVar[str] = "sglang"
    asked: ClassVar[Asked] = Asked(tokenize="/tokenize", prometheus="/metrics")
    exact: ClassVar[dict[str, Any]] = {"ignore_eos": True, "min_tokens": "{max_tokens}"}
    env_names: ClassVar[tuple[str, ...]] = ("SGLANG_*", "SGL_*", "FLASHINFER_*", "TRITON_*", "LD_PRELOAD")
    aliases: ClassVar[dict[str, str]] = {
        "tensor_parallel": "tp_size",
        "pipeline_parallel": "pp_size",
        "data_parallel": "dp_size",
        "expert_parallel": "ep_size",
        "draft_length": "speculative_num_draft_tokens",
    }
    gpus: ClassVar[tuple[str, ...]] = ("tensor_parallel", "pipeline_parallel", "data_parallel")

    def start_words(self) -> list[str]:
        """Return the program and the model; a Python alone is given the module."""
        words = [*self.program, *self.own_program[1:]] if len(self.program) == 1 else list(self.program)
        return [*(words or self.own_program), "--model-path", self.model]

    def engine_facts(self, url: str, scratch: Path) -> dict[str, Any]:
        """Return the version and the arguments that hold, as the server tells them."""
        found = told(url, "/get_server_info")
        if not isinstance(found, Mapping):
            return {}
        plain = {name: value for name, value in found.items() if isinstance(value, bool | int | float | str)}
        version = plain.pop("version", "")
        return {**({"version": version} if version else {}), "settings": plain}

    def translate(self, settings: Settings) -> Settings:
        """Leave drafting out where it is off, and name the draft model where it is on."""
        algorithm = settings.get("speculative_algorithm", OFF)
        if algorithm == OFF:
            return {name: value for name, value in settings.items() if not name.startswith("speculative_")}
        if algorithm in NEEDS_MODEL:
            return {**settings, "speculative_draft_model_path": self.draft_model}
        return settings

    def rules(self, config: Config) -> str:
        """Name combinations that SGLang refuses."""
        algorithm = config.get("speculative_algorithm", OFF)
        if algorithm in NEEDS_MODEL and not self.draft_model:
            return f"speculative_algorithm {algorithm} needs a draft_model in the system section"
        experts, ranks = int(config.get("expert_parallel", 1)), int(config.get("tensor_parallel", 1))
        if ranks % experts:
            return f"expert_parallel {experts} does not divide tensor_parallel {ranks}"
        return ""
