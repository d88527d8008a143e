"""A configuration as words of a command line and as environment variables.

Values are substituted into whole words of a list, never into a shell's text, and only after a look at their
characters: a value with a line end, a null character or a leading dash where none is expected is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from string import Formatter

from autotune.core.parameter.base import show
from autotune.core.trial import Config, Value
from autotune.errors import SpecError

_VALUE = re.compile(r"[A-Za-z0-9_.,:=+@%/][A-Za-z0-9_.,:=+@%/ -]*|-[0-9][0-9.e+-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

REST = "{parameters}"
"""Word that stands for every parameter that no other word names, as ``--name value``."""


def text_of(name: str, value: Value) -> str:
    """Return a parameter's value as one word.

    Raises:
        SpecError: It has characters that a command line should not be given.
    """
    text = repr(value) if isinstance(value, float) else show(value)  # every digit, not those for people
    if not _VALUE.fullmatch(text):
        raise SpecError(
            f"{name} is {text!r}, which no command is given; allowed: letters, digits and _.,:=+@%/ -, "
            "not starting with a dash unless it is a number"
        )
    return text


def placeholders(word: str) -> list[str]:
    """Return the names in braces of a word (``--batch={batch_size}``).

    Raises:
        SpecError: The braces are no plain names.
    """
    try:
        parts = list(Formatter().parse(word))
    except ValueError as error:
        raise SpecError(f"cannot read the braces of {word!r}: {error}; write {{{{ for a brace") from None
    names = []
    for _, name, form, conversion in parts:
        if name is None:
            continue
        if not _VARIABLE.fullmatch(name) or form or conversion:
            raise SpecError(f"{word!r} must have a plain parameter name in its braces, found {name!r}")
        names.append(name)
    return names


def fill(word: str, values: Mapping[str, str]) -> str | None:
    """Return a word with its placeholders filled in; ``None`` if it names an inactive parameter."""
    if any(name not in values for name in placeholders(word)):
        return None
    return "".join(
        literal + ("" if name is None else values[name]) for literal, name, _, _ in Formatter().parse(word)
    )


def command_words(argv: Iterable[str], config: Config, builtin: Mapping[str, str]) -> list[str]:
    """Return the words that run a configuration.

    A word that names an inactive parameter is left out, with the flag before it (``--draft {draft_length}``).

    Args:
        argv: The list of the study file.
        config: Values of the active parameters.
        builtin: Words by name that are no parameters (``metrics_file``).

    Raises:
        SpecError: A value has characters that are not passed on.
    """
    values = dict(builtin) | {name: text_of(name, value) for name, value in config.items()}
    named = {name for word in argv for name in placeholders(word)}
    words: list[str] = []
    last_was_flag = False
    for word in argv:
        if word == REST:
            for name, text in values.items():
                if name in config and name not in named:
                    words += [f"--{name.replace('_', '-')}", text]
            continue
        filled = fill(word, values)
        if filled is None:
            if last_was_flag and not word.startswith("-"):
                words.pop()
            last_was_flag = False
            continue
        words.append(filled)
        last_was_flag = word.startswith("--") and "=" not in word
    return words
