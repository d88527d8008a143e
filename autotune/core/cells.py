"""Text measured in the cells that a terminal gives it: a wide character takes two, a combining one none."""

from __future__ import annotations

import re
from bisect import bisect_right

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
    if cell_len(text) <= width:
        return text
    end = bisect_right(range(1, len(text) + 1), width, key=lambda end: cell_len(text[:end]))
    while end and not cell_len(text[end]):  # a mark that makes its character wider
        end -= 1
    return text[:end]


def ending(text: str, width: int) -> str:
    """Return as much of a text up to its last character as a width holds."""
    for start in range(max(0, len(text) - 2 * width) if text.isascii() else 0, len(text)):
        # no mark without what it belongs to
        if cell_len(text[start]) and cell_len(text[start:]) <= width:
            return text[start:]
    return ""


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
    lines, line = [], text[: len(text) - len(text.lstrip(" "))][: width // 2]
    most = width - max(len(indent), len(line))
    for word in text.split():
        pieces = [word] if cell_len(word) <= most else _PIECE.findall(word)
        for at, piece in enumerate(part for one in pieces for part in chopped(one, most)):
            glue = "" if at or not line.strip() else " "
            if line.strip() and cell_len(line) + len(glue) + cell_len(piece) > width:
                lines.append(line)
                line = indent + piece
            else:
                line += glue + piece
    return [*lines, line]
