"""Look a part up by its name without importing the others: one line per part, plus entry points."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from autotune.core.dependencies import missing_dependency
from autotune.errors import AutotuneError, Ended, EnvironmentProblem, SpecError, did_you_mean, words_of

IMPORT_S = 120.0
"""Longest wait for a plug-in to be imported, in seconds: one that loads torch from a cold disk takes 60."""

_SHOWN = 200  # characters of what a plug-in gave
_ABSENT = object()


@dataclass(frozen=True)
class PlugIn:
    """A part that another package brings, as its metadata say: nothing of it is imported.

    Args:
        kind: Kind of part: ``"system"``.
        name: Name under which it is known.
        package: Package with its version; empty where nothing says it.
        target: Object that stands for it: ``"module:attribute"``.
        summary: Line that the package says of itself.
        unused: Reason why the name does not mean it; empty where it does.
    """

    kind: str
    name: str
    package: str
    target: str
    summary: str
    unused: str


class Registry:
    """A mapping of names to lazily imported objects.

    Args:
        kind: Kind of the names, for messages: ``"system"``.
        group: Entry-point group through which third parties add theirs: ``"autotune.systems"``.
        builtin: ``{name: "module:attribute"}``, or ``"module"`` for a module itself.
        answers: Exceptions that are no errors: a part may answer with them.
        method: Method that tells a part of this kind from anything else.
        about: A line about each built-in name whose import loads much.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        builtin: Mapping[str, str],
        answers: tuple[type[Exception], ...] = (),
        method: str = "from_dict",
        about: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self.about = about or {}
        self.method = method
        self.group = group
        self._passed: tuple[type[BaseException], ...] = (
            AutotuneError, BrokenPipeError, KeyboardInterrupt, Ended, *answers,
        )  # fmt: skip
        self._builtin = dict(builtin)
        self._hanging: set[str] = set()

    @property
    def builtin(self) -> tuple[str, ...]:
        """The names that this package brings itself."""
        return tuple(self._builtin)

    def names(self) -> list[str]:
        """Return every name that can be loaded, built-in ones first."""
        third_party = {entry.name for entry in _entries(self.group)} - set(self._builtin)
        return [*self._builtin, *sorted(third_party)]

    def plugins(self) -> list[PlugIn]:
        """Return what other packages bring of this kind, by name."""
        found = []
        for entry in _entries(self.group):
            about = {} if entry.dist is None else entry.dist.metadata.json
            summary, unused = str(about.get("summary", "")), self.clash(entry.name)
            found.append(PlugIn(self.kind, entry.name, _package(entry), entry.value, summary, unused))
        return found

    def clash(self, name: str) -> str:
        """Return why a plug-in of that name is not used; empty where none is, or it is the only one."""
        rivals = [entry for entry in _entries(self.group) if entry.name == name]
        brought = " and ".join(_package(entry) or entry.value for entry in rivals)
        if rivals and name in self._builtin:
            return f"{self.kind} {name!r} is autotune's own, and not that of the plug-in {brought}"
        return f"{self.kind} {name!r} is brought by {brought}" if len(rivals) > 1 else ""

    def versions(self, *names: str) -> dict[str, str]:
        """Return the version of each package that brings a part of one of these names."""
        return {
            entry.dist.name: entry.dist.version
            for entry in _entries(self.group)
            if entry.name in names and entry.name not in self._builtin and entry.dist is not None
        }

    def load(self, name: str) -> Any:
        """Import and return what ``name`` stands for.

        Raises:
            SpecError: Nothing has that name; the nearest one is named.
            EnvironmentProblem: A plug-in cannot be imported, does not end, or is no class of ours; or two
                plug-ins have that name.
        """
        target = self._builtin.get(name)
        if target is not None:
            module, _, attribute = target.partition(":")
            try:
                found = import_module(module)
            except ImportError as error:
                raise missing_dependency(error) or error from None
            return getattr(found, attribute) if attribute else found
        if clash := self.clash(name):
            raise EnvironmentProblem(clash, hint="uninstall all but one of them")
        for entry in _entries(self.group):
            if entry.name == name:
                return self._load(entry)
        names = self.names()
        raise SpecError(
            f"unknown {self.kind} {name!r}; allowed: {', '.join(names)}", hint=did_you_mean(name, names)
        )

    def call(self, name: str, work: Callable[[], object]) -> Any:
        """Return what ``work`` gives; what a plug-in raises in it becomes an error that names the plug-in.

        This holds for whatever it raises, also to exit; a user who stops the program, does.

        Args:
            name: Name of the part that works.
            work: Function that asks the part for something.

        Raises:
            EnvironmentProblem: The part is a plug-in and raised what is no error of ours.
        """
        if name in self._builtin:
            return work()
        try:
            return work()
        except self._passed:
            raise
        except BaseException as error:  # whatever a plug-in raises
            raise self.broken(name, f"failed: {words_of(error)}") from error

    def broken(self, name: str, what: str) -> EnvironmentProblem:
        """Return the error that says what a plug-in did."""
        entry = next((entry for entry in _entries(self.group) if entry.name == name), None)
        made = "" if entry is None else f" of the plug-in {_named(entry)}"
        installed = "ask whoever made it, or uninstall it: nothing else needs it"
        return EnvironmentProblem(
            f"{self.kind} {name!r}{made} {what}", hint="" if entry is None else installed
        )

    def _load(self, entry: EntryPoint) -> object:
        """Import a plug-in: in a thread, because an import that hangs cannot be ended."""
        outcome: dict[str, Any] = {}

        def load() -> None:
            try:
                outcome["found"] = entry.load()
            except BaseException as error:  # noqa: BLE001 - whatever a stranger's module does, also exit
                outcome["error"] = error

        if entry.name not in self._hanging:
            if entry.module in sys.modules:
                load()
            else:
                thread = threading.Thread(target=load, daemon=True, name=f"import {entry.module}")
                thread.start()
                thread.join(IMPORT_S)
        if not outcome:
            self._hanging.add(entry.name)
            raise self.broken(entry.name, f"is not imported after {IMPORT_S:g} s")
        error = outcome.get("error")
        if error is not None:
            raise self.broken(entry.name, f"cannot be imported: {words_of(error)}") from error
        found = outcome["found"]
        if not callable(getattr(found, self.method, None)):
            raise self.broken(entry.name, f"is no {self.kind}: {shown(found)} has no method {self.method}")
        return found


