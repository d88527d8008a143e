"""Lengths of prompts and answers in tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from autotune.errors import SpecError, refuse_unknown_keys
from autotune.measure.workload.numbers import number, whole

_REACH = 4.0  # lengths end this many spreads above the mean, so that a system can reserve for the longest
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Length:
    """Describe a length in tokens: a normal distribution cut to [1, mean + 4 spread] and rounded.

    Args:
        mean: Of the uncut distribution, at least 1.
        spread: Its standard deviation; 0 means always ``mean``.
    """

    mean: float
    spread: float = 0.0

    @property
    def longest(self) -> int:
        """No length is above this."""
        return max(1, math.floor(self.mean + _REACH * self.spread + 0.5))

    def at(self, u: float) -> int:
        """Return the length at the quantile ``u`` in [0, 1) of the cut distribution."""
        if self.spread == 0:
            return max(1, math.floor(self.mean + 0.5))
        bottom = _NORMAL.cdf((1 - self.mean) / self.spread)
        top = _NORMAL.cdf(_REACH)
        p = min(max(bottom + u * (top - bottom), 1e-12), 1 - 1e-12)
        length = math.floor(self.mean + self.spread * _NORMAL.inv_cdf(p) + 0.5)
        return min(max(length, 1), self.longest)

    def to_dict(self) -> dict[str, float]:
        """Return plain JSON data; :meth:`from_dict` reads it back."""
        return {"mean": self.mean, "spread": self.spread}

    @classmethod
    def from_dict(cls, data: Any, key: str) -> Length:
        """Read ``128`` or ``{mean: 128, spread: 32}`` found under ``key``."""
        if not isinstance(data, Mapping):
            return cls(float(whole(data, (key,), 1)))
        refuse_unknown_keys(data, ("mean", "spread"), path=(key,))
        if "mean" not in data:
            raise SpecError(f"{key} needs 'mean'; allowed: mean, spread", path=(key,))
        mean = number(data["mean"], (key, "mean"), 1.0)
        return cls(mean, number(data.get("spread", 0.0), (key, "spread"), 0.0))
