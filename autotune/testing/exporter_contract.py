"""What every format of `autotune export` must keep; inherit it to test one of your own.

.. code-block:: python

    class TestMyFormat(ExporterContract):
        @pytest.fixture
        def exporter(self):
            return MyFormat()
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from autotune.core.trial import Config
from autotune.export.base import Export, Exporter
from autotune.systems.deployment import deployment
from autotune.systems.registry import build_system

SECRET = "hf_abcdefghijklmnopqrstuvwxyz123456"  # noqa: S105 - a made one
HEADER = ("trial 4 of study chat, confirmed: 2 fresh launches", f"token={SECRET}", "two\nlines")
SECTIONS: dict[str, tuple[Mapping[str, object], Config]] = {
    "vllm": ({"use": "vllm", "model": "org/it's m"}, {"max_num_seqs": 64, "tensor_parallel": 2}),
    "sglang": ({"use": "sglang", "model": "org/m"}, {"max_running_requests": 64}),
    "llama_cpp": ({"use": "llama_cpp", "model": "/models/m.gguf"}, {"threads": 8}),
    "command": ({"use": "command", "argv": ["./bench", "{mode}", "{n}"]}, {"n": 4, "mode": "fast 50%"}),
}


def export_of(name: str) -> Export:
    """Return a configuration of a system, or of none, to be written down."""
    if name not in SECTIONS:
        return Export("chat", "", {"n": 4}, HEADER)
    section, config = SECTIONS[name]
    system = build_system(section)
    image = "registry.example/server:1"
    return Export("chat", name, config, HEADER, deployment(system, config, ()), system, image=image, gpus=2)


class ExporterContract:
    """Contract suite of an export format; a subclass gives it as the fixture ``exporter``."""

    @pytest.fixture
    def exporter(self) -> Exporter:
        """Give the format under test."""
        raise NotImplementedError

    def test_some_configuration_can_be_written(self, exporter: Exporter) -> None:
        assert "" in [exporter.refuses(export_of(name)) for name in (*SECTIONS, "nothing")]

    @pytest.mark.parametrize("name", [*SECTIONS, "nothing"])
    def test_what_is_not_refused_is_a_text_that_says_where_it_comes_from(
        self, exporter: Exporter, name: str
    ) -> None:
        export = export_of(name)
        why = exporter.refuses(export)
        assert isinstance(why, str)
        assert "\n" not in why
        if why:
            return
        text = exporter.export(export)
        assert text.endswith("\n")
        assert text == exporter.export(export)
        assert HEADER[0] in text
        assert SECRET not in text
        assert "\r" not in text
