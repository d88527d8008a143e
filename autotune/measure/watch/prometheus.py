"""Read the text in which servers expose their counters.

Only what measuring needs: the value of a counter or gauge summed or maximized over its labels, and the sum
and count of a histogram, which are counters of their own. Source: Prometheus, text-based exposition format.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection

_LINE = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)(?:\{.*\})?\s+(\S+)(?:\s+-?\d+)?\s*")


def read_samples(text: str, names: Collection[str]) -> dict[str, list[float]]:
    """Return the values of the named samples, one per set of labels; what is not a number is left out.

    Args:
        text: Text as a server answers.
        names: Names of samples: a histogram's are ``NAME_sum`` and ``NAME_count``.
    """
    found: dict[str, list[float]] = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None or match[1] not in names:
            continue
        try:
            value = float(match[2])
        except ValueError:
            continue
        if math.isfinite(value):
            found.setdefault(match[1], []).append(value)
    return found
