"""Names that a tracking store takes for names that a study may have.

MLflow allows letters, digits and ``_-. /:`` in at most 250 characters, and no name that as a path would be
written otherwise (``a//b``, ``/a``) or that begins with two dots. Two names must not become one: the later
gets a mark of its own.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterable

_REFUSED = re.compile(r"[^A-Za-z0-9_\-. /:]")
_LONGEST = 240  # below MLflow's 250, with room for a prefix such as "best."


def allowed_name(name: str) -> str:
    """Return the name, or the nearest one that the store takes."""
    found = _REFUSED.sub("_", name)
    if found != posixpath.normpath(found) or found.startswith(("/", "..")) or found == ".":
        found = found.replace("/", "_")
    if found in ("", ".") or found.startswith(".."):
        found = f"_{found}"
    return found if len(found) <= _LONGEST else f"{found[: _LONGEST - 9]}-{_digest(name)}"


def allowed_names(names: Iterable[str]) -> dict[str, str]:
    """Return for each name, in order, one that the store takes and that is no other's."""
    wanted = list(dict.fromkeys(names))
    taken = {name for name in wanted if allowed_name(name) == name}  # those keep their own
    result = {}
    for name in wanted:
        found = allowed_name(name)
        if found != name and found in taken:
            found = f"{found[: _LONGEST - 9]}-{_digest(name)}"
        taken.add(found)
        result[name] = found
    return result


def _digest(name: str) -> str:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
