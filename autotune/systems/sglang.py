"""SGLang: ``python -m sglang.launch_server``.

Beside the server's own flags: ``draft_length`` (``--speculative-num-draft-tokens``; 0 is off). It needs a
``speculative_algorithm``, whose value ``off`` is no drafting either.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from autotune.core.space import Space
from autotune.core.trial import Config
from autotune.systems.container import Image
from autotune.systems.served.flagged import Settings
from autotune.systems.served.flags import AUTO
from autotune.systems.served.launch import Launch
from autotune.systems.served.system import ServedSystem, told

OFF = "off"
NEEDS_MODEL = ("EAGLE", "EAGLE3", "STANDALONE")
CHAINS = (*NEEDS_MODEL, "NEXTN")
"""Algorithms that draft step by step."""


class SGLangSystem(ServedSystem):
    """SGLang as a server."""

    name: ClassVar[str] = "sglang"
    own_program: ClassVar[tuple[str, ...]] = ("python", "-m", "sglang.launch_server")
    model_words: ClassVar[tuple[str, ...]] = ("--model-path", "{model}")
    package: ClassVar[str] = "sglang"
    image: ClassVar[Image] = Image(
        "lmsysorg/sglang", ("python3", "-m", "sglang.launch_server"), "v{version}", curl=True
    )
    asked: ClassVar[Launch] = Launch("", tokenize="/tokenize", prometheus="/metrics")
    exact: ClassVar[dict[str, Any]] = {"ignore_eos": True, "min_tokens": "{max_tokens}"}
    env_names: ClassVar[tuple[str, ...]] = ("SGLANG_*", "SGL_*", "FLASHINFER_*", "TRITON_*", "LD_PRELOAD")
    lists: ClassVar[str] = " "
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

    def server_facts(self, url: str, scratch: Path) -> dict[str, Any]:
        """Return the version and the arguments that hold, as the server tells them."""
        found = told(url, "/get_server_info")
        if not isinstance(found, Mapping):
            return {}
        plain = {name: value for name, value in found.items() if isinstance(value, bool | int | float | str)}
        version = plain.pop("version", "")
        told_flags = {name: value for name, value in plain.items() if name in self.table.flags}
        return {**({"version": version} if version else {}), "settings": plain, "effective": told_flags}

    def translate(self, settings: Settings) -> Settings:
        """Leave drafting out where it is off, and name the draft model where it is on."""
        algorithm = settings.get("speculative_algorithm", OFF)
        length = settings.get("speculative_num_draft_tokens", AUTO)
        if algorithm in (OFF, AUTO) or length == 0:
            return {name: value for name, value in settings.items() if not name.startswith("speculative_")}
        found = dict(settings)
        if algorithm in CHAINS and length != AUTO:
            # the server takes all three or none: a chain of the length asked for, where only that is given
            found.setdefault("speculative_num_steps", max(1, int(length) - 1))
            found.setdefault("speculative_eagle_topk", 1)
        if algorithm in NEEDS_MODEL:
            found["speculative_draft_model_path"] = self.draft_model
        return found

    def why_without_effect(self, name: str, space: Space) -> str:
        """Return why a parameter changes nothing: drafting has no algorithm."""
        drafts = self.aliases.get(name, name).startswith("speculative_")
        known = {*space.names, *self.flags}
        if drafts and "speculative_algorithm" not in known:
            return "there is no speculative_algorithm, as a parameter or under flags"
        if drafts:
            return "speculative_algorithm is always off"
        return super().why_without_effect(name, space)

    def rules(self, config: Config) -> str:
        """Name combinations that SGLang refuses."""
        algorithm = config.get("speculative_algorithm", self.flags.get("speculative_algorithm", OFF))
        drafts = config.get("draft_length", config.get("speculative_num_draft_tokens")) != 0
        if drafts and algorithm in NEEDS_MODEL and not self.draft_model:
            return f"speculative_algorithm {algorithm} needs a draft_model in the system section"
        experts, ranks = int(config.get("expert_parallel", 1)), int(config.get("tensor_parallel", 1))
        if ranks % experts:
            return f"expert_parallel {experts} does not divide tensor_parallel {ranks}"
        return ""
