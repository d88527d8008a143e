"""Workers that do nothing for a given time, in the contract of an executor."""

from __future__ import annotations

import heapq
import time
from collections.abc import Mapping, Sequence
from typing import Any

from autotune.analysis.study_view import StudyView
from autotune.core.measurement import Estimate, Measurement
from autotune.executor.base import AttemptResult, Job


class SimulatedExecutor:
    """An executor that holds every attempt for ``seconds``, on ``workers`` at once; no process is started.

    Args:
        workers: Attempts at once.
        seconds: Of each attempt.

    Attributes:
        busy_s: Worker seconds spent on attempts so far.
        ends: When each result was handed out, seconds of the monotonic clock.
    """

    name = "simulated"

    def __init__(self, workers: int, seconds: float) -> None:
        self.workers, self.seconds = workers, seconds
        self.busy_s = 0.0
        self.ends: list[float] = []
        self._queue: list[tuple[float, int, Job, int]] = []

    def start(self) -> None:
        """Do nothing."""

    def nodes(self) -> list[str]:
        """Return one name per worker."""
        return [f"worker-{i}" for i in range(self.workers)]

    def capacity(self, resources: Mapping[str, float]) -> int:
        """Return the number of workers."""
        return self.workers

    def has_room(self, resources: Mapping[str, float], beside: Sequence[Mapping[str, float]] = ()) -> bool:
        """Return whether a worker is idle."""
        return len(self._queue) + len(beside) < self.workers

    def shortage(self, resources: Mapping[str, float]) -> str:
        """Return nothing: every configuration fits."""
        return ""

    def submit(self, job: Job) -> None:
        """Begin an attempt."""
        heapq.heappush(self._queue, (time.monotonic() + self.seconds, job.trial, job, time.time_ns()))

    def wait(self, timeout: float) -> list[AttemptResult]:
        """Return what is over, waiting for the first."""
        if self._queue:
            time.sleep(max(0.0, min(self._queue[0][0] - time.monotonic(), timeout)))
        now, results = time.monotonic(), []
        while self._queue and self._queue[0][0] <= now:
            _, trial, job, began = heapq.heappop(self._queue)
            value = Estimate(1.0 + trial % 97, 0.01, 10, "tokens/s")
            measurement = Measurement(
                {job.goal: value}, started_ns=began, ended_ns=began + int(self.seconds * 1e9)
            )
            results.append(AttemptResult(job.key, measurement, f"worker-{trial % self.workers}"))
            self.busy_s += self.seconds
            self.ends.append(now)
        return results

    def drop(self, key: tuple[str, int, int]) -> str:
        """Forget an attempt."""
        self._queue = [entry for entry in self._queue if entry[2].key != key]
        heapq.heapify(self._queue)
        return ""

    def cancel(self) -> None:
        """Forget all."""
        self._queue.clear()

    def close(self) -> None:
        """Forget all."""
        self.cancel()


class Quiet:
    """Show nothing."""

    def start(self, view: StudyView) -> None:
        """Show nothing."""

    def update(self, view: StudyView) -> None:
        """Show nothing."""

    def message(self, text: str, kind: object = None) -> None:
        """Show nothing."""

    def finish(self, view: StudyView, closing_text: str) -> None:
        """Show nothing."""


def nothing(_config: Mapping[str, Any]) -> dict[str, float]:
    """Return a metric: what a study's ``function`` would be if it were called."""
    return {"output_throughput": 1.0}
