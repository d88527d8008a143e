"""``yaml``: the configuration and nothing else."""

from __future__ import annotations

from autotune.export.base import Export, commented
from autotune.export.yaml_text import yaml_text


class YAMLFile:
    """A mapping of parameters to values."""

    def refuses(self, export: Export) -> str:
        """Return nothing: every configuration has values."""
        return ""

    def export(self, export: Export) -> str:
        """Return the mapping, each value with its type."""
        values: dict[str, object] = dict(export.config)
        return commented(export, yaml_text(values))
