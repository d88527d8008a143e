"""What a study takes from files that its owner did not write, and whether it may.

Everything that comes by way of ``space:`` counts as a stranger's, shipped files included: they pass because
they say nothing that a stranger may not say. What the owner's own file says, ``--set`` included, is never
questioned. A parameter that it repeats is the owner's with the values that stand there; what it leaves to the
space is the space's still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autotune.core.borrowed import Borrowed, Objection, Review
from autotune.core.json_object import JsonObject
from autotune.core.redact import redact
from autotune.errors import SpecError
from autotune.spec.yaml_text import Document

_SHOWN = 8  # further objections that an error names


def borrowed(own: Mapping[str, object], base: Mapping[str, object]) -> Borrowed:
    """Return what a study takes from a space.

    Args:
        own: Data of the owner's file.
        base: Data of the space, with the spaces that it starts from merged in.
    """
    theirs, ours = _section(base, "parameters"), _section(own, "parameters")
    parameters = {}
    for name, entry in theirs.items():
        repeated = ours.get(name)
        if name in ours and (not isinstance(repeated, Mapping) or "type" in repeated):
            continue  # replaced as a whole
        if isinstance(entry, Mapping):
            parameters[name] = _missing(entry, repeated or {})
    entries = {name: entry for name, entry in ours.items() if isinstance(entry, Mapping)}
    return Borrowed(
        section={**_section(base, "system"), **_section(own, "system")},
        system=_missing(_section(base, "system"), _section(own, "system")),
        parameters=parameters,
        confirmed=frozenset(ours),
        derived=_missing(_section(base, "derived"), _section(own, "derived")),
        engine=_engine(base, own),
        all_parameters={**parameters, **{n: {**parameters.get(n, {}), **e} for n, e in entries.items()}},
        all_derived={**_section(base, "derived"), **_section(own, "derived")},
    )


def review_space(
    own: Mapping[str, object], base: Document, review: Review, *, trust: bool = False
) -> tuple[str, ...]:
    """Refuse, or list, what a space says that only the study's owner may say.

    Args:
        own: Data of the owner's file.
        base: The space, with the spaces that it starts from merged in.
        review: Function that finds the objections.
        trust: Whether the owner takes the space's word for all of them.

    Returns:
        One line per thing that is trusted: where it stands, what it is and why it is the owner's.

    Raises:
        SpecError: There is one, and the space is not trusted.
    """
    found = review(borrowed(own, base.data))
    if not found:
        return ()
    if trust:
        return tuple(redact(f"{_place(base, item)}: {item.what}: {item.reason}") for item in found)
    first, rest = found[0], found[1:]
    also = "; ".join(f"{item.what} ({item.reason})" for item in rest[:_SHOWN])
    more = f", and {len(rest) - _SHOWN} more" if len(rest) > _SHOWN else ""
    error = SpecError(
        f"{first.what}: a search space may not say this, only the study's own file: it {first.reason}"
        + (f"; the same of {also}{more}" if also else ""),
        path=first.path,
        at_key=first.at_key,
        hint="write it in your own study file if you mean it; --trust-space takes the space's word for all",
    )
    raise base.locate(error)


def _place(document: Document, item: Objection) -> str:
    return str(document.mark(item.path, item.at_key))


def _section(data: Mapping[str, object], key: str) -> JsonObject:
    found = data.get(key)
    return found if isinstance(found, Mapping) else {}


def _missing(theirs: Mapping[str, object], ours: Mapping[str, object]) -> dict[str, Any]:
    return {key: value for key, value in theirs.items() if key not in ours}


def _engine(base: Mapping[str, object], own: Mapping[str, object]) -> Mapping[str, object]:
    theirs, ours = base.get("engine", {}), own.get("engine", {})
    if isinstance(theirs, str):
        theirs = {"use": theirs}
    if isinstance(ours, str) or not isinstance(theirs, Mapping):
        return {}  # a name of the owner's replaces the section
    return _missing(theirs, ours if isinstance(ours, Mapping) else {})


def trusted_lines(stored: Any) -> tuple[str, ...]:
    """Return what a stored study says that its owner trusted."""
    listed = isinstance(stored, Sequence) and not isinstance(stored, str)
    return tuple(str(line) for line in stored) if listed else ()
