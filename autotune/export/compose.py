"""``docker-compose``: one service."""

from __future__ import annotations

import math

from autotune.export.base import Export, contained, no_container
from autotune.export.yaml_text import Word, yaml_text
from autotune.systems.container import HUB_CACHE, Container
from autotune.systems.deployment import HOST, PORT


class Compose:
    """A service of Docker Compose, for `docker compose -f FILE up`."""

    def refuses(self, export: Export) -> str:
        """Return why there is no container; empty where there is one."""
        return no_container(export)

    def export(self, export: Export) -> str:
        """Return the file."""
        found = export.container
        service: dict[str, object] = {
            "image": export.image,
            "entrypoint": [_word(found.words[0])],
            "command": [_word(word) for word in found.words[1:]],
        }
        env = variables(found)
        if env:
            service["environment"] = {name: _word(text) for name, text in env.items()}
        # open to this machine alone until its owner says otherwise
        service["ports"] = [Word(f"{HOST}:{PORT}:{PORT}")]
        volumes = [_mount(path) for path in found.mounts]
        if found.cache:
            volumes.append({"type": "volume", "source": "hub-cache", "target": HUB_CACHE})
        if volumes:
            service["volumes"] = volumes
        if export.ranks > 1:
            service["ipc"] = "host"  # ranks exchange tensors in shared memory; Docker's own is 64 MB
        if export.gpus:
            device = {"driver": "nvidia", "count": export.gpus, "capabilities": ["gpu"]}
            service["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
        if found.image is not None and found.image.curl and found.ready:
            service["healthcheck"] = {
                "test": ["CMD", "curl", "-fsS", f"http://127.0.0.1:{PORT}{found.ready}"],
                "interval": "10s",
                "timeout": "5s",
                "retries": 3,
                "start_period": f"{math.ceil(export.startup_s)}s",
            }
        service["restart"] = "unless-stopped"
        data: dict[str, object] = {"services": {export.name: service}}
        if found.cache:
            data["volumes"] = {"hub-cache": {}}
        return contained(export, yaml_text(data))


def variables(container: Container) -> dict[str, str]:
    """Return the variables of a container, with the hub's cache where there is one."""
    return {**container.env, **({"HF_HOME": HUB_CACHE} if container.cache else {})}


def _word(text: str) -> Word:
    """Return a text that Compose does not interpolate."""
    return Word(text.replace("$", "$$"))


def _mount(path: str) -> dict[str, object]:
    return {"type": "bind", "source": _word(path), "target": _word(path), "read_only": True}
