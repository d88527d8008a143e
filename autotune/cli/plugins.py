"""The kinds of parts that other packages may bring, and the registry of each."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autotune.core.registry import Registry

_REGISTRIES = {
    # word of `autotune list` -> module:attribute
    "systems": "autotune.systems.registry:SYSTEMS",
    "engines": "autotune.engine.registry:ENGINES",
    "metrics": "autotune.core.metric:METRIC_PLUGINS",
    "mirrors": "autotune.tracking.registry:MIRRORS",
    "exporters": "autotune.export.registry:EXPORTERS",
    "converters": "autotune.convert.formats:CONVERTERS",
}


def registry_of(kind: str) -> Registry | None:
    """Return the registry of a kind, such as ``systems``; ``None`` where plug-ins bring none of it."""
    module, _, attribute = _REGISTRIES.get(kind, "").partition(":")
    registry: Registry | None = getattr(import_module(module), attribute) if module else None
    return registry


def registries() -> list[Registry]:
    """Return the registry of each kind."""
    return [found for kind in _REGISTRIES if (found := registry_of(kind)) is not None]
