"""How fast a single request must be to count for the goodput."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from autotune.errors import SpecError, refuse_unknown_keys
from autotune.measure.workload.numbers import number


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits that a single request must keep to count for the goodput; ``None`` leaves one out.

    Args:
        ttft: Longest time to its first token in seconds.
        tpot: Longest time per output token in seconds.
        e2e: Longest time to its end in seconds.
    """

    ttft: float | None = 1.0
    tpot: float | None = 0.1
    e2e: float | None = None

    def to_dict(self) -> dict[str, str]:
        """Return plain JSON data; :meth:`from_dict` reads it back."""
        pairs = ((item.name, getattr(self, item.name)) for item in fields(self))
        return {name: f"{bound!r} s" for name, bound in pairs if bound is not None}

    @classmethod
    def from_dict(cls, data: Any) -> RequestLimits:
        """Read ``{ttft: 500 ms, tpot: 50 ms}``; what is not named is not looked at."""
        names = [item.name for item in fields(cls)]
        if not isinstance(data, Mapping) or not data:
            raise SpecError(
                f"goodput must be a mapping of {', '.join(names)} to times, found {data!r}", path=("goodput",)
            )
        refuse_unknown_keys(data, names, "goodput", ("goodput",))
        bounds = {name: number(data[name], ("goodput", name), 0.0, "s") for name in names if name in data}
        return cls(**{name: bounds.get(name) for name in names})
