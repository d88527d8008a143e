"""OpenVINO: the GenAI pipeline's scheduler and the plugin's properties.

What serves it follows from the program: OpenVINO Model Server (``ovms``), which takes the scheduler's
settings as flags and the plugin's properties as ``--plugin_config``, or a Python that has
``openvino-genai``, which then runs :mod:`autotune.systems.openvino_server`. The Python loads GGUF files too
(``model_quantization`` picks one) and drafts with a ``draft_model``, ``draft_length`` tokens at a time: a
field of each request.

Flags of ``ovms`` after docs/parameters.md of openvinotoolkit/model_server at 7e4df0c (August 2026).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from autotune.core.trial import Config
from autotune.errors import EnvironmentProblem
from autotune.systems.container import HUB_CACHE, Container, Image
from autotune.systems.deployment import HOST
from autotune.systems.served.flagged import Settings
from autotune.systems.served.flags import plain
from autotune.systems.served.gguf_model import CHOICE, GGUFSystem
from autotune.systems.served.launch import Launch
from autotune.systems.served.system import told

_SERVER = (
    "max_num_seqs", "max_num_batched_tokens", "cache_size", "enable_prefix_caching", "dynamic_split_fuse",
    "cache_interval_multiplier",
)  # fmt: skip
_EXPORT = {"quantization_group_size": "--group-size", "quantization_ratio": "--ratio"}
"""Parameters of the weights' compression when ``ovms`` converts a model, as words of ``optimum-cli``."""

_CONVERTS = Image(
    "openvino/model_server",
    ("/ovms/bin/ovms",),
    "{version}-py",
    "latest-py",
    cpu=("openvino/model_server", "{version}-py", "latest-py"),
)
"""The image with ``optimum-cli``, which converts models ("OVMS Pull mode with optimum cli" in its docs)."""

_SERVE = Path(__file__).with_name("openvino_server.py")


