"""One door through which text leaves the process: what looks like a secret is masked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

MASK = "[redacted]"
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
_SHORTEST = 8  # shorter values of secret-sounding variables ("1", "true") would mask ordinary text

_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # control sequences
    # and strings: titles, links
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

_PATTERNS = [
    (re.compile(r"\bhf_[A-Za-z0-9]{16,}"), MASK),
    (re.compile(r"\bsk-[A-Za-z0-9_-]{16,}"), MASK),
    (re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20,}"), MASK),
    (re.compile(r"\bAKIA[0-9A-Z]{16}\b"), MASK),
    (re.compile(r"(?i)(bearer\s+)[A-Za-z0-9._~+/=-]{8,}"), rf"\1{MASK}"),
    (re.compile(r"(?i)(://[^/\s:@]+:)[^/\s@]+@"), rf"\1{MASK}@"),
    (
        re.compile(
            r"(?i)\b([a-z0-9_-]*(?:(?:api|access|private|secret)[_-]?key|token|secret|password|passwd)"
            r"[\"']?\s*[=:]\s*[\"']?)[^\s\"',;]{6,}"
        ),
        rf"\1{MASK}",
    ),
]


def redact(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return ``text`` with secrets masked.

    Masked are the values of environment variables whose name sounds like a secret, and what has the form of
    a known token, of ``Bearer ...``, of a password inside a URL or of ``token=...``.
    """
    secrets = [v for k, v in environment.items() if _SECRET_NAME.search(k) and len(v) >= _SHORTEST]
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def visible(text: str) -> str:
    """Return ``text`` without what a terminal would obey or a reader would not see.

    Taken out are escape sequences whole (colours, titles, links, cursor movements), other control characters
    save line end and tab, and the marks that turn the direction of writing around. A carriage return alone,
    which would write over the line, becomes a line end.
    """
    text = _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _UNSEEN.sub("", text)
