"""Secrets masked in all texts of a report, each distinct text once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from autotune.core.redact import redact, secret_variables

_SHORTEST = 8  # characters of the shortest text that can hold a secret


def masked(data: Any) -> Any:
    """Return plain data (mappings, lists, scalars) with the secrets in its texts masked."""
    environment = secret_variables(os.environ)  # once: a report has tens of thousands of texts
    known: dict[str, str] = {}

    def walk(part: Any) -> Any:
        if isinstance(part, str):
            if len(part) < _SHORTEST:
                return part
            if part not in known:
                known[part] = redact(part, environment)
            return known[part]
        if isinstance(part, Mapping):
            return {key: walk(value) for key, value in part.items()}
        return [walk(value) for value in part] if isinstance(part, list | tuple) else part

    return walk(data)
