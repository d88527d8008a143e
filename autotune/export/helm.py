"""``helm-values``: values of a chart as ``helm create`` makes it, with command, args and env besides."""

from __future__ import annotations

from typing import Any

from autotune.export.base import Export, contained, no_container
from autotune.export.kubernetes import container_spec, volumes_of
from autotune.export.yaml_text import Word, yaml_text
from autotune.systems.deployment import PORT


class HelmValues:
    """Values for `helm upgrade --install NAME CHART -f FILE`."""

    def refuses(self, export: Export) -> str:
        """Return why there is no container; empty where there is one."""
        return no_container(export)

    def export(self, export: Export) -> str:
        """Return the values; keys that `helm create` knows have its names."""
        spec, volumes = container_spec(export), volumes_of(export)
        repository, tag = _split(export.image)
        del spec["ports"]
        values: dict[str, Any] = {
            "replicaCount": 1,
            "fullnameOverride": export.name,
            "image": {"repository": repository, "tag": Word(tag), "pullPolicy": "IfNotPresent"},
            **spec,
            "service": {"type": "ClusterIP", "port": PORT},
        }
        if volumes:
            values["volumes"] = [volume for volume, _ in volumes]
            values["volumeMounts"] = [mount for _, mount in volumes]
        return contained(export, yaml_text(values))


def _split(image: str) -> tuple[str, str]:
    """Return repository and tag of an image; a colon before a slash is that of a port."""
    repository, colon, tag = image.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (image, "latest")
