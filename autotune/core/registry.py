"""Look a part up by its name without importing the others: one line per part, plus entry points."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from autotune.errors import SpecError, did_you_mean


class Registry:
    """Map names to lazily imported objects.

    Args:
        kind: What the names are, for messages: ``"system"``.
        group: Entry-point group through which third parties add theirs: ``"autotune.systems"``.
        builtin: ``{name: "module:attribute"}``.
    """

    def __init__(self, kind: str, group: str, builtin: Mapping[str, str]) -> None:
        self.kind = kind
        self.group = group
        self._builtin = dict(builtin)

    @property
    def builtin(self) -> tuple[str, ...]:
        """The names that this package brings itself."""
        return tuple(self._builtin)

    def names(self) -> list[str]:
        """Return every name that can be loaded, built-in ones first."""
        third_party = {entry.name for entry in entry_points(group=self.group)} - set(self._builtin)
        return [*self._builtin, *sorted(third_party)]

    def load(self, name: str) -> Any:
        """Import and return what ``name`` stands for.

        Raises:
            SpecError: Nothing has that name; the nearest one is named.
        """
        target = self._builtin.get(name)
        if target is not None:
            module, _, attribute = target.partition(":")
            return getattr(import_module(module), attribute)
        for entry in entry_points(group=self.group):
            if entry.name == name:
                return entry.load()
        names = self.names()
        raise SpecError(
            f"unknown {self.kind} {name!r}; allowed: {', '.join(names)}", hint=did_you_mean(name, names)
        )
