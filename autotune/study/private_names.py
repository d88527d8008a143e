"""Names of files that say that they may hold a secret."""

from __future__ import annotations

import re

_PRIVATE = re.compile(
    r"token|secret|passw|pwd|credential|creds|account|auth|cookie|kubeconfig|netrc|pgpass|id_(rsa|dsa|ecdsa|ed25519)"
    r"|(api|ssh|access|private)key|\.(env|pem|p12|pfx|jks|kdbx|ppk|gpg|asc|tfvars|tfstate)(\.|$)",
    re.IGNORECASE,
)
_PRIVATE_WORDS = {"key", "keys", "cred"}  # as words of a name: a monkey is none
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")  # of a name, in camel case too


def sounds_secret(name: str) -> bool:
    """Return whether the name of a file says that it may hold a secret."""
    words = {word.lower() for word in _WORD.findall(name)}
    return bool(_PRIVATE.search(name) or words & _PRIVATE_WORDS)
