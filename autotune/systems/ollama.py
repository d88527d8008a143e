"""Ollama: environment variables of ``ollama serve``.

The model is a name that ``ollama pull`` has fetched. Its OpenAI endpoint cannot be told to go on after the
end of the text, so answers may be shorter than asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from autotune.core.trial import Config
from autotune.systems.container import Image
from autotune.systems.deployment import HOST
from autotune.systems.served.flags import plain
from autotune.systems.served.launch import Launch
from autotune.systems.served.system import ServedSystem, told


class OllamaSystem(ServedSystem):
    """Ollama as a server."""

    name: ClassVar[str] = "ollama"
    own_program: ClassVar[tuple[str, ...]] = ("ollama", "serve")
    image: ClassVar[Image] = Image(
        "ollama/ollama", ("/bin/ollama", "serve"), cpu=("ollama/ollama", "{version}", "latest")
    )
    model_words: ClassVar[tuple[str, ...]] = ()
    port_words: ClassVar[tuple[str, ...]] = ()  # the address is a variable too
    asked: ClassVar[Launch] = Launch("", ready="/api/version")
    exact: ClassVar[dict[str, object]] = {}
    env_names: ClassVar[tuple[str, ...]] = ("OLLAMA_*", "LLAMA_*", "GGML_*", "ROCR_VISIBLE_DEVICES")
    aliases: ClassVar[dict[str, str]] = {
        "num_parallel": "ollama_num_parallel",
        "flash_attention": "ollama_flash_attention",
        "kv_cache_type": "ollama_kv_cache_type",
        "context_length": "ollama_context_length",
        "max_queue": "ollama_max_queue",
        "sched_spread": "ollama_sched_spread",
        "gpu_overhead": "ollama_gpu_overhead",
    }

    def environment(self, config: Config) -> dict[str, str]:
        """Return the settings, which are all variables."""
        settings = {n: v for n, v in self.settings(config).items() if not self.flag(n).is_left_out(v)}
        pairs = {
            self.flag(n).flag: str(int(v)) if isinstance(v, bool) else plain(v) for n, v in settings.items()
        }
        return {**super().environment(config), **pairs}

    def start_words(self) -> list[str]:
        """Return the program; the model is named by each request."""
        words = list(self.program or self.own_program)
        return words if len(words) > 1 else [*words, "serve"]

    def launch_words(self, config: Config, port: int) -> list[str]:
        """Return the program alone."""
        return self.start_words()

    def launch_environment(self, config: Config, port: int) -> dict[str, str]:
        """Return the settings and where to listen."""
        return {**super().launch_environment(config, port), "OLLAMA_HOST": f"{HOST}:{port}"}

    def launch(self, config: Config, port: int) -> Launch:
        """Return how the server is asked: for the model of the study, whatever else it has."""
        return replace(super().launch(config, port), model=self.model)

    def tiny(self, *, draft: bool = False) -> str:
        """Return the name: Ollama loads what its own store has."""
        return self.model

    def server_facts(self, url: str, scratch: Path) -> dict[str, object]:
        """Return the version that the server tells."""
        found = told(url, "/api/version")
        version = found.get("version") if isinstance(found, Mapping) else None
        return {"version": version} if isinstance(version, str) else {}

    def rules(self, config: Config) -> str:
        """Name combinations that Ollama ignores."""
        if config.get("kv_cache_type", "f16") != "f16" and config.get("flash_attention") is False:
            return f"kv_cache_type {config['kv_cache_type']} needs flash_attention"
        return ""
