"""Hugging Face's own server: ``transformers serve``.

It needs ``transformers[serving]``. Without ``continuous_batching`` it answers one request after another. The
program may be the Python that has it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import ClassVar

from autotune.core.trial import Config
from autotune.systems.served.launch import Launch
from autotune.systems.served.system import ServedSystem

# No token has this number, so no answer ends early; the server takes it as JSON inside JSON.
_NEVER_ENDS = json.dumps({"eos_token_id": -1, "do_sample": False})


class TransformersServeSystem(ServedSystem):
    """The server of the transformers library, `transformers serve`."""

    name: ClassVar[str] = "transformers_serve"
    own_program: ClassVar[tuple[str, ...]] = ("transformers", "serve")
    package: ClassVar[str] = "transformers"
    exact: ClassVar[dict[str, object]] = {"generation_config": _NEVER_ENDS}
    variables: ClassVar[dict[str, str]] = {"threads": "OMP_NUM_THREADS"}
    env_names: ClassVar[tuple[str, ...]] = ("TRANSFORMERS_*", "TORCH_*", "TORCHINDUCTOR_*", "LD_PRELOAD")

    def launch(self, config: Config, port: int) -> Launch:
        """Return how the server is asked; it lists what the hub's cache has, not what it has loaded."""
        return replace(super().launch(config, port), model=self.model)

    def start_words(self) -> list[str]:
        """Return the program and the model, which is loaded before the server is ready."""
        if self.runs_python:
            module = self.program[1:] or ("-m", "transformers.cli.transformers", "serve")
            return [self.program[0], *module, self.model]
        words = list(self.program or self.own_program)
        return [*words, *(["serve"] if len(words) == 1 else []), self.model]
