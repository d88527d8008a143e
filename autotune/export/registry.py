"""Names of the export formats; a third party adds one by an entry point of ``autotune.exporters``."""

from __future__ import annotations

import functools
from contextlib import suppress

from autotune.core.registry import Registry, shown
from autotune.errors import EnvironmentProblem, SpecError, did_you_mean
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
        "vllm-yaml": "autotune.export.server_file:VLLMFile",
        "sglang-yaml": "autotune.export.server_file:SGLangFile",
        "systemd": "autotune.export.systemd:Systemd",
        "yaml": "autotune.export.plain:YAMLFile",
        "python": "autotune.export.python:PythonModule",
    },
    method="export",
)

ALL_TRIALS = "optuna"
"""The format of all trials of a study, whatever its system is, and not of one configuration."""


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
    exporter = find_exporter(name)
    why = EXPORTERS.call(name, lambda: exporter.refuses(export))
    if why:
        raise refusal(export, name, why, formats_of(export))
    text = EXPORTERS.call(name, lambda: exporter.export(export))
    if not isinstance(text, str):
        raise EXPORTERS.broken(name, f"gave {shown(text)} in place of a text")
    return text


def formats_of(export: Export) -> list[str]:
    """Return the names of the formats that make sense for a configuration, plug-ins' that work too."""
    found = []
    for name in EXPORTERS.names():
        with suppress(EnvironmentProblem):  # of a broken plug-in, which tells whoever asks for it
            exporter = find_exporter(name)
            if not EXPORTERS.call(name, functools.partial(exporter.refuses, export)):
                found.append(name)
    return [*found, ALL_TRIALS]


def find_exporter(name: str) -> Exporter:
    """Return the format of a name.

    Raises:
        SpecError: There is no such format; the nearest one is named.
        EnvironmentProblem: A plug-in is broken.
    """
    names = [*EXPORTERS.names(), ALL_TRIALS]
    if name not in names:
        text = f"unknown {EXPORTERS.kind} {name!r}; allowed: {', '.join(names)}"
        raise SpecError(text, hint=did_you_mean(name, names))
    kind = EXPORTERS.load(name)
    found: Exporter = EXPORTERS.call(name, kind)
    return found
