"""``k8s``: a Deployment and its Service."""

from __future__ import annotations

import math
from typing import Any

from autotune.core.json_object import JsonObject
from autotune.core.redact import redact, visible
from autotune.export.base import Export, contained, no_container
from autotune.export.compose import variables
from autotune.export.yaml_text import Word, yaml_text
from autotune.systems.container import HUB_CACHE
from autotune.systems.deployment import PORT

EVERY_S = 10  # between two looks of the probe that waits for the start


class Kubernetes:
    """A Deployment of one replica and a Service, for `kubectl apply -f FILE`."""

    def refuses(self, export: Export) -> str:
        """Return why there is no container; empty where there is one."""
        return no_container(export)

    def export(self, export: Export) -> str:
        """Return both objects."""
        name = export.name
        labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "autotune"}
        pods = {"app.kubernetes.io/name": name}
        template: dict[str, Any] = {"metadata": {"labels": labels}, "spec": pod_spec(export)}
        measured = redact(visible("; ".join(export.header[:3])))
        notes = {"autotune/measured": Word(measured)} if measured else {}
        # the new pod would wait for the GPUs that the old one holds
        strategy = {"strategy": {"type": "Recreate"}} if export.gpus else {}
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "labels": labels, "annotations": notes},
            "spec": {"replicas": 1, **strategy, "selector": {"matchLabels": pods}, "template": template},
        }
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "labels": labels},
            "spec": {"selector": pods, "ports": [{"name": "http", "port": PORT, "targetPort": "http"}]},
        }
        return contained(export, yaml_text(deployment, service))


def pod_spec(export: Export) -> dict[str, Any]:
    """Return the pod: one container with its probes, resources and volumes."""
    volumes = volumes_of(export)
    container = {"name": "server", "image": export.image, **container_spec(export)}
    if volumes:
        container["volumeMounts"] = [mount for _, mount in volumes]
    return {"containers": [container], **({"volumes": [one for one, _ in volumes]} if volumes else {})}


def container_spec(export: Export) -> dict[str, Any]:
    """Return command, variables, port, probes and resources of the container."""
    found = export.container
    spec: dict[str, Any] = {
        "command": [_word(found.words[0])],
        "args": [_word(word) for word in found.words[1:]],
    }
    if env := variables(found):
        spec["env"] = [{"name": name, "value": _word(text)} for name, text in env.items()]
    spec["ports"] = [{"name": "http", "containerPort": PORT}]
    return {**spec, **probes(export), "resources": resources(export)}


def probes(export: Export) -> dict[str, Any]:
    """Return what asks the server whether it takes requests; nothing before the start counts as a failure."""
    if not export.container.ready:
        return {}
    asked = {"httpGet": {"path": export.container.ready, "port": "http"}, "timeoutSeconds": 5}
    tries = max(1, math.ceil(export.startup_s / EVERY_S))
    return {
        "startupProbe": {**asked, "periodSeconds": EVERY_S, "failureThreshold": tries},
        "readinessProbe": {**asked, "periodSeconds": EVERY_S},
    }


def resources(export: Export) -> JsonObject:
    """Return the GPUs, or the processors where there are none."""
    if export.gpus:
        return {"limits": {"nvidia.com/gpu": export.gpus}}
    return {"requests": {"cpu": Word(f"{export.cpus:g}")}}


def volumes_of(export: Export) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return volumes with their mounts: models of the node, the hub's cache, shared memory of the ranks."""
    found: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for i, path in enumerate(export.container.mounts):
        volume = {"name": f"model-{i}", "hostPath": {"path": Word(path)}}
        found.append((volume, {"name": f"model-{i}", "mountPath": Word(path), "readOnly": True}))
    if export.container.cache:
        found.append(({"name": "hub-cache", "emptyDir": {}}, {"name": "hub-cache", "mountPath": HUB_CACHE}))
    if export.ranks > 1:
        memory = {"name": "shared-memory", "emptyDir": {"medium": "Memory"}}
        found.append((memory, {"name": "shared-memory", "mountPath": "/dev/shm"}))  # noqa: S108 - of a pod
    return found


def _word(text: str) -> Word:
    """Return a text that Kubernetes does not expand."""
    return Word(text.replace("$(", "$$("))
