"""Text measured in the cells that a terminal gives it: a wide character takes two, a combining one none."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

_NARROW = "\u0300"  # from here on a character may take another number of cells than one
_PIECE = re.compile(r"[^_.=/:-]*[_.=/:-]+|[^_.=/:-]+")


def cell_len(text: str) -> int:
    """Return the cells of a text, those of rich, which draws the live view."""
    if text.isascii() or max(text) < _NARROW:
        return len(text)
    from rich.cells import cell_len  # its table takes time to load, which most texts do without

    return cell_len(text)


def padded(text: str, width: int, *, left: bool = True) -> str:
    """Return a text with spaces to a width, at its right where it begins at the left."""
    spaces = " " * (width - cell_len(text))
    return text + spaces if left else spaces + text


def beginning(text: str, width: int) -> str:
    """Return as much of a text from its first character on as a width holds."""
    most = max(1, width)
    while most < len(text) and cell_len(text[:most]) <= width:  # not all of a long text at each look
        most *= 2
    ends = range(1, min(most, len(text)) + 1)
    end = bisect_right(ends, width, key=lambda end: cell_len(text[:end]))
    while 0 < end < len(text) and not cell_len(text[end]):  # a mark that makes its character wider
        end -= 1
    return text[:end]


def ending(text: str, width: int) -> str:
    """Return as much of a text up to its last character as a width holds."""
    start = bisect_left(range(len(text)), -width, key=lambda start: -cell_len(text[start:]))
    # no mark without what it belongs to; what follows one may be wider alone
    while start < len(text) and not (cell_len(text[start]) and cell_len(text[start:]) <= width):
        start += 1
    return text[start:]


def cut(text: str, limit: int) -> str:
    """Return ``text``, cut to ``limit`` cells with a ``~`` where it was longer."""
    return text if cell_len(text) <= limit else beginning(text, max(0, limit - 1)) + "~"


def chopped(text: str, width: int) -> list[str]:
    """Return a text in parts of at most ``width`` cells, broken wherever they are full."""
    parts = []
    while text:
        part = beginning(text, max(2, width)) or text[0]
        parts.append(part)
        text = text[len(part) :]
    return parts


def fill(text: str, width: int, *, indent: str = "  ") -> list[str]:
    """Return ``text`` in lines of at most ``width`` cells; a word that fits in none is broken.

    It is broken after its marks, and anywhere where it has none.

    Args:
        text: Text; its whitespace becomes single spaces.
        width: Width of a line.
        indent: Beginning of the lines after the first one.
    """
    line = text[: len(text) - len(text.lstrip(" "))][: width // 2]
    most = width - max(len(indent), len(line))
    words = ([word] if cell_len(word) <= most else _PIECE.findall(word) for word in text.split())
    parts = ((part for piece in pieces for part in chopped(piece, most)) for pieces in words)
    return set_in_lines(parts, width, indent=indent, line=line)


def set_in_lines(
    words: Iterable[Iterable[str]], width: int, *, indent: str = "  ", line: str = ""
) -> list[str]:
    """Return words in lines of at most ``width`` cells, with spaces between them.

    Args:
        words: Pieces of each word, between which it may be broken; a longer piece has a line of its own.
        width: Width of a line.
        indent: Beginning of the lines after the first one.
        line: Beginning of the first one.
    """
    lines = []
    for pieces in words:
        for at, piece in enumerate(pieces):
            glue = " " if line.strip() and not at else ""
            if line.strip() and cell_len(line) + len(glue) + cell_len(piece) > width:
                lines.append(line)
                line = indent + piece
            else:
                line += glue + piece
    return [*lines, line]
