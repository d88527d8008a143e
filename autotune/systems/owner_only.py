"""What a search space may set of a system, by an allow-list; the rest only the study's owner may say.

A search space is data from a stranger: it may waste a trial and run nothing. ``served/classes/NAME.json``
lists the parameters of a system that a space may set (``tunable``: numbers, choices and switches that change
how fast and how well), the values of those whose texts choose more than that (``values``), the keys of those
that are structures (``inner``), and of every other flag why it is the owner's (``owner_only``). A flag in
neither list, such as one of a new version, is refused. A system of a third party lists in an attribute
``tunable`` what a space may set of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from autotune.core.borrowed import Borrowed, Objection
from autotune.core.expression import Expression
from autotune.core.json_object import JsonObject
from autotune.core.parameter.base import read_number
from autotune.errors import SpecError
from autotune.systems.base import System
from autotune.systems.command import BUILTIN
from autotune.systems.own.words import REST, placeholders
from autotune.systems.registry import SYSTEMS, build_system
from autotune.systems.served.flagged import FlaggedSystem
from autotune.systems.served.flags import AUTO, plain, table
from autotune.systems.served.tiny import TINY

UNCLASSED = "is no flag that anybody has classed as harmless: it may be new"
_NO_WORD = "may hold a path, an address or code: a plain word or a number is none"
_NOT_LISTED = "chooses what is not known to be harmless"
_FREE = "takes free-form settings"

# No separators of paths, "..", schemes, "@", leading dash or dotted module: a dot stands before a digit only.
_WORD = re.compile(r"[A-Za-z0-9_+](?:[A-Za-z0-9_+,|-]|\.(?=[0-9])){0,63}")
_NAMES = ("device", "dtype", "memory_limit")  # keys of a section whose values the system reads strictly
_MOST_LISTED = 1000


@dataclass(frozen=True)
class FlagClasses:
    """The parameters of a system by who may set them.

    Args:
        tunable: Flags that a search space may set.
        values: Allowed texts of those whose values choose more than speed and quality.
        inner: Allowed keys of those that are structures: ``"value"``, a list of texts, or keys again.
        owner_only: Reasons of the others.
    """

    tunable: frozenset[str] = frozenset()
    values: Mapping[str, Sequence[str]] | None = None
    inner: Mapping[str, JsonObject] | None = None
    owner_only: Mapping[str, str] | None = None

    def reason(self, name: str) -> str:
        """Return why a space may not set a parameter; empty if it may."""
        return "" if name in self.tunable else (self.owner_only or {}).get(name, UNCLASSED)


@cache
def flag_classes(use: str) -> FlagClasses | None:
    """Return the classes of a built-in system's parameters; ``None`` where there are none."""
    if use not in SYSTEMS.builtin:
        return None
    file = files("autotune.systems.served") / "classes" / f"{use}.json"
    if not file.is_file():
        return None
    data = json.loads(file.read_text(encoding="utf-8"))
    reasons = {name: reason for reason, names in data["owner_only"].items() for name in names}
    return FlagClasses(frozenset(data["tunable"]), data.get("values"), data.get("inner"), reasons)


def objections(found: Borrowed, build: Callable[[], System] | None = None) -> list[Objection]:
    """Return what a search space says of a system that only the study's owner may say.

    Args:
        found: Parts that the study takes from the space.
        build: Function that gives the study's system, once it is needed; built from the section without it.
    """
    use = found.section.get("use")
    result = list(_of_section(found.system))
    if not isinstance(use, str) or (use not in SYSTEMS.builtin and use not in SYSTEMS.names()):
        return result  # that is an error of its own
    if use == "replay":
        return result  # a table is looked up, nothing is launched
    names = _Names(found.section, build, theirs="use" in found.system)
    flags = found.system.get("flags")
    path: tuple[str | int, ...]
    for name, value in flags.items() if isinstance(flags, Mapping) else ():
        path = ("system", "flags", str(name))
        result += names.check(path, f"{name}: {_shown(value)}", name) or names.check_value(path, name, value)
    for name, entry in found.parameters.items():
        refused = names.check(("parameters", name), f"parameter {name!r}", name)
        if refused and name in found.confirmed:
            refused = _unconfirmed(found, names, name)
        if refused:
            result += refused
            continue
        for path, value in _values(("parameters", name), entry):
            result += names.check_value(path, name, value)
    for name in found.derived:
        result += names.check(("derived", name), f"derived value {name!r}", name)
    return result + _of_derived(found, names)