class Guarded:
    """A part of a plug-in's that is asked through :meth:`Registry.call`; it passes for the part itself.

    Args:
        registry: Registry that it is of.
        name: Name of the part.
        part: The part.
    """

    def __init__(self, registry: Registry, name: str, part: object) -> None:
        self._registry, self._name, self._part = registry, name, part

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._part)

    def __getattr__(self, attribute: str) -> Any:
        registry, name, part = self._registry, self._name, self._part
        found = registry.call(name, lambda: getattr(part, attribute, _ABSENT))
        if found is _ABSENT:
            raise AttributeError(f"{type(part).__name__} has no {attribute}")
        if not callable(found):
            return found
        return lambda *given, **named: registry.call(name, lambda: found(*given, **named))


def shown(value: object) -> str:
    """Return a value as text that is not too long, whatever its own text does."""
    try:
        text = repr(value)
    except (KeyboardInterrupt, Ended):
        raise
    except BaseException:  # noqa: BLE001 - a stranger's method
        text = f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _named(entry: EntryPoint) -> str:
    """Return package, version and object of an entry point."""
    return ": ".join(filter(None, (_package(entry), entry.value)))


def _package(entry: EntryPoint) -> str:
    return "" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


def _entries(group: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group, by name; the disk is read once while the search path stays."""
    return _entries_on(group, tuple(sys.path))


@lru_cache(maxsize=64)
def _entries_on(group: str, _path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    return tuple(sorted(set(entry_points(group=group)), key=lambda entry: (entry.name, _package(entry))))
