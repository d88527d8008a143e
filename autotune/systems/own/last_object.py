"""The last JSON object of a text that may hold anything else, in time that grows with the text alone.

The interpreter's decoder begins anew at every line that may start an object; where objects stay open, each of
those attempts reads on to the end. Here an attempt that fails settles every object that it met: those that it
closed are objects by themselves, and those that it did not would fail at the same place.
"""

from __future__ import annotations

import json
import re

from autotune.core.nesting import nests_too_deep

_BEGINS = re.compile(r"^[ \t]*+\{", re.MULTILINE)
_ENDS = re.compile(r"[ \t\r]*+(?:\n|\Z)")
_TOKEN = re.compile(
    r"""[ \t\r\n]*+(?:
    (?P<mark>[{}\[\],:])
    | (?P<text>"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+")
    | (?P<other>-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+|true|false|null|NaN|-?Infinity)
    )""",
    re.VERBOSE,
)
_NEXT = {  # what may follow in an object or a list, by what stood last
    "{": "text }", "[": "value ]", "key": ":", ":": "value", "}value": ", }", "]value": ", ]",
    "},": "text", "],": "value",
}  # fmt: skip

Place = tuple[int, int]


def last_object(text: str) -> dict[str, object] | None:
    """Return the last JSON object of a text that may hold anything else, or ``None``.

    It must begin its line and be followed by nothing else on the line where it ends; ``NaN`` and
    ``Infinity`` are read, to be refused by name later.
    """
    found: list[Place] = []  # apart and ascending
    line = _BEGINS.search(text)
    while line is not None:
        closed, end = _objects(text, line.end() - 1)
        done = 0
        for start, stop in sorted(closed):
            if start >= done and _ENDS.match(text, stop):
                found.append((start, stop))
                done = stop
        line = _BEGINS.search(text, end)
    if not found:
        return None
    try:
        value: dict[str, object] = json.loads(text[slice(*found[-1])])
    except (ValueError, RecursionError):  # digits or depth beyond what Python reads
        return None
    return None if nests_too_deep(value) else value


def _objects(text: str, start: int) -> tuple[list[Place], int]:
    """Return what is read from ``start``, where a line's first object begins.

    Returns:
        The objects that were closed and begin their lines, and where reading stopped.
    """
    closed: list[Place] = []
    opened: list[tuple[str, int, bool]] = []  # bracket, place, whether it begins its line
    state, at = "value", start
    while True:
        token = _TOKEN.match(text, at)
        wanted = _NEXT.get(state, state)
        kind = "" if token is None else token["mark"] or ("text" if token["text"] else "other")
        if token is None or not _fits(kind, wanted):
            return closed, max(at, start + 1)
        before, at = at, token.end()
        if kind in ("{", "["):
            opened.append((kind, at - 1, not opened or "\n" in text[before:at]))
            state = kind
        elif kind in ("}", "]"):
            opener, began, first = opened.pop()
            if opener == "{" and first:
                closed.append((began, at))
            if not opened:
                return closed, at
            state = _after_value(opened)
        elif kind == ",":
            state = ("}" if opened[-1][0] == "{" else "]") + ","
        elif kind == ":":
            state = ":"
        else:
            state = "key" if wanted.startswith("text") else _after_value(opened)


def _after_value(opened: list[tuple[str, int, bool]]) -> str:
    return "}value" if opened[-1][0] == "{" else "]value"


def _fits(kind: str, wanted: str) -> bool:
    words = wanted.split()
    return kind in words or ("value" in words and kind in ("{", "[", "text", "other"))