def _unconfirmed(found: Borrowed, names: _Names, name: str) -> list[Objection]:
    """Return the objections to values of the space's for an owner's parameter that the owner's file names.

    Its name is allowed by that; its values are only where they stand there too.
    """
    entry = found.parameters[name]
    own = found.all_parameters[name].keys() - entry.keys()
    if "values" in own or ({"low", "high"} <= own and "values" not in entry):
        return []
    values = [
        replace(objection, at_key=False)
        for path, value in _values(("parameters", name), entry)
        for objection in names.check(path, f"{name}: {_shown(value)}", name)
    ]
    return values or names.check(("parameters", name), f"the values of parameter {name!r}", name)


def _of_derived(found: Borrowed, names: _Names) -> list[Objection]:
    """Return the objections to texts that derived values come to, each as a value of that name.

    A derived value of the owner's is asked only for what it takes from the space.
    """
    result: dict[Objection, None] = {}
    for name in {**found.derived, **found.all_derived}:
        if names.known is not None and name not in names.known:
            continue  # it reaches the system through other derived values at most
        if name in found.derived and names.check((), "", name):
            continue  # refused whatever it comes to
        for path, value in _texts(found, name):
            of = path[1]
            theirs = of in found.derived if path[0] == "derived" else path[2] in found.parameters.get(of, {})
            if name in found.derived or theirs:
                where = ("derived", name) if name in found.derived else path
                refused = [
                    replace(o, at_key=False) for o in names.check(where, f"{name}: {_shown(value)}", name)
                ]
                result.update(dict.fromkeys(refused or names.check_value(where, name, value)))
    return list(result)


def _texts(found: Borrowed, name: str) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield what a derived value can come to other than numbers and truth values, with where it is written.

    Operators and functions give numbers and truth values; a text is quoted whole or is that of a name.
    """
    derived = {**found.derived, **found.all_derived}
    seen: set[str] = set()
    while name in derived and name not in seen:
        seen.add(name)
        try:
            root = Expression.parse(derived[name]).root
        except SpecError:
            return  # it is raised again once the space is read
        if root.kind == "constant" and isinstance(root.value, str):
            yield ("derived", name), root.value
        if root.kind != "name":
            return
        name = str(root.value)
    entry = {**found.parameters, **found.all_parameters}.get(name, {})
    for path, value in _values(("parameters", name), entry):
        if read_number(plain(value)) is None and plain(value) not in ("true", "false"):
            yield path, value


def _of_section(section: Mapping[str, object]) -> Iterator[Objection]:
    """Yield the objections to keys of a ``system`` section other than ``flags``."""
    for key, value in section.items():
        if key == "use" and value not in SYSTEMS.builtin:
            yield Objection(("system", key), f"use: {_shown(value)}", "loads code", False)
        elif key in ("model", "draft_model") and value != TINY:
            yield Objection(("system", key), f"{key}: {_shown(value)}", "names a model")
        elif key in _NAMES and (not isinstance(value, str) or _odd(value.replace(" ", ""))):
            yield Objection(("system", key), f"{key}: {_shown(value)}", _NO_WORD, False)


class _Names:
    """The allow-list that holds for one ``system`` section."""

    def __init__(
        self, section: Mapping[str, object], build: Callable[[], System] | None, *, theirs: bool
    ) -> None:
        use = str(section["use"])
        self.classes = flag_classes(use) or FlagClasses()
        self.known: frozenset[str] | None = None  # names that the system has; None: it takes any
        self.allowed: frozenset[str] | None = frozenset()  # None: all
        if theirs and use not in SYSTEMS.builtin:
            return  # nothing of it is even imported
        kind = SYSTEMS.load(use)
        if use not in SYSTEMS.builtin:
            self.allowed = frozenset(getattr(kind, "tunable", ()))
        elif issubclass(kind, FlaggedSystem):
            own = (*kind.translated, *kind.aliases, *kind.variables)
            self.known, self.allowed = frozenset((*own, *table(use).flags)), self.classes.tunable
        elif use == "transformers":
            self.known = self.allowed = self.classes.tunable
        elif use in ("command", "openai_server"):
            self._read_words(section, build or (lambda: build_system(section)))
        else:
            self.allowed = None  # the owner's own function names what it takes

    def _read_words(self, section: JsonObject, build: Callable[[], System]) -> None:
        """Allow what the owner's words name and, where they pass on anything, what is tunable anywhere."""
        try:
            named = build().parameters()
        except SpecError:  # it is raised again once the section is checked
            self.allowed = None
            return
        if named is not None:
            self.known = self.allowed = frozenset(named)
        elif section["use"] == "openai_server":
            self.allowed = self.classes.tunable
        else:
            env = section.get("env", {})
            words = [word for word in (*section["argv"], *env.values()) if word != REST]
            own = {name for word in words for name in placeholders(word)}
            self.allowed = _tunable_anywhere() | (own - set(BUILTIN))

    def check(self, path: tuple[str | int, ...], what: str, name: str) -> list[Objection]:
        """Return the objection to a name, if there is one."""
        if self.allowed is None or name in self.allowed:
            return []
        if self.known is not None and name not in self.known:
            return []  # a derived value of constraints, or no parameter at all, which is an error of its own
        return [Objection(path, what, self.classes.reason(name) or UNCLASSED)]

    def check_value(self, path: tuple[str | int, ...], name: str, value: object) -> list[Objection]:
        """Return the objections to a value of an allowed name."""
        listed = (self.classes.values or {}).get(name)
        inner = (self.classes.inner or {}).get(name)
        if isinstance(value, Mapping):
            if inner is None:
                return [Objection(path, f"{name}: {_shown(value)}", _FREE, False)]
            return list(_inside(path, inner, value))
        return list(_plain_only(path, name, value, listed))


