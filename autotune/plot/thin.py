"""Bounds on what one figure draws, so that a study of thousands of trials opens at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

MOST = 400
"""Points of one kind in one figure."""


def thinned(points: Sequence[T], most: int = MOST) -> list[T]:
    """Return at most that many points, evenly taken, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(k * (len(points) - 1) / (most - 1))] for k in range(most)]


def said(points: Sequence[object], most: int = MOST) -> str:
    """Return what is left out in words; empty if nothing is."""
    return f"{most} of {len(points)} trials drawn" if len(points) > most else ""
