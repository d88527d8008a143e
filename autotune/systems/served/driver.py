"""The worker's side of a server that is ready: where it answers, what it is, what memory it took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotune.core.endpoint import Endpoint
from autotune.core.measurement import Estimate
from autotune.systems.served.launch import memory_peak


@dataclass(frozen=True)
class EndpointDriver:
    """Hold a server that is ready.

    Args:
        where: Where and how it is asked.
        found: What it is: versions, model, flags that hold.
        root: Process that was launched; ``None`` for one that ran before.
    """

    where: Endpoint
    found: Mapping[str, Any]
    root: int | None = None

    def endpoint(self) -> Endpoint:
        """Return where and how the server is asked."""
        return self.where

    def facts(self) -> Mapping[str, Any]:
        """Return what really runs."""
        return self.found

    def metrics(self, deadline: float) -> Mapping[str, Estimate]:
        """Return the memory that all processes of the server took."""
        peak = 0 if self.root is None else memory_peak(self.root)
        return {"memory.peak": Estimate(float(peak), None, 1, "B")} if peak else {}

    def close(self) -> None:
        """Do nothing: the supervisor sends TERM, which every engine takes as an order to end."""
