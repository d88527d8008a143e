"""One door through which text leaves the process: what looks like a secret is masked."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any, TextIO

from autotune.core.secret_spans import KNOWN_FORMS, known_values, masked, spans_of

MASK = "[redacted]"
PASS_ENV = "AUTOTUNE_PASS_ENV"  # noqa: S105 - the name of a variable
"""Variable that names further variables, apart by commas, whose values servers are given: secrets."""

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
_SHORTEST = 8  # shorter values of secret-sounding variables ("1", "true") would mask ordinary text

_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # control sequences
    # and strings: titles, links
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

# what a name ends in that holds a secret; `max_tokens`, `tokenize` and `key_variable` do not
_SECRET_ENDING = re.compile(
    r"(?:^|[^a-z])(?:api[_-]?key|access[_-]?key|private[_-]?key|token|secret|password|passwd|credentials?)$",
    re.IGNORECASE,
)
_BEYOND_DOUBT = [
    re.compile(r"(?i)[?&](?:api[_-]?key|key|token|access_token|secret|password)=[^&\s]{6,}"),
    re.compile(r"(?i)^--?(?:[a-z-]*-)?(?:api-key|token|secret|password)=[^{\s]{8,}$"),
]


def redact(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return ``text`` with secrets masked, in time that grows with its length whatever it holds.

    Masked are the values of environment variables whose name sounds like a secret (plain, percent-encoded,
    with JSON escapes, in base64, over a line's end or with colour codes in it), and what has the form of a
    known token, of ``Bearer ...``, of a password inside a URL or of ``token=...``.
    """
    data = text.encode("utf-8", "surrogatepass")
    spans = spans_of(data, known_values(tuple(secrets_of(environment))))
    return masked(data, spans, MASK.encode()).decode("utf-8", "surrogatepass") if spans else text


def redact_certain(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return ``text`` with what is a secret beyond doubt masked: for pages of our own, with programs inside.

    Their texts were masked one by one; in a program, ``token: "..."`` is a line of code.
    """
    data = text.encode("utf-8", "surrogatepass")
    spans = spans_of(data, known_values(tuple(secrets_of(environment))), KNOWN_FORMS)
    return masked(data, spans, MASK.encode()).decode("utf-8", "surrogatepass") if spans else text


def secrets_of(environment: Mapping[str, str]) -> list[str]:
    """Return the values of variables that hold secrets, the longest first."""
    found = {value for name, value in secret_variables(environment).items() if name != PASS_ENV}
    return sorted((value for value in found if len(value) >= _SHORTEST), key=len, reverse=True)


def secret_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that hold secrets, and the one that names some of them."""
    wanted = {PASS_ENV, *names_passed(environment)}
    return {k: v for k, v in variables_of(environment).items() if k in wanted or _SECRET_NAME.search(k)}


def variables_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of an environment; a variable that another thread takes away meanwhile is left out."""
    return {name: value for name in list(environment) if (value := environment.get(name)) is not None}


def names_passed(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the variables that servers are given beyond the allow-list."""
    return environment.get(PASS_ENV, "").replace(",", " ").split()


def redacted(data: object) -> Any:
    """Return plain data (mappings, lists, scalars) with all its texts redacted."""
    if isinstance(data, str):
        return redact(data)
    if isinstance(data, Mapping):
        return {
            redact(key) if isinstance(key, str) else key: MASK
            if isinstance(value, str) and _SECRET_ENDING.search(str(key)) and _is_literal(value)
            else redacted(value)
            for key, value in data.items()
        }
    if isinstance(data, list | tuple):
        return redact_words([redacted(value) for value in data])
    return data


def redact_words(words: list[object]) -> list[Any]:
    """Return a command's words with what follows an option such as ``--api-key`` masked."""
    return [MASK if i and _follows_secret_flag(words[i - 1], word) else word for i, word in enumerate(words)]


def redact_json(line: str) -> str:
    """Return a line of JSON with its secrets masked, JSON still; what does not parse is masked as text."""
    try:
        data = json.loads(line)
        hidden = redacted(data)
    except (ValueError, RecursionError):  # torn, a document of several lines, or nested deep
        return redact(line)
    if hidden == data:  # a number may only look like a secret
        return line
    return json.dumps(hidden) + ("\n" if line.endswith("\n") else "")


def find_secret(data: object, environment: Mapping[str, str] = os.environ) -> tuple[Any, ...] | None:
    """Return the path to the first text in plain data that is a secret, or ``None``.

    Only what is one beyond doubt: a token of a known form, a password or key inside a URL, the value of a
    variable whose name sounds like a secret, and what is given to a name or an option that does.
    """
    return _find(data, (), secrets_of(environment))


def _find(data: object, path: tuple[object, ...], secrets: list[str]) -> tuple[object, ...] | None:
    items = data.items() if isinstance(data, Mapping) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        before = data[key - 1] if isinstance(data, list) and key else ""
        if isinstance(value, str):
            named = isinstance(key, str) and _SECRET_ENDING.search(key) and _is_literal(value)
            sure = any(pattern.search(value) for pattern in _BEYOND_DOUBT) or _is_known_form(value)
            if named or sure or _follows_secret_flag(before, value) or any(s in value for s in secrets):
                return (*path, key)
        found = _find(value, (*path, key), secrets)
        if found is not None:
            return found
    return None


def _is_known_form(text: str) -> bool:
    return bool(spans_of(text.encode("utf-8", "surrogatepass"), known_values(()), KNOWN_FORMS))


def _follows_secret_flag(before: object, word: object) -> bool:
    flag = isinstance(before, str) and before.startswith("-") and _SECRET_ENDING.search(before)
    return bool(flag) and isinstance(word, str) and _is_literal(word)


def _is_literal(word: str) -> bool:
    return len(word) >= _SHORTEST and not word.startswith("-") and "{" not in word


def visible(text: str) -> str:
    """Return ``text`` without what a terminal would obey or a reader would not see.

    Taken out are escape sequences whole (colours, titles, links, cursor movements), other control characters
    save line end and tab, and the marks that turn the direction of writing around. A carriage return alone,
    which would write over the line, becomes a line end.
    """
    text = _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _UNSEEN.sub("", text)


def line_for(stream: TextIO, text: str) -> str:
    """Return a line as a stream can show it: visible, and characters that it does not know replaced."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    text = visible(text)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.replace("±", "+-").encode(encoding, "replace").decode(encoding)
    return text + "\n"


def escaped(json_text: str) -> str:
    r"""Return JSON text in which what :func:`visible` takes out is written ``\u009b``: nothing is lost."""
    return _UNSEEN.sub(lambda match: f"\\u{ord(match.group()):04x}", json_text)
