"""Workers of a Ray cluster that wait instead of measuring: hundreds of slots in one process of each node."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from autotune.executor.base import AttemptResult, Job
from autotune.executor.ray import RayExecutor
from benchmarks.problems.serving import serving

NAMESPACE = "scale"
SPREAD = 0.5
"""Of the time that a trial takes, on either side of its mean."""


class SlotHost:
    """An actor with many slots: each attempt waits its time and measures what the simulated server says."""

    def __init__(self, mean_s: float) -> None:
        self._problem, self._mean_s = serving(), mean_s

    async def attempt(self, data: dict[str, Any], slot: int) -> dict[str, object]:
        """Run one attempt of a job; ``slot`` is which of its study's slots it has."""
        began = time.time_ns()
        job = Job.from_dict(data)
        rng = np.random.default_rng([sum(job.study.encode()), job.trial, job.attempt])
        await asyncio.sleep(self._mean_s * rng.uniform(1 - SPREAD, 1 + SPREAD))
        found = self._problem.measure(job.config, rng)
        found = replace(found, facts={"slot": slot}, started_ns=began, ended_ns=time.time_ns())
        return AttemptResult(job.key, found, "").to_dict()


class SlotExecutor(RayExecutor):
    """The executor of every study on Ray, whose tasks go to the host of slots on the node that it chose.

    Args:
        address: Address of the cluster.
        hosts: Number of hosts, named by it; the study's slots are spread over them.
    """

    def __init__(self, address: str, hosts: int, **more: Any) -> None:
        super().__init__(address, **more)
        self._hosts = hosts
        self._free: list[int] = []
        self._taken: dict[tuple[str, int, int], int] = {}
        self._slots = 0

    def start(self) -> None:
        """Connect to the cluster and find the hosts."""
        super().start()
        import ray

        found = [ray.get_actor(f"slots-{i}", namespace=NAMESPACE) for i in range(self._hosts)]
        self._task = _Task(self, found)

    def take(self, key: tuple[str, int, int]) -> int:
        """Return a free slot of the study for an attempt: the one that has been free longest."""
        if not self._free:
            self._free.append(self._slots)
            self._slots += 1
        self._taken[key] = self._free.pop(0)
        return self._taken[key]

    def wait(self, timeout: float) -> list[AttemptResult]:
        """Return the results that arrived; their slots are free again."""
        results = super().wait(timeout)
        self._free += [slot for one in results if (slot := self._taken.pop(one.key, None)) is not None]
        return results

    def cancel(self) -> None:
        """Let go of every attempt: Ray kills no task of an actor."""
        import ray

        for reference in self._running:
            ray.cancel(reference)
        self._running.clear()
        super().cancel()


class _Task:
    """Stands for Ray's task of an attempt."""

    def __init__(self, executor: SlotExecutor, hosts: list[Any]) -> None:
        self._executor, self._hosts = executor, hosts

    def options(self, **_options: Any) -> _Task:
        return self

    def remote(self, data: Mapping[str, Any]) -> Any:
        slot = self._executor.take((str(data["study"]), int(data["trial"]), int(data["attempt"])))
        return self._hosts[slot % len(self._hosts)].attempt.remote(dict(data), slot)
