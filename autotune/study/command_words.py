"""The words of a command, those of a script that it hands to a shell too."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import PurePath

_SHELLS = {"sh", "bash", "dash", "zsh", "ksh"}
_SCRIPT = re.compile(r"-\w*c")  # the option whose value is a script: -c, -lc


def words_of(command: object) -> Iterator[tuple[object, bool]]:
    """Yield the words of a command, written as a list or as one line, and whether each may name any file.

    The first word is a program that is looked up in PATH. After the script of ``bash -c`` come its own words.
    """
    words = _split(command) if isinstance(command, str) else command if isinstance(command, list) else []
    is_shell = bool(words) and isinstance(words[0], str) and PurePath(words[0]).name in _SHELLS
    for place, word in enumerate(words):
        yield word, place > 0
        before = words[place - 1] if place else None
        if is_shell and isinstance(word, str) and isinstance(before, str) and _SCRIPT.fullmatch(before):
            yield from ((inner, True) for inner in _split(word, script=True))


def _split(line: str, *, script: bool = False) -> list[str]:
    """Return the words of a line; of a script those beside its ``;``, ``|``, ``>`` and the like."""
    with suppress(ValueError):  # an open quote: said by whoever reads it
        lexer = shlex.shlex(line, posix=True, punctuation_chars=script)
        lexer.whitespace_split = True
        lexer.commenters = "#" if script else ""
        return list(lexer)
    return []
