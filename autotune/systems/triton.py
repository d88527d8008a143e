"""Triton Inference Server: fields of a model's ``config.pbtxt``, as protocol text.

A parameter is a field of ``ModelConfig`` with underscores for the dots:
``dynamic_batching_max_queue_delay_microseconds``. Beside them ``dynamic_batching`` (true or false: whether
requests are batched at all) and ``instance_count`` (model instances on each device).

Triton speaks its own protocol, with inputs that differ from model to model, so it is planned and not
measured: ``autotune check`` checks the configurations and prints what belongs into ``config.pbtxt``. Its
OpenAI front end is measured by the system ``openai_server``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from autotune.core.trial import Config
from autotune.systems.served.flagged import Settings
from autotune.systems.served.flags import plain
from autotune.systems.served.system import ServedSystem


class TritonSystem(ServedSystem):
    """Triton as a server."""

    name: ClassVar[str] = "triton"
    own_program: ClassVar[tuple[str, ...]] = ("tritonserver",)
    model_words: ClassVar[tuple[str, ...]] = ("--model-repository={model}",)
    port_words: ClassVar[tuple[str, ...]] = ("--http-address={host}", "--http-port={port}")
    not_launched: ClassVar[str] = "Triton's protocol has no tokens that arrive one by one"
    aliases: ClassVar[dict[str, str]] = {"instance_count": "instance_group_count"}
    translated: ClassVar[tuple[str, ...]] = ("dynamic_batching",)

    def translate(self, settings: Settings) -> Settings:
        """Leave the batcher's fields out where it is off."""
        on = settings.get("dynamic_batching", True)
        rest = {name: value for name, value in settings.items() if name != "dynamic_batching"}
        return rest if on else {n: v for n, v in rest.items() if not n.startswith("dynamic_batching_")}

    def flag_words(self, settings: Settings) -> list[str]:
        """Return no words: the settings stand in the file that :meth:`files` returns."""
        return []

    def files(self, config: Config) -> dict[str, str]:
        """Return what to append to the model's ``config.pbtxt``."""
        tree: dict[str, Any] = {}
        if config.get("dynamic_batching"):
            tree["dynamic_batching"] = {}
        for name, value in self.settings(config).items():
            flag = self.flag(name)
            *parents, leaf = flag.flag.split(".")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = plain(value) if flag.kind != "text" or flag.choices else f'"{value}"'
        return {"config.pbtxt": "\n".join(_protocol_text(tree)) + "\n"}


def _protocol_text(tree: dict[str, object], indent: str = "") -> list[str]:
    lines = []
    for name, value in tree.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name} {{", *_protocol_text(value, indent + "  "), f"{indent}}}"]
        else:
            lines.append(f"{indent}{name}: {value}")
    return lines
