"""What a server's flags are: spelling, kind, default and choices, from a table made by asking the server.

The tables in ``tables/`` are data: one JSON file per server, of one version. ``autotune flags SERVER
--installed PROGRAM`` says how an installed server differs from it; with ``--write FILE`` it makes a new one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from autotune.core.json_object import JsonObject
from autotune.core.parameter.base import read_number, read_size
from autotune.core.scalar import typed
from autotune.core.trial import Value
from autotune.errors import did_you_mean

KINDS = ("int", "float", "text", "json", "toggle", "switch")
"""``toggle``: ``--x`` and ``--no-x``, or a truth value; ``switch``: ``--x`` or nothing."""

AUTO = "auto"
"""Value of a parameter that leaves the choice to the server: the flag is left out."""

_SIZES = "Parse human-readable integers"  # help of the flags that take them: of vLLM's parser itself


@dataclass(frozen=True)
class Flag:
    """One flag.

    Args:
        name: Its name as a parameter: no leading dashes, underscores.
        flag: Flag as written on the command line, in the environment or in a configuration file.
        kind: One of :data:`KINDS`.
        default: Default of the server; ``None`` where the server decides at start-up.
        choices: Allowed texts; ``None`` where any value of the kind is.
        help: First sentence of the server's own help.
    """

    name: str
    flag: str
    kind: str
    default: Value | None = None
    choices: tuple[str, ...] | None = None
    help: str = ""

    @property
    def takes_sizes(self) -> bool:
        """Whether the server reads ``8k`` (8,000) and ``8K`` (8,192) here."""
        return self.help.startswith(_SIZES)

    def typed(self, value: object) -> Any:
        """Return a value as the type that the flag has, where its text writes one."""
        if isinstance(value, Mapping):
            return typed(value)
        if isinstance(value, list | tuple):
            return typed(value) if self.kind == "json" else [self.typed(item) for item in value]
        if not isinstance(value, str):
            return value
        text = str(value)
        if self.kind in ("toggle", "switch"):
            return {"true": True, "false": False}.get(text.lower(), text)
        if self.kind not in ("int", "float") and not self.takes_sizes:
            return text
        number = read_number(text)
        if number is None and self.takes_sizes:
            number = read_size(text)
        return text if number is None else number

    def refuses(self, value: Any) -> str:
        """Return why the server's own parser would refuse ``value``; empty if it would not."""
        if self.is_left_out(value):
            return ""
        if isinstance(value, list | tuple) and self.kind not in ("json", "toggle", "switch"):
            if isinstance(self.default, int | float):
                return f"takes one value, found the list {list(value)!r}"
            return next((problem for item in value if (problem := self.refuses(item))), "")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if self.kind in ("toggle", "switch"):
            return "" if isinstance(value, bool) else f"takes true or false, found {value!r}"
        if self.kind == "int" and not (number and float(value).is_integer()):
            return f"takes a whole number, found {value!r}"
        if self.kind == "float" and not number:
            return f"takes a number, found {value!r}"
        if self.choices is not None and str(value) not in self.choices:
            near = did_you_mean(str(value), self.choices)
            return f"cannot be {value!r}; allowed: {', '.join(self.choices)}" + (f"; {near}" if near else "")
        return ""

    def is_left_out(self, value: object) -> bool:
        """Return whether ``value`` leaves the choice to the server: ``auto``, unless it has its own one."""
        free_text = self.kind == "text" and self.choices is None and self.default is not None
        own = free_text or AUTO in (self.choices or ())
        return isinstance(value, str) and value == AUTO and not own

    def words(self, value: object, *, separator: str = ",") -> list[str]:
        """Return the command-line words that set the flag.

        Args:
            value: Value of the flag's type.
            separator: Text between the values of a list; a space makes each a word of its own.
        """
        if self.is_left_out(value):
            return []
        if self.kind == "switch":
            return [self.flag] if value else []
        if self.kind == "toggle":
            return [self.flag if value else "--no-" + self.flag.removeprefix("--")]
        if isinstance(value, list | tuple) and self.kind != "json":
            items = [plain(item) for item in value]
            return [self.flag, *(items if separator == " " else [separator.join(items)])]
        return [self.flag, plain(value)]


@dataclass(frozen=True)
class FlagTable:
    """Flags of one server at one version.

    Args:
        server: Its name.
        version: Version that the table was made from.
        source: Command that was asked.
        flags: Flags by name.
    """

    server: str
    version: str
    source: str
    flags: Mapping[str, Flag]

    @classmethod
    def from_dict(cls, data: JsonObject) -> FlagTable:
        """Read what :meth:`to_json` or a server's probe wrote."""
        flags = {
            name: Flag(name, **{**entry, "choices": tuple(entry["choices"]) if entry["choices"] else None})
            for name, entry in data["flags"].items()
        }
        return cls(data["engine"], data["version"], data["source"], flags)

    def to_json(self) -> str:
        """Return the text of a table's file: one flag a line, so that a new version reads as a short diff."""
        lines = []
        for name, flag in sorted(self.flags.items()):
            entry = {key: getattr(flag, key) for key in ("flag", "kind", "default", "choices", "help")}
            lines.append(f"  {json.dumps(name)}: {json.dumps(entry)}")
        head = "".join(
            f"{json.dumps(key)}: {json.dumps(said)},\n"
            for key, said in (("engine", self.server), ("version", self.version), ("source", self.source))
        )
        return "{" + head + '"flags": {\n' + ",\n".join(lines) + "\n}}\n"


@cache
def table(server: str) -> FlagTable:
    """Return the table of a server that ships one."""
    text = (files("autotune.systems.served") / "tables" / f"{server}.json").read_text(encoding="utf-8")
    return FlagTable.from_dict(json.loads(text))


def plain(value: object) -> str:
    """Return a value as a server reads it: ``true``, ``0.9``, compact JSON for a mapping."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(typed(value), separators=(",", ":"))
    return f"{value:.12g}" if isinstance(value, float) else str(value)
