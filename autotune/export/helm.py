"""``helm-values``: of vLLM for the chart of its production stack, else for one as ``helm create`` makes it.

Keys of the production stack (``vllm/vllm-stack``) after its values.schema.json and templates at 0.1.12, which
validate ours. It writes ``vllm serve MODEL --host --port`` itself; without ``enablePrefixCaching`` it would
switch that off, and only with ``tensorParallelSize`` do the ranks get shared memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from autotune.export.base import Export, contained, no_container
from autotune.export.kubernetes import EVERY_S, container_spec, probes, resources, volumes_of
from autotune.export.yaml_text import Word, yaml_text
from autotune.systems.deployment import PORT


class HelmValues:
    """Values for `helm upgrade --install NAME CHART -f FILE`."""

    def refuses(self, export: Export) -> str:
        """Return why there is no container; empty where there is one."""
        return no_container(export)

    def export(self, export: Export) -> str:
        """Return the values; keys that `helm create` knows have its names."""
        if export.use == "vllm" and export.container.words[:2] == ("vllm", "serve"):
            return contained(export, yaml_text(_production_stack(export)))
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


def _production_stack(export: Export) -> dict[str, Any]:
    """Return the values of vLLM's production stack: one server with the flags that were measured."""
    repository, tag = _split(export.image)
    model, *flags = export.container.words[2:]
    flags = _without(flags, "--host", "--port")
    config: dict[str, Any] = {"enablePrefixCaching": "--no-enable-prefix-caching" not in flags}
    ranks = _value(flags, "--tensor-parallel-size")
    if ranks:
        config["tensorParallelSize"] = int(ranks)
        flags = _without(flags, "--tensor-parallel-size")
    config["extraArgs"] = [
        Word(word) for word in flags if word not in ("--enable-prefix-caching", "--no-enable-prefix-caching")
    ]
    # the chart has a cache of its own, and shared memory where it knows of the ranks
    own = ("hub-cache", "shared-memory") if ranks else ("hub-cache",)
    volumes = [pair for pair in volumes_of(export) if pair[0]["name"] not in own]
    server: dict[str, Any] = {
        "name": export.name,
        "repository": repository,
        "tag": Word(tag),
        "modelURL": Word(model),
        "replicaCount": 1,
        "requestGPU": export.gpus,
        "resources": resources(export),
        "vllmConfig": config,
    }
    if export.container.env:
        server["env"] = [{"name": name, "value": Word(text)} for name, text in export.container.env.items()]
    if volumes:
        server["extraVolumes"] = [volume for volume, _ in volumes]
        server["extraVolumeMounts"] = [mount for _, mount in volumes]
    spec: dict[str, Any] = {"modelSpec": [server]}
    if not export.gpus:
        spec["runtimeClassName"] = ""  # the chart's own is that of GPUs
    tries = probes(export)["startupProbe"]["failureThreshold"]
    spec["startupProbe"] = {"periodSeconds": EVERY_S, "failureThreshold": tries}
    return {"servingEngineSpec": spec}


def _value(flags: Sequence[str], name: str) -> str:
    return next((value for flag, value in pairwise(flags) if flag == name), "")


def _without(flags: Sequence[str], *names: str) -> list[str]:
    """Return words without flags of one value."""
    gone = {i + step for i, flag in enumerate(flags) if flag in names for step in (0, 1)}
    return [word for i, word in enumerate(flags) if i not in gone]


def _split(image: str) -> tuple[str, str]:
    """Return repository and tag of an image; a colon before a slash is that of a port."""
    repository, colon, tag = image.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (image, "latest")
