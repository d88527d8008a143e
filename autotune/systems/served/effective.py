"""Compare what was asked of a server with the settings that it says hold.

Servers replace settings without failing: a kernel that does not fit the card, a context that does not fit the
memory, a page size that a backend does not have. Such a trial measured something else than it is named after.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from autotune.core.file_names import CONFIG_NAME
from autotune.core.parameter.base import read_number
from autotune.core.trial import Config
from autotune.systems.served.flags import AUTO, plain

_CLOSE = 1e-6  # relative; servers print fractions with few digits


def asked_config(scratch: Path) -> Config:
    """Return the configuration that an attempt's folder was made for; empty where it holds none."""
    path = scratch / CONFIG_NAME
    return dict(json.loads(path.read_text(encoding="utf-8"))["config"]) if path.exists() else {}


def replaced(asked: Mapping[str, object], effective: Mapping[str, object]) -> list[str]:
    """Return a line for each setting that holds with another value than was asked for.

    Args:
        asked: Values by name of a flag.
        effective: Settings that the server tells, by the same names; others cannot be compared.
    """
    lines = []
    for name, wanted in asked.items():
        found = effective.get(name)
        if found is None or wanted in (None, "", AUTO) or isinstance(wanted, Mapping | list | tuple):
            continue
        if not _same(wanted, found):
            lines.append(f"{name} was set to {plain(wanted)}, and the server runs with {plain(found)}")
    return lines


def _same(wanted: object, found: object) -> bool:
    one, other = (str(v).lower() if isinstance(v, bool) else v for v in (wanted, found))
    numbers = [read_number(value) for value in (one, other)]
    if numbers[0] is not None and numbers[1] is not None:
        return abs(numbers[0] - numbers[1]) <= _CLOSE * max(abs(numbers[0]), abs(numbers[1]))
    return _word(one) == _word(other)


def _word(value: object) -> str:
    """Return a name without what servers write in different ways: ``FLASH_ATTN``, ``flash-attn``."""
    return "".join(letter for letter in str(value).lower() if letter.isalnum())
