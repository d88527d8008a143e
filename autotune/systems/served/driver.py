"""The worker's side of a server that is ready: where it answers, what it is, what memory it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from autotune.core.endpoint import Endpoint
from autotune.core.json_object import JsonObject
from autotune.core.measurement import Estimate
from autotune.systems.base import Driver
from autotune.systems.served.launch import memory_peak
from autotune.systems.served.negotiation import Asking, first_answer


@dataclass(frozen=True)
class EndpointDriver:
    """A server that is ready.

    Args:
        where: Endpoint and how it is asked.
        found: Facts of it: versions, model, flags that hold.
        root: Process that was launched; ``None`` for one that ran before.
        asking: Changes that may be tried until it takes requests with other fields.
    """

    where: Endpoint
    found: JsonObject
    root: int | None = None
    asking: Asking = field(default_factory=Asking)

    def endpoint(self) -> Endpoint:
        """Return where and how the server is asked."""
        return self.where

    def facts(self) -> JsonObject:
        """Return what really runs."""
        return self.found

    def metrics(self, deadline: float) -> Mapping[str, Estimate]:
        """Return the memory that all processes of the server took."""
        peak = 0 if self.root is None else memory_peak(self.root)
        return {"memory.peak": Estimate(float(peak), None, 1, "B")} if peak else {}

    def close(self) -> None:
        """Do nothing: the supervisor sends TERM, which every server takes as an order to end."""


def reconnected(
    driver: Driver, body: Mapping[str, object], deadline: float, varied: Sequence[str] = ()
) -> EndpointDriver:
    """Return the driver of a running server for requests with other fields, after a first one.

    Args:
        driver: Driver of the server.
        body: Fields that every request carries from now on.
        deadline: ``time.monotonic()`` value by which the first one must be answered.
        varied: The fields that are parameters of the configuration.

    Raises:
        NotReady: It does not answer.
        AttemptFailed: It refuses the fields.
    """
    if not isinstance(driver, EndpointDriver):
        raise TypeError(f"{type(driver).__name__} is no driver of a server")
    asking = replace(driver.asking, varied=tuple(varied))
    endpoint, found = first_answer(replace(driver.where, body=dict(body), omit=()), deadline, asking)
    return replace(driver, where=endpoint, asking=asking, found={**driver.found, **found})
