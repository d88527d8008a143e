"""``vllm-yaml`` and ``sglang-yaml``: the server's own configuration file, for its ``--config``.

Both readers turn a key into ``--key value`` and ``true`` into a bare flag, and drop ``false``: what is
switched off stands as ``no-x: true``. A mapping is JSON text, which every version passes on unchanged.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import ClassVar

from autotune.core.redact import redacted
from autotune.export.base import Export, commented, no_command
from autotune.export.yaml_text import Word, yaml_text
from autotune.systems.deployment import HOST, PORT
from autotune.systems.served.system import ServedSystem


class VLLMFile:
    """A file for `vllm serve --config FILE`."""

    use: ClassVar[str] = "vllm"
    model: ClassVar[str] = "model"

    def refuses(self, export: Export) -> str:
        """Return why it is no file of this server; empty where it is."""
        return f"it is a file of {self.use}" if export.use != self.use else no_command(export)

    def export(self, export: Export) -> str:
        """Return the file: model, flags, address."""
        system = export.built
        assert isinstance(system, ServedSystem)  # noqa: S101 - refused otherwise
        here = system.resolved()
        flags = {
            name: Word(value) if isinstance(value, str) else value
            for name, value in here.config_file(export.config).items()
        }
        data = {self.model: Word(here.model), **flags, "host": Word(HOST), "port": PORT}
        env = {} if export.deployment is None else export.deployment.env
        notes = [f"environment: {shlex.join(f'{name}={text}' for name, text in env.items())}"] if env else []
        return commented(replace(export, header=(*export.header, *notes)), yaml_text(redacted(data)))


class SGLangFile(VLLMFile):
    """A file for `python -m sglang.launch_server --config FILE`."""

    use: ClassVar[str] = "sglang"
    model: ClassVar[str] = "model-path"
