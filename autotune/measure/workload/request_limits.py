"""How fast a single request must be to count for the goodput."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Self

from autotune.core.kinds import Number
from autotune.core.section import Section
from autotune.errors import SpecError

_SECONDS = Number("s")


@dataclass(frozen=True)
class RequestLimits(Section):
    """Limits that a single request must keep to count for the goodput; ``None`` leaves one out.

    Args:
        ttft: Longest time to its first token in seconds.
        tpot: Longest time per output token in seconds.
        e2e: Longest time to its end in seconds.
    """

    title: ClassVar[str] = "goodput"
    example: ClassVar[str] = "{ttft: 500 ms, tpot: 50 ms}"

    ttft: Annotated[float | None, _SECONDS] = 1.0
    tpot: Annotated[float | None, _SECONDS] = 0.1
    e2e: Annotated[float | None, _SECONDS] = None

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Read ``{ttft: 500 ms, tpot: 50 ms}``; what is not named is not looked at."""
        found = super().from_dict(data)
        if not data:
            raise SpecError(
                "goodput needs at least one of ttft, tpot, e2e", hint=f"for example {cls.example}"
            )
        return replace(found, **{name: None for name in ("ttft", "tpot", "e2e") if name not in data})

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data; :meth:`from_dict` reads it back."""
        return {name: f"{bound!r} s" for name, bound in super().to_dict().items() if bound is not None}
