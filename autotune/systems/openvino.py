"""OpenVINO: the GenAI pipeline's scheduler and the plugin's properties, served by OpenVINO Model Server.

``ovms`` takes the scheduler's settings as flags and the plugin's properties as ``--plugin_config``. Flags of
``ovms`` after docs/parameters.md of openvinotoolkit/model_server at 7e4df0c (August 2026).
"""

from __future__ import annotations

from typing import ClassVar

from autotune.core.trial import Config
from autotune.systems.served.flags import plain
from autotune.systems.served.system import ServedSystem, Settings

_SERVER = (
    "max_num_seqs", "max_num_batched_tokens", "cache_size", "enable_prefix_caching", "dynamic_split_fuse",
    "cache_interval_multiplier",
)  # fmt: skip
_EXPORT = {"quantization_group_size": "--group-size", "quantization_ratio": "--ratio"}
"""Parameters of the weights' compression when ``ovms`` converts a model, as words of ``optimum-cli``."""


class OpenVINOSystem(ServedSystem):
    """Generate with OpenVINO."""

    name: ClassVar[str] = "openvino"
    program: ClassVar[tuple[str, ...]] = ("ovms",)
    model_words: ClassVar[tuple[str, ...]] = ("--source_model", "{model}", "--task", "text_generation")
    aliases: ClassVar[dict[str, str]] = {"threads": "inference_num_threads"}
    translated: ClassVar[tuple[str, ...]] = ("weight_format", *_EXPORT)

    def translate(self, settings: Settings) -> Settings:
        """Leave out how weights are compressed: :meth:`deploy` writes that."""
        return {name: value for name, value in settings.items() if name not in self.translated}

    def deploy(self, config: Config) -> list[str]:
        """Return the command of OpenVINO Model Server."""
        settings = self.settings(config)
        words = [*self.program, *(word.format(model=self.model) for word in self.model_words)]
        for name in _SERVER:
            if name in settings:
                words += [f"--{name}", plain(settings[name])]
        if "weight_format" in config:
            words += ["--weight-format", str(config["weight_format"])]
        export = [word for n, flag in _EXPORT.items() if n in config for word in (flag, plain(config[n]))]
        if export:
            words += ["--extra_quantization_params", " ".join(export)]
        if self.draft_model:
            words += ["--draft_source_model", self.draft_model]
        rest = {name: value for name, value in settings.items() if name not in _SERVER}
        plugin = {
            self.flag(name).flag: _property(v)
            for name, v in rest.items()
            if not self.flag(name).is_left_out(v)
        }
        return words + (["--plugin_config", plain(plugin)] if plugin else [])

    def rules(self, config: Config) -> str:
        """Name settings that the server has no flag for."""
        lost = [
            n for n in self.settings(config) if self.flag(n).flag.startswith("Scheduler") and n not in _SERVER
        ]
        return f"{lost[0]} can be set in a pipeline of one's own, not in ovms" if lost else ""

    def resources(self, config: Config) -> dict[str, float]:
        """Return the threads."""
        threads = config.get("threads", config.get("inference_num_threads", 1))
        return {"cpus": float(max(1, int(threads)))}


def _property(value: object) -> str:
    """Return a property as the plugin's configuration writes it: text, ``YES`` and ``NO``."""
    return {True: "YES", False: "NO"}[value] if isinstance(value, bool) else plain(value)
