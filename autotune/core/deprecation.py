"""Names that were renamed go on for two minor releases and say what to write instead: docs/stability.md."""

from __future__ import annotations

import sys
import warnings

KEPT = 2
"""Minor releases in which a deprecated name goes on."""


class ExperimentalWarning(FutureWarning):
    """A warning that a name of :mod:`autotune.experimental` may change in any release."""


def warn_deprecated(what: str, instead: str, since: str) -> None:
    """Warn whoever uses a deprecated name: the line of theirs that called this package.

    Args:
        what: Name as it was used, such as ``restart='engine'``.
        instead: Name in its place.
        since: Release that deprecated it, ``"0.2"`` for instance; it goes :data:`KEPT` minor releases later.
    """
    major, minor = since.split(".")[:2]
    goes = f"{major}.{int(minor) + KEPT}"
    text = f"{what} is deprecated since autotune {since} and goes with {goes}: use {instead}"
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("autotune."):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, DeprecationWarning, stacklevel=level)
