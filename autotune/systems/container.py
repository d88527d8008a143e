"""A server as a container runs it: official images, the command in them, what they must be given.

Images after the documentation of each project: vLLM ("Using Docker"), SGLang ("Install SGLang"), llama.cpp
(docs/docker.md), TensorRT-LLM (NGC catalogue), OpenVINO Model Server and Ollama (Docker Hub).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

EVERYWHERE = "0.0.0.0"  # noqa: S104 - of a container: what it publishes, its owner says
"""Address on which a server in a container listens."""

HUB_CACHE = "/cache/huggingface"
"""Folder of a container in which what is fetched from a hub is kept."""

_RELEASE = re.compile(r"v?(b?\d+(?:\.\d+)*(?:\.?(?:rc|post)\d+)*)(?:[+-](?!dev).*)?")


@dataclass(frozen=True)
class Image:
    """An official container image of a server.

    Args:
        name: Repository of the image.
        program: Words that start the server in it.
        tag: Tag of a version.
        newest: Tag of the newest version; empty where there is none.
        cpu: Repository, tag and newest tag of the image for machines without a GPU; empty where none is
            known, the same where one image serves both.
        curl: Whether the image has curl, which asks whether the server is ready.
    """

    name: str
    program: tuple[str, ...]
    tag: str = "{version}"
    newest: str = "latest"
    cpu: tuple[str, str, str] | None = None
    curl: bool = False

    def reference(self, version: str, *, gpu: bool) -> tuple[str, bool]:
        """Return the image to run, empty where none is known, and whether it is that of the version.

        Args:
            version: Version that was measured; empty where it is not known.
            gpu: Whether it was measured on a GPU.
        """
        name, tag, newest = (self.name, self.tag, self.newest) if gpu else self.cpu or ("", "", "")
        release = _RELEASE.fullmatch(version)
        if name and release:
            return f"{name}:{tag.format(version=release[1])}", True
        return (f"{name}:{newest}" if name and newest else ""), False


@dataclass(frozen=True)
class Container:
    """A configuration as a process in a container.

    Args:
        words: Program and arguments; the server listens on every address of the container.
        env: Variables on top of those of the image.
        ready: Path that answers 200 once the server takes requests.
        image: Official image; ``None`` where the server has none.
        mounts: Files and folders of the measured machine that the command names.
        cache: Whether the model is fetched from a hub by its name, and is worth keeping.
        lost: Settings of the launch that are no part of it, a line each.
    """

    words: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: str = ""
    image: Image | None = None
    mounts: tuple[str, ...] = ()
    cache: bool = False
    lost: tuple[str, ...] = ()


def listening_everywhere(words: Sequence[str], host: str) -> tuple[str, ...]:
    """Return a command's words with the address of this machine alone as every address."""
    own = {host: EVERYWHERE}
    return tuple(own.get(word, re.sub(f"^(--[\\w-]+=){re.escape(host)}$", rf"\g<1>{EVERYWHERE}", word))
                 for word in words)  # fmt: skip


def paths_in(words: Sequence[str], models: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the absolute paths that a command's arguments are, and those of its models."""
    found = [word.partition("=")[2] if word.startswith("--") else word for word in words[1:]]
    paths = [word for word in (*found, *models) if word.startswith("/") and not word.startswith("/dev/")]
    return tuple(dict.fromkeys(paths))
