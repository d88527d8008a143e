"""Texts shortened alike for columns and axes, so that those that differ still do."""

from __future__ import annotations

from collections.abc import Sequence

SHORT = 16
"""Characters of a shortened value, in a cell of a table and beside an axis."""

_BEFORE = 3  # characters kept before the first one that differs


def shortened(texts: Sequence[str], most: int = SHORT) -> list[str]:
    """Return texts of at most ``most`` characters: the longer ones cut, all at the same place.

    They are cut at their ends if they still differ there, else before, else in the middle, else to where
    they begin to differ; numbers tell apart what even that does not.

    Args:
        texts: Texts; equal ones remain equal.
        most: Most characters of one.
    """
    long = [text for text in dict.fromkeys(texts) if len(text) > most]
    if not long:
        return list(texts)
    whole = len(set(texts))
    half = most // 2
    first = _first_difference(long)
    begins, ends = slice(0, most - 1), slice(1 - most, None)
    window = slice(max(first - _BEFORE, 0), max(first - _BEFORE, 0) + most - 2)
    cuts = {
        "begin": {text: f"{text[begins]}~" for text in long},
        "end": {text: f"~{text[ends]}" for text in long},
        "both": {text: f"{text[: half - 1]}~{text[half - most :]}" for text in long},
        "window": {text: f"~{text[window]}~" for text in long},
    }
    for short in cuts.values():
        found = [short.get(text, text) for text in texts]
        if len(set(found)) == whole:
            return found
    marks = {text: f"~{k}" for k, text in enumerate(long, 1)}
    return [f"{text[: most - len(marks[text])]}{marks[text]}" if text in marks else text for text in texts]


def _first_difference(texts: Sequence[str]) -> int:
    """Return how many characters texts begin with in common."""
    low, high = min(texts), max(texts)
    return next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