class OpenVINOSystem(GGUFSystem):
    """OpenVINO GenAI: its Model Server, or its pipeline behind a server of ours."""

    name: ClassVar[str] = "openvino"
    own_program: ClassVar[tuple[str, ...]] = ("ovms",)
    image: ClassVar[Image] = Image(
        "openvino/model_server",
        ("/ovms/bin/ovms",),
        "{version}-gpu",
        "latest-gpu",
        cpu=("openvino/model_server", "{version}", "latest"),
    )
    model_words: ClassVar[tuple[str, ...]] = ("--source_model", "{model}", "--task", "text_generation")
    aliases: ClassVar[dict[str, str]] = {"threads": "inference_num_threads"}
    translated: ClassVar[tuple[str, ...]] = ("weight_format", *_EXPORT, CHOICE, "draft_length")
    package: ClassVar[str] = "openvino-genai"
    asked: ClassVar[Launch] = Launch("", tokenize="/tokenize", prometheus="/metrics")
    env_names: ClassVar[tuple[str, ...]] = ("OV_*", "OPENVINO_*", "ONEDNN_*", "TBB_*")

    def translate(self, settings: Settings) -> Settings:
        """Leave out how weights are compressed: :meth:`launch_words` writes that."""
        return {name: value for name, value in settings.items() if name not in self.translated}

    def check_machine(self) -> None:
        """Check that there is a program; name both where there is none.

        Raises:
            EnvironmentProblem: Neither is there, or the model is missing.
        """
        if not self.program and shutil.which("ovms") is None:
            raise EnvironmentProblem(
                "openvino needs a Python that has openvino-genai, or ovms",
                hint="python3 -m venv ENV; ENV/bin/pip install openvino-genai; "
                "then `system: {program: ENV/bin/python}`",
            )
        super().check_machine()

    def launch_words(self, config: Config, port: int) -> list[str]:
        """Return the command with where to listen."""
        if self.runs_python:
            return [*self._python_words(config), "--host", HOST, "--port", str(port)]
        return [*self._ovms_words(config), "--rest_bind_address", HOST, "--rest_port", str(port)]

    @property
    def official_image(self) -> Image | None:
        """The image; none for a Python, whose server has flags of its own."""
        return None if self.runs_python else self.image

    def launch(self, config: Config, port: int) -> Launch:
        """Return how the server is asked; ``ovms`` has its paths under ``/v3``."""
        found = super().launch(config, port)
        if self.runs_python:
            return found
        return replace(found, ready="/v2/health/ready", path="/v3/completions", tokenize="", model=self.model)

    def container(self, config: Config) -> Container:
        """Return the process in a container: what ``ovms`` fetches goes to the volume that keeps models."""
        found = super().container(config)
        if self.runs_python or found.image is None:
            return found
        here = self._repository(config)
        words = tuple(HUB_CACHE if word == here else word for word in found.words)
        mounts = tuple(path for path in found.mounts if path != here)
        image = _CONVERTS if self._conversion(config) else found.image
        return replace(found, words=words, mounts=mounts, image=image)

    def _conversion(self, config: Config) -> list[str]:
        return [plain(config[name]) for name in ("weight_format", *_EXPORT) if name in config]

    def _repository(self, config: Config) -> str:
        """Return the folder into which ``ovms`` fetches the model, without which it does not start.

        Each conversion has its own: what is there already is served as it is, whatever the flags ask for.
        """
        root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        return os.path.join(root, "autotune", "ovms", "-".join(self._conversion(config)) or "as-published")

    def request_fields(self, config: Config) -> dict[str, object]:
        """Return the draft length."""
        length = self._draft_length(config)
        return {"num_assistant_tokens": length} if length else {}

    def _draft_length(self, config: Config) -> int:
        return self.whole(config, "draft_length", 0)

    def server_facts(self, url: str, scratch: Path) -> dict[str, object]:
        """Return the version and the scheduler's settings that hold."""
        found = told(url, "/version") if self.runs_python else None
        named = found.items() if isinstance(found, Mapping) else ()
        return {name: text for name, text in named if isinstance(text, str)}

    def _python_words(self, config: Config) -> list[str]:
        settings = self.settings(config)
        scheduler, properties = {}, {}
        for name, value in settings.items():
            flag = self.flag(name)
            if flag.is_left_out(value):
                continue
            section, _, field = flag.flag.rpartition(".")
            if section:
                scheduler[field] = value
            else:
                properties[field] = _property(value)
        words = [*self.program, str(_SERVE), "--model", self.model_file(config)]
        if self.draft_model and self._draft_length(config):  # with one, every request must draft
            words += ["--draft-model", self.draft_model]
        pairs = (("--scheduler", scheduler), ("--properties", properties))
        return words + [word for name, values in pairs if values for word in (name, plain(values))]

    def _ovms_words(self, config: Config) -> list[str]:
        settings = self.settings(config)
        words = [*self.start_words(), "--model_repository_path", self._repository(config)]
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
        """Name settings that what serves has no flag for."""
        if self.runs_python:
            if self._draft_length(config) and not self.draft_model:
                return "draft_length needs a draft_model in the system section"
            asked = [name for name in ("weight_format", *_EXPORT) if name in config]
            return f"{asked[0]} is for ovms, which converts models" if asked else self.hole_rule(config)
        for name in (CHOICE, "draft_length"):
            if name in config:
                return f"{name} needs a Python that has openvino-genai as the system's program"
        lost = [
            n for n in self.settings(config) if self.flag(n).flag.startswith("Scheduler") and n not in _SERVER
        ]
        return f"{lost[0]} can be set in a pipeline of one's own, not in ovms" if lost else ""

    def resources(self, config: Config) -> dict[str, float]:
        """Return the threads."""
        threads = self.whole(config, "threads", 1)
        return {"cpus": float(max(1, threads))}


def _property(value: object) -> str:
    """Return a property as the plugin's configuration writes it: text, ``YES`` and ``NO``."""
    return {True: "YES", False: "NO"}[value] if isinstance(value, bool) else plain(value)
