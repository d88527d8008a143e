"""Read the keys of a ``system`` section that say how a server is launched."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autotune.core.json_object import JsonObject
from autotune.core.kinds import By
from autotune.core.scalar import PlainText, typed
from autotune.errors import SpecError
from autotune.systems.served.tiny import TINY

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
_NO_WORD = (("\0", "a NUL"), ("\n", "a line end"))
_PATHS = ("./", "../", "~/")
_EVERYWHERE = (
    "CUDA_VISIBLE_DEVICES",
    "HF_HUB_OFFLINE",
    "KMP_*",
    "MALLOC_*",
    "NCCL_*",
    "OMP_*",
    "TOKENIZERS_*",
)
"""Variables that any server may be given beside its own."""


def read_program(value: Any, key: str = "program") -> tuple[str, ...]:
    """Return a program with its first arguments, from a text or a list of texts.

    Raises:
        SpecError: It is neither, or a word has a line end or a NUL; ``path`` is relative to the value.
    """
    words = [value] if isinstance(value, str) else value
    listed = isinstance(words, Sequence) and all(isinstance(word, str) and word for word in words)
    if not listed:
        raise SpecError(f"{key} must be a program or a list of words, found {value!r}")
    for place, word in enumerate(words):
        odd = next((name for sign, name in _NO_WORD if sign in word), "")
        if odd:
            where = f"word {place + 1} of {key}"
            path = () if isinstance(value, str) else (place,)
            raise SpecError(f"{where} must be of one line, without NUL: {word!r} has {odd}", path=path)
    return tuple(words)


PROGRAM = By(read_program, list, "a word, or a list of words")


def read_env(value: object, system: str, allowed: Sequence[str]) -> dict[str, str]:
    """Return variables of the environment.

    Args:
        value: Mapping of names to texts.
        system: Its name, for errors.
        allowed: Names that it may set beside those of every server; one may end in ``*``.

    Raises:
        SpecError: A name is not allowed, sounds like a secret, or a value is no plain text; ``path`` is
            relative to the mapping.
    """
    if not isinstance(value, Mapping):
        raise SpecError(f"env must be a mapping of names to values, found {value!r}")
    known = (*allowed, *_EVERYWHERE)
    found = {}
    for name, text in value.items():
        if _SECRET.search(str(name)):
            raise SpecError(
                f"{name} sounds like a secret, and a study file is shown and stored",
                path=(str(name),),
                at_key=True,
                hint="log in on the machine itself instead",
            )
        if not any(
            name == item or (item.endswith("*") and str(name).startswith(item[:-1])) for item in known
        ):
            raise SpecError(
                f"{system} may not be given {name!r}; allowed: {', '.join(known)}",
                path=(str(name),),
                at_key=True,
            )
        if isinstance(text, Mapping | list) or re.search(r"[\0\n]", str(text)):
            raise SpecError(f"{name} must be text on one line, found {text!r}", path=(str(name),))
        found[str(name)] = str(text)
    return found


def absolute(path: str, folder: Path) -> str:
    """Return a path that begins with ``.`` or ``~`` as an absolute one; relative ones start at a folder.

    Links are kept: the Python of a virtual environment is a link to one that is not.
    """
    return os.path.abspath(folder / Path(path).expanduser())


def locate(
    section: JsonObject, folder: Path, files: Sequence[str] = ("model", "draft_model", "tokenizer")
) -> dict[str, object]:
    """Return a section whose models and program are absolute: what it names is looked up from any folder.

    Args:
        section: Section with ``use``.
        folder: Folder of the study file, where paths with ``./`` start. Others, which may be the name of
            a model too, are paths where they exist in the working folder.
        files: Keys of the files and folders that the server opens.

    What no field types, inside a flag or a request's body, gets the types of YAML, so that it can be stored.
    """
    found = dict(section)
    if isinstance(found.get("body"), Mapping):
        found["body"] = typed(found["body"])
    if isinstance(found.get("flags"), Mapping):
        # a scalar stays text for its flag to read
        found["flags"] = {
            n: str(v) if isinstance(v, PlainText) else typed(v) for n, v in found["flags"].items()
        }
    for key in files:
        value = found.get(key)
        if isinstance(value, str) and _is_path(value):
            found[key] = absolute(value, folder if value.startswith(_PATHS) else Path())
    for key in ("program", "command"):
        words = [found[key]] if isinstance(found.get(key), str) else found.get(key)
        if isinstance(words, Sequence) and words and _is_path(str(words[0]), "/"):
            name = str(words[0])
            found[key] = [absolute(name, folder if name.startswith(_PATHS) else Path()), *words[1:]]
    return found


def _is_path(text: str, least: str = "") -> bool:
    """Return whether a text is a path that may begin anywhere.

    Args:
        text: Text of a section.
        least: Text that it must contain unless it begins like a path.
    """
    if text.startswith(_PATHS):
        return True
    if not text or text == TINY or least not in text or Path(text).is_absolute():
        return False
    return "{" in text or Path(text).exists()  # a name to be filled in is that of a file
