"""What every format is made of: a configuration, its deployment, and where it was measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from autotune.core.redact import redact, visible
from autotune.core.trial import Config
from autotune.errors import SpecError
from autotune.systems.base import System
from autotune.systems.container import Container
from autotune.systems.deployment import Deployment


@dataclass(frozen=True)
class Export:
    """A configuration of a study to be written down, with what is known of it.

    Args:
        study: Name of the study.
        use: Name of its system; empty for a study of configurations that a caller measured.
        config: Values of all active parameters.
        header: Provenance, a line each: trial, confirmation, metrics, versions, hardware, workload.
        deployment: Command, variables and requests, secrets masked; ``None`` without a system.
        built: System of the study; ``None`` without one.
        unknown: Reason why the system cannot be asked here, such as that it is not installed; empty where it
            can.
        image: Container image to run; empty where none is known.
        image_note: Fact to be known of the image; empty where it is that of the measured version.
        gpus: GPUs of a server with this configuration.
        cpus: Processors of the same.
        ranks: Processes of the same that share memory; 1 for one.
        startup_s: Longest time in which the study let the server start, seconds.
    """

    study: str
    use: str
    config: Config
    header: tuple[str, ...] = ()
    deployment: Deployment | None = None
    built: System | None = field(default=None, repr=False, compare=False)
    unknown: str = ""
    image: str = ""
    image_note: str = ""
    gpus: int = 0
    cpus: float = 1.0
    ranks: int = 1
    startup_s: float = 600.0

    @property
    def name(self) -> str:
        """Name of the service: lower-case letters, digits and hyphens, at most 63, as Kubernetes wants it."""
        text = re.sub(r"[^a-z0-9]+", "-", self.study.lower()).strip("-")[:63].rstrip("-")
        return text if text[:1].isalpha() else f"study-{text}"[:63].rstrip("-")

    @property
    def container(self) -> Container:
        """The server in a container; :func:`no_container` says where there is none."""
        assert self.deployment is not None  # noqa: S101 - asked before
        assert self.deployment.container is not None  # noqa: S101
        return self.deployment.container


class Exporter(Protocol):
    """A format: whether it makes sense for a configuration, and its text."""

    def refuses(self, export: Export) -> str:
        """Return why the format makes no sense here; empty where it does."""

    def export(self, export: Export) -> str:
        """Return the text of the file, with the provenance as comments."""


def commented(export: Export, text: str) -> str:
    """Return a text below its provenance, each line a ``#`` comment."""
    lines = [line for note in export.header for line in visible(redact(note)).splitlines() or [""]]
    return "\n".join([*(f"# {line}".rstrip() for line in lines), text.rstrip("\n")]) + "\n"


def contained(export: Export, text: str) -> str:
    """Return the text of a container below its provenance, with what the container is not."""
    lost = [f"no part of the container: {text}" for text in export.container.lost]
    notes = [*([export.image_note] if export.image_note else []), *lost]
    return commented(replace(export, header=(*export.header, *notes)), text)


def no_command(export: Export) -> str:
    """Return why there is no command to start; empty where there is one."""
    if export.unknown:
        return f"its command is not known here: {export.unknown}"
    if export.deployment is None:
        return "it was measured by a Python program that asked for trials"
    if export.use in ("function", "ray_tune"):
        return "a function is called with its configuration, not started"
    if not export.deployment.argv:
        return export.deployment.notes[0] if export.deployment.notes else "there is nothing to start"
    return ""


def no_server(export: Export) -> str:
    """Return why there is no server to keep running; empty where there is one."""
    why = no_command(export)
    if why or export.deployment is None or export.deployment.endpoint is not None:
        return why
    return f"{export.use} is no server: it runs once and ends"


def no_container(export: Export) -> str:
    """Return why there is no container to run; empty where there is one."""
    why = no_server(export)
    if why:
        return why
    if export.deployment is None or export.deployment.container is None:
        return f"nothing says how {export.use} runs in a container"
    if export.image:
        return ""
    return f"no official image serves {export.use} as it was measured; `--image IMAGE` names one"


def refusal(export: Export, name: str, why: str, allowed: Sequence[str]) -> SpecError:
    """Return the error of a format that makes no sense for a configuration."""
    system = export.use or "this study"
    return SpecError(f"{system} cannot be exported as {name}: {why}; allowed: {', '.join(allowed)}")
