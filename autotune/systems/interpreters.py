"""Scripts that a command gives to an interpreter: whether they are there is known before a launch."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from autotune.errors import EnvironmentProblem, did_you_mean

_SHELLS = ("sh", "bash", "dash", "ksh", "zsh")
_INTERPRETER = re.compile(rf"(?P<name>python|pypy|node|perl|ruby|Rscript|{'|'.join(_SHELLS)})[\d.]*")
_INLINE = {"python": "cm", "pypy": "cm", "node": "epr", "perl": "eE", "ruby": "e", "Rscript": "e"}
"""Letters of options after which there is no script: code or a module follows."""

_INLINE_LONG = ("--eval", "--print")
_TAKES_VALUE = {"python": ("-W", "-X"), "pypy": ("-W", "-X"), "node": ("-r", "--require"), "perl": ("-I",)}


def check_script(argv: Sequence[str], folder: Path | None) -> None:
    """Refuse a command that gives an interpreter a script which is not there.

    Args:
        argv: Words of the command; ``{python}`` is an interpreter, and other braces may be anything.
        folder: Folder where the command starts; ``None`` for an empty one, with the study folder's files as
            absolute paths.

    Raises:
        EnvironmentProblem: The file is not there.
    """
    script = script_of(argv)
    if not script or "{" in script:
        return
    path = (folder or Path()) / Path(script).expanduser()
    shell = _name(argv[0]) in _SHELLS
    there = path.exists() and (folder is not None or path.is_absolute())
    if there or (shell and "/" not in script and shutil.which(script)):
        return
    parent = path.parent
    names = [entry.name for entry in parent.iterdir() if entry.is_file()] if parent.is_dir() else []
    where = "beside the study" if folder is None else f"in {folder}"
    text = f"no file {script!r} {where}, which {argv[0]!r} is to run"
    raise EnvironmentProblem(text, hint=did_you_mean(path.name, names))


def script_of(argv: Sequence[str]) -> str:
    """Return the script that a command gives to an interpreter; empty where it gives none."""
    name = _name(argv[0])
    rest = iter(argv[1:])
    for word in rest if name else ():
        if word in _TAKES_VALUE.get(name, ("-o", "+o")):
            next(rest, "")
        elif word in ("-", "--"):
            return "" if word == "-" else next(rest, "")
        elif not word.startswith(("-", "+")):
            return word
        elif word in _INLINE_LONG or (word[1:2] != "-" and set(word) & set(_INLINE.get(name, "cs"))):
            return ""
    return ""


def _name(program: str) -> str:
    """Return the kind of an interpreter; empty for another program."""
    found = _INTERPRETER.fullmatch(Path(program.replace("{python}", sys.executable)).name)
    return found["name"] if found else ""
