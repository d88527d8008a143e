"""Names of the export formats; a third party adds one by an entry point of ``autotune.exporters``."""

from __future__ import annotations

from autotune.core.registry import Registry, shown
from autotune.export.base import Export, Exporter, refusal

EXPORTERS = Registry(
    "export format",
    "autotune.exporters",
    {
        "args": "autotune.export.args:Args",
        "env": "autotune.export.env:Env",
        "docker-compose": "autotune.export.compose:Compose",
        "k8s": "autotune.export.kubernetes:Kubernetes",
        "helm-values": "autotune.export.helm:HelmValues",
        "vllm-yaml": "autotune.export.engine_file:VLLMFile",
        "sglang-yaml": "autotune.export.engine_file:SGLangFile",
        "systemd": "autotune.export.systemd:Systemd",
        "yaml": "autotune.export.plain:YAMLFile",
        "python": "autotune.export.python:PythonModule",
    },
    method="export",
)


def export_text(export: Export, name: str) -> str:
    """Return the text of a format.

    Args:
        export: Configuration with what is known of it.
        name: Name of the format.

    Raises:
        SpecError: There is no such format, or it makes no sense for this configuration; those that do are
            named.
        EnvironmentProblem: A plug-in is broken.
    """
    exporter = _exporter(name)
    why = EXPORTERS.call(name, lambda: exporter.refuses(export))
    if why:
        raise refusal(export, name, why, formats_of(export))
    text = EXPORTERS.call(name, lambda: exporter.export(export))
    if not isinstance(text, str):
        raise EXPORTERS.broken(name, f"gave {shown(text)} in place of a text")
    return text


def formats_of(export: Export) -> list[str]:
    """Return the names of the formats of this package that make sense for a configuration."""
    return [name for name in EXPORTERS.builtin if not _exporter(name).refuses(export)]


def _exporter(name: str) -> Exporter:
    kind = EXPORTERS.load(name)
    found: Exporter = EXPORTERS.call(name, kind)
    return found
