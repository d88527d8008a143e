"""Texts shortened alike for columns and axes, so that those that differ still do."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.core.cells import beginning, cell_len, ending

SHORT = 16
"""Cells of a shortened value, in a cell of a table and beside an axis."""

_BEFORE = 3  # characters kept before the first one that differs


def shortened(texts: Sequence[str], most: int = SHORT) -> list[str]:
    """Return texts of at most ``most`` cells: the longer ones cut, all at the same place.

    They are cut at their ends if they still differ there, else before, else in the middle, else to where
    they begin to differ; numbers tell apart what even that does not.

    Args:
        texts: Texts; equal ones remain equal.
        most: Most cells of one, a wide character being two.
    """
    long = [text for text in dict.fromkeys(texts) if cell_len(text) > most]
    if not long:
        return list(texts)
    whole = len(set(texts))
    half = most // 2
    first = _first_difference(long)
    start = max(first - _BEFORE, 0)
    cuts = {
        "begin": {text: f"{beginning(text, most - 1)}~" for text in long},
        "end": {text: f"~{ending(text, most - 1)}" for text in long},
        "both": {text: f"{beginning(text, half - 1)}~{ending(text, most - half)}" for text in long},
        "window": {text: f"~{beginning(text[start:], most - 2)}~" for text in long},
    }
    for short in cuts.values():
        found = [short.get(text, text) for text in texts]
        if len(set(found)) == whole:
            return found
    marks = {text: f"~{k}" for k, text in enumerate(long, 1)}
    numbered = {text: beginning(text, most - len(mark)) + mark for text, mark in marks.items()}
    return [numbered.get(text, text) for text in texts]


def _first_difference(texts: Sequence[str]) -> int:
    """Return how many characters texts begin with in common."""
    low, high = min(texts), max(texts)
    return next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
