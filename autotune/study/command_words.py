"""The words of a command, those of a script that it hands to a shell too."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePath

_SHELLS = {"sh", "bash", "dash", "ash", "zsh", "ksh"}
_PART = re.compile(
    r"""(?P<end>\n)|(?:[^\S\n]|\\\n)+|\#[^\n]*|(?P<operator>(?:\d+(?=[<>]))?[();<>|&]+)"""
    r"""|(?P<word>(?:\\.|'[^']*'|"(?:\\.|[^"\\])*"|[^\s'"\\();<>|&])+)""",
    re.DOTALL,
)
_QUOTED = re.compile(r"""\\\n|\\(.)|'([^']*)'|"((?:\\.|[^"\\])*)\"""", re.DOTALL)
_ESCAPED = re.compile(r'\\([$`"\\\n])')  # within double quotes
_OUTPUT = re.compile(r"(?:.*[^<])?>[|&]?", re.DOTALL)  # an operator that a file to be written follows
_WRITERS = {"rm", "tee", "touch", "mkdir", "rmdir"}  # commands whose words name what they write or remove
_BEFORE = {"{", "!", "if", "then", "else", "elif", "do", "while", "until"}  # words that a command follows
# programs that start another: letters of options with a value, and words of their own before the other
_STARTERS = {
    "command": ("", 0),
    "env": ("CSu", 0),
    "exec": ("a", 0),
    "nice": ("n", 0),
    "nohup": ("", 0),
    "stdbuf": ("eio", 0),
    "sudo": ("CDRTUghprtu", 0),
    "time": ("fo", 0),
    "timeout": ("ks", 1),
    "xargs": ("EILPadns", 0),
}
_LONG = {"--unset", "--chdir", "--split-string", "--adjustment", "--user", "--group", "--host", "--prompt"}
_LONG |= {"--kill-after", "--signal", "--input", "--output", "--error", "--format", "--arg-file"}
_LONG |= {"--delimiter", "--max-args", "--max-procs", "--max-chars"}  # with a value in a word of its own
_ASSIGNED = re.compile(r"\w+=.*", re.DOTALL)


@dataclass(frozen=True)
class Word:
    """A word of a command.

    Args:
        text: The word, of whatever type the command has it.
        plain: Whether it may name any file: not a program that is looked up in PATH.
        opaque: Whether it is a script whose words are unknown: a quote stays open.
    """

    text: object
    plain: bool = True
    opaque: bool = False


def words_of(command: object) -> Iterator[Word]:
    """Yield the words of a command, written as a list or as one line, and those that its scripts read.

    The first word is a program that is looked up in PATH; those after ``tee`` and its like, which may stand
    behind ``env`` and its like, are outputs, and none of ours. After the script of ``bash -c``, which may
    stand there or within another script, come its own words; files that it writes or removes are none.
    """
    words = _split(command) if isinstance(command, str) else command if isinstance(command, list) else []
    front = _Front()
    program = next((place for place, word in enumerate(words) if front.ends_at(str(word))), None)
    if program is not None and _writes(str(words[program])):
        words = words[:program]
    scripts = set(_scripts(words))
    for place, word in enumerate(words):
        yield Word(word, place > 0, place in scripts and _parts(str(word)) is None)
        if place in scripts:
            yield from _words_in(str(word))


class _Front:
    """The words before the program of a command: assignments, ``nice -n 5``, ``sudo -u me``."""

    def __init__(self) -> None:
        self._options: str | None = None  # of a program that starts another, those with a value
        self._owned = 0  # its words that are still to come
        self._value = False  # of its last option is to come

    def ends_at(self, word: str) -> bool:
        """Return whether the next word is the program."""
        if self._value:
            self._value = False
        elif self._options is not None and word.startswith("-"):
            letters = word.lstrip("-") if word[1:2] != "-" else ""
            first = next((place for place, letter in enumerate(letters, 1) if letter in self._options), 0)
            self._value = word in _LONG or 0 < first == len(letters)
        elif self._owned:
            self._owned -= 1
        elif word not in _BEFORE and not _ASSIGNED.fullmatch(word):
            found = _STARTERS.get(_name_of(word))
            if found is None:
                return True
            self._options, self._owned = found
        return False


def _name_of(program: str) -> str:
    """Return the name of a program of the system; empty for one of a folder."""
    path = PurePath(program)
    return path.name if path.is_absolute() or "/" not in program else ""


def _writes(program: str) -> bool:
    """Return whether a program of the system is one whose words name what it writes or removes."""
    return _name_of(program) in _WRITERS


def _words_in(script: str) -> Iterator[Word]:
    """Yield the words of a script that may name what it reads."""
    words = list(_read(_parts(script) or ()))
    scripts = set(_scripts(words))
    for place, word in enumerate(words):
        yield Word(word, True, place in scripts and _parts(word) is None)
        if place in scripts:
            yield from _words_in(word)


def _scripts(words: Sequence[object]) -> Iterator[int]:
    """Yield the places of words that a shell among them reads as scripts: of ``-c``, ``-lc``, ``-co X``."""
    for place, word in enumerate(words):
        if isinstance(word, str) and PurePath(word).name in _SHELLS:
            found = _script_after(words, place)
            if found is not None:
                yield found


def _script_after(words: Sequence[object], shell: int) -> int | None:
    """Return the place of the script of a shell; ``None`` where it has none."""
    place, takes_script = shell + 1, False
    while place < len(words):
        word = words[place]
        if not isinstance(word, str) or word[:1] not in ("-", "+") or len(word) < 2:
            return place if takes_script and isinstance(word, str) else None
        place += 1
        if word in ("--rcfile", "--init-file"):
            place += 1
        elif word[1] != "-":
            takes_script = takes_script or (word[0] == "-" and "c" in word)
            place += sum(word.count(letter) for letter in "oO")  # each with the name of an option
    return None


def _read(parts: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield the words of a script's parts without those that name what it writes or removes."""
    front: _Front | None = _Front()  # None behind the program
    writes, target = False, False
    for kind, text in parts:
        if kind != "word":
            target = kind == "operator" and bool(_OUTPUT.fullmatch(text))
            before, redirects, _ = text.replace("<", ">").partition(">")
            if not redirects or before.strip("&0123456789"):
                front, writes = _Front(), False
            continue
        if target:
            target = False
            continue
        if front is not None and front.ends_at(text):
            front, writes = None, _writes(text)
        if not writes:
            yield text


def _parts(script: str) -> list[tuple[str, str]] | None:
    """Return the words, operators and ends of lines of a script; ``None`` where a quote stays open."""
    found, place = [], 0
    while place < len(script):
        match = _PART.match(script, place)
        if match is None:
            return None
        if match.lastgroup:
            text = match[0]
            found.append((match.lastgroup, _unquoted(text) if match.lastgroup == "word" else text))
        place = match.end()
    return found


def _unquoted(word: str) -> str:
    """Return a word of a script as its command gets it."""

    def plain(match: re.Match[str]) -> str:
        escaped, single, double = match.groups()
        return escaped or single or _ESCAPED.sub(r"\1", double or "")

    return _QUOTED.sub(plain, word)


def _split(line: str) -> list[str]:
    """Return the words of a line that no shell reads."""
    with suppress(ValueError):  # an open quote: said by whoever reads it
        return shlex.split(line)
    return []
