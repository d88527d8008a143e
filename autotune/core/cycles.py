"""A cycle among things that need each other, for the error that names it."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def cycle_of(needs: Mapping[str, Collection[str]]) -> str:
    """Return a cycle as ``a -> b -> a``.

    Args:
        needs: Names that each name needs; each needs at least one of the others.
    """
    path = [next(iter(needs))]
    while True:
        following = next(name for name in needs if name in needs[path[-1]])
        if following in path:
            return " -> ".join([*path[path.index(following) :], following])
        path.append(following)
