"""Names of files that say that they may hold a secret."""

from __future__ import annotations

import re
from pathlib import PurePath

_PRIVATE = re.compile(
    r"secret|passw|pwd|credential|creds|cookie|kubeconfig|netrc|pgpass|id_(rsa|dsa|ecdsa|ed25519)|serviceaccount"
    r"|(api|ssh|access|private)key|(access|api|auth|bearer|hf|refresh)token(?!s|iz)|^kaggle\.json$"
    r"|\.(env|pem|p12|pfx|jks|kdbx|ppk|gpg|asc|tfvars|tfstate)(\.|$)",
    re.IGNORECASE,
)
_PRIVATE_WORDS = {"key", "keys", "cred", "token", "auth", "oauth", "account", "accounts"}
"""As words of a name: a monkey is no key, and neither tokenizer nor tokens are a token."""
_SERVICE_ACCOUNT = ({"sa"}, {"gcp", "google", "gcloud", "gke", "bigquery", "firebase"})  # a word of each
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")  # of a name, in camel case too


def sounds_secret(path: str) -> bool:
    """Return whether the name of a file, or of a folder that it lies in, says that it may hold a secret.

    Args:
        path: Path below the study, or the name alone.
    """
    return any(map(_is_private, PurePath(path).parts))


def _is_private(name: str) -> bool:
    words = {word.lower() for word in _WORD.findall(name)}
    return bool(
        _PRIVATE.search(name) or words & _PRIVATE_WORDS or all(words & some for some in _SERVICE_ACCOUNT)
    )
