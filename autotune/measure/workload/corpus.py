"""Text that prompts are made of: Python's own language reference, which ships with the interpreter.

It needs no download and no licence of ours, reads like technical prose and compresses like it, so that
drafting and caching behave as with real text. Its wording changes a little between versions of Python;
:func:`fingerprint` goes into the facts of a measurement, so that a comparison across texts is noticed.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pydoc_data.topics import topics

_RULE = re.compile(r"^[*=\-~^\"'#.+|]{3,}$")  # underlines of headings and table borders: not words


@cache
def words() -> tuple[str, ...]:
    """Return the words of the corpus in order (about 60,000)."""
    text = " ".join(topics[name] for name in sorted(topics)).encode("ascii", "ignore").decode("ascii")
    return tuple(word for word in text.split() if not _RULE.match(word))


@cache
def fingerprint() -> str:
    """Return 12 hex digits that identify the text."""
    return hashlib.sha256(" ".join(words()).encode()).hexdigest()[:12]


def passage(start: int, characters: int) -> str:
    """Return at least ``characters`` of text from word ``start`` on, going round at the end."""
    source = words()
    chosen: list[str] = []
    length, place = 0, start
    while length <= characters:  # the last word has no space after it
        word = source[place % len(source)]
        chosen.append(word)
        length += len(word) + 1
        place += 1
    return " ".join(chosen)
