"""Small pieces of text that every report shares: durations, configurations, estimates, folded lines."""

from __future__ import annotations

import math
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence

from autotune.core.cells import cell_len, chopped, set_in_lines
from autotune.core.parameter.base import show
from autotune.core.units import format_quantity

WIDTH = 80
"""Columns that every terminal and every log viewer has."""

_COMMAND = re.compile("`(autotune [^`]*)`")
_NARROWEST = 20  # columns; a terminal of none has not said how many it has


def terminal_width() -> int:
    """Return the columns to write for: those that ``COLUMNS`` says, else the terminal's, else 80."""
    stated = os.environ.get("COLUMNS", "")
    if stated.isdecimal() and int(stated):
        return max(_NARROWEST, int(stated))
    try:
        return max(_NARROWEST, os.get_terminal_size(sys.stdout.fileno()).columns)
    except (OSError, ValueError):  # a pipe, a file, or nothing at all
        return WIDTH


def show_seconds(seconds: float) -> str:
    """Return a duration for people: ``7.3 s``, ``42 s``, ``3.2 min``, ``1.5 h``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 99.5 else format_quantity(seconds, "s")


def show_config(config: Mapping[str, object], order: Sequence[str] = ()) -> str:
    """Return a configuration on one line: ``batch_size=8 quantization_bits=16``.

    Args:
        config: Values by name.
        order: Names that come first, such as those of the space: a ledger sorts them.
    """
    names = [*(name for name in order if name in config), *(name for name in config if name not in order)]
    return " ".join(f"{name}={show(config[name])}" for name in names)


def fold(name: str, limit: int, word: int | None = None) -> tuple[str, ...]:
    """Return a name folded at its underscores and dots into header lines of at most ``limit`` cells.

    Args:
        name: Name of a parameter or a metric.
        limit: Longest line, where no word is longer.
        word: Longest word that is not broken with a hyphen; ``limit`` when not given.
    """
    word = max(3, limit if word is None else word)
    lines: list[str] = []
    for piece in re.findall(r"[._]?[^._]+|[._]+$", name):
        if lines and cell_len(lines[-1]) + cell_len(piece) <= limit:
            lines[-1] += piece
        else:
            lines += _hyphenated(piece.lstrip("_") if lines else piece, word)
    return tuple(lines)


def _hyphenated(word: str, limit: int) -> list[str]:
    """Return a word in parts of at most ``limit`` characters, the hyphens counted, of about the same length.

    A part begins with a consonant before a vowel where there is one near, as a syllable does.
    """
    if cell_len(word) != len(word):  # no syllables that we know of
        return chopped(word, limit)
    parts = []
    while len(word) > limit:
        count = math.ceil(len(word) / (limit - 1))
        even = min(limit - 1, math.ceil(len(word) / count))
        at = next(
            (i for i in (even, even + 1, even - 1, even - 2) if 1 < i < limit and _begins_syllable(word[i:])),
            even,
        )
        if len(word) - at > (count - 1) * (limit - 1) + 1:  # it would make another part
            at = even
        parts.append(f"{word[:at]}-")
        word = word[at:]
    return [*parts, word]


def _begins_syllable(text: str) -> bool:
    vowels = "aeiouy"
    return len(text) > 1 and text[0].isalpha() and text[0] not in vowels and text[1] in vowels


def wrap(text: str, width: int, *, indent: str = "  ") -> list[str]:
    """Return ``text`` broken at spaces into lines of at most ``width``; later lines are indented.

    A word that is longer, such as a path, is left whole to be copied; one of wide characters is broken, as it
    may be a sentence.
    """
    most = width - len(indent)
    words = (
        [word] if cell_len(word) == len(word) or cell_len(word) <= most else chopped(word, most)
        for word in text.split(" ")
    )
    return set_in_lines(words, width, indent=indent)


def copyable(text: str, width: int) -> list[str]:
    """Return a text in lines of at most ``width``, each command in it on lines of its own.

    A shell takes these as they are: a command that is longer goes on behind a backslash, between two words.

    Args:
        text: Text with its commands between backticks.
        width: Width of the terminal.
    """
    if cell_len(text) <= width:
        return [text]
    lines = []
    for i, part in enumerate(_COMMAND.split(text)):
        if i % 2:
            lines += _folded_command(part, width)
        elif words := part.lstrip(" :;").rstrip():
            lines += wrap(words, width)
    return lines


def _folded_command(command: str, width: int) -> list[str]:
    """Return a command in lines that a shell joins."""
    lines, line = [], " "
    for word in map(shlex.quote, shlex.split(command)):
        if line.strip() and cell_len(f"{line} {word} \\") > width:
            lines.append(f"{line} \\")
            line = "   "
        line += f" {word}"
    return [*lines, line]