def _inside(
    path: tuple[str | int, ...], rules: Mapping[str, object], value: Mapping[str, object]
) -> Iterator[Objection]:
    """Yield the objections to the keys and values of a structure."""
    for key, item in value.items():
        rule, where = rules.get(key), (*path, key)
        if rule is None:
            what = f"{path[-1]}.{key}: {_shown(item)}"
            yield Objection(where, what, "is no key that anybody has classed as harmless")
        elif isinstance(item, Mapping):
            if isinstance(rule, Mapping):
                yield from _inside(where, rule, item)
            else:
                yield Objection(where, f"{path[-1]}.{key}: {_shown(item)}", _FREE, False)
        else:
            listed = rule if isinstance(rule, list) else None
            yield from _plain_only(where, f"{path[-1]}.{key}", item, listed)


def _plain_only(
    path: tuple[str | int, ...], name: str, value: object, listed: Sequence[str] | None
) -> Iterator[Objection]:
    """Yield objections to what is no number, truth value, plain word or list of these."""
    items = value if isinstance(value, list) else [value]
    for item in items[:_MOST_LISTED]:
        text = plain(item)
        if isinstance(item, Mapping | list):
            yield Objection(path, f"{name}: {_shown(item)}", _FREE, False)
        elif listed is not None and text != AUTO and text not in listed:
            yield Objection(
                path, f"{name}: {_shown(item)}", f"{_NOT_LISTED}; known: {', '.join(listed)}", False
            )
        elif _odd(text):
            yield Objection(path, f"{name}: {_shown(item)}", _NO_WORD, False)
    if len(items) > _MOST_LISTED:
        yield Objection(path, f"{name}: {len(items)} values", _FREE, False)


def _odd(text: str) -> bool:
    """Return whether a text is neither a plain word nor a number."""
    return read_number(text) is None and not _WORD.fullmatch(text)


def _values(
    path: tuple[str | int, ...], entry: Mapping[str, object]
) -> Iterator[tuple[tuple[str | int, ...], object]]:
    """Yield the values that a parameter's entry allows, each with its path."""
    listed = entry.get("values")
    for i, value in enumerate(listed if isinstance(listed, list) else ()):
        yield (*path, "values", i), value
    if entry.get("default") is not None:
        yield (*path, "default"), entry["default"]


def _shown(value: object) -> str:
    text = plain(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@cache
def _tunable_anywhere() -> frozenset[str]:
    """Return the parameters that are harmless to every system that has them."""
    found = [classes for use in SYSTEMS.builtin if (classes := flag_classes(use)) is not None]
    refused = {name for classes in found for name in classes.owner_only or ()}
    return frozenset(name for classes in found for name in classes.tunable) - refused
