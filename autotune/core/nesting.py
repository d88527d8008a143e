"""How deep the data of others may nest, whichever Python reads it.

Python 3.11 reads JSON as deep as its stack of 1000 frames has room, later ones ten times deeper; what is read
is walked through afterwards, by functions that recurse.
"""

from __future__ import annotations

from collections.abc import Mapping

MOST_LEVELS = 950
"""Levels of lists and mappings, within what Python 3.11 reads."""

TOO_DEEP = "nested too deep"


def nests_too_deep(value: object) -> bool:
    """Return whether lists and mappings nest more than :data:`MOST_LEVELS` deep in a value.

    One that is in several places counts where it is met first, so that one that is in itself is no deeper.
    """
    level, seen = [value], set[int]()
    for _ in range(MOST_LEVELS + 1):
        inner = {
            id(one): one for one in level if isinstance(one, list | tuple | Mapping) and id(one) not in seen
        }
        if not inner:
            return False
        seen |= inner.keys()
        level = [
            one
            for outer in inner.values()
            for one in (outer.values() if isinstance(outer, Mapping) else outer)
        ]
    return True
