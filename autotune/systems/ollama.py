"""Ollama: environment variables of ``ollama serve``."""

from __future__ import annotations

from typing import ClassVar

from autotune.core.trial import Config
from autotune.systems.served.flags import plain
from autotune.systems.served.system import ServedSystem


class OllamaSystem(ServedSystem):
    """Serve with Ollama."""

    name: ClassVar[str] = "ollama"
    program: ClassVar[tuple[str, ...]] = ("ollama", "serve")
    model_words: ClassVar[tuple[str, ...]] = ()
    aliases: ClassVar[dict[str, str]] = {
        "num_parallel": "ollama_num_parallel",
        "flash_attention": "ollama_flash_attention",
        "kv_cache_type": "ollama_kv_cache_type",
        "context_length": "ollama_context_length",
        "max_queue": "ollama_max_queue",
        "sched_spread": "ollama_sched_spread",
        "gpu_overhead": "ollama_gpu_overhead",
    }

    def deploy(self, config: Config) -> list[str]:
        """Return the command with its environment: ``env NAME=VALUE ... ollama serve``."""
        settings = {n: v for n, v in self.settings(config).items() if not self.flag(n).is_left_out(v)}
        pairs = [
            f"{self.flag(n).flag}={int(v) if isinstance(v, bool) else plain(v)}" for n, v in settings.items()
        ]
        return ["env", *pairs, *self.program] if pairs else list(self.program)

    def rules(self, config: Config) -> str:
        """Name combinations that Ollama ignores."""
        if config.get("kv_cache_type", "f16") != "f16" and config.get("flash_attention") is False:
            return f"kv_cache_type {config['kv_cache_type']} needs flash_attention"
        return ""
