"""Measure one launched system: warm-up, timed batches until the goal is known well enough, validity.

When to stop is said by :mod:`autotune.measure.statistics.stopping`, from ``min_batches`` on. Time is checked
between batches, so the batch in which it runs out counts in full; rates are ratios of sums, in which a long
last batch brings its tokens along.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from autotune.core.measurement import Estimate
from autotune.core.request import Request, RequestRecord
from autotune.measure.batches.validity import rate_of, validity_of
from autotune.measure.metrics import Metric, halves_of, stopping_estimate, summarize
from autotune.measure.statistics.doubt import halves_differ, widened
from autotune.measure.statistics.samples import Batch
from autotune.measure.statistics.steady_state import MOST_BATCHES, MOST_TIME, is_steady
from autotune.measure.statistics.stopping import StoppingRule, half_width
from autotune.measure.statistics.validity import Measured
from autotune.measure.watch.base import Watch
from autotune.measure.watch.energy import EnergyMeter
from autotune.measure.workload import Workload
from autotune.measure.workload.corpus import fingerprint

_SLOWER = 1.25  # the next batch may take this much longer than any before it


class Target(Protocol):
    """The part of a system's driver that measuring needs: it answers requests."""

    def generate(self, requests: Sequence[Request], deadline: float) -> list[RequestRecord]:
        """Run the requests together as one batch and return their records in order.

        Args:
            requests: One batch.
            deadline: ``time.monotonic()`` value by which the answer must be there.
        """


def measure(
    target: Target,
    *,
    batch_size: int,
    workload: Workload,
    goal: str,
    deadline: float,
    seed: int = 0,
    clock: Callable[[], int] = time.monotonic_ns,
    watches: Sequence[Watch] = (),
    plugins: Sequence[Metric] = (),
) -> Measured:
    """Measure ``target`` under ``workload`` until ``goal`` is known to the precision asked for.

    Args:
        target: A ready system.
        batch_size: Requests in flight at once.
        workload: Requests to send, and when to stop.
        goal: Metric whose interval ends the run. If records do not tell it (memory, quality), the output
            throughput stands in for it.
        deadline: ``time.monotonic()`` value; no batch is begun that is not likely to end before it.
        seed: Seed of the bootstrap. Requests follow from the workload's own seed.
        clock: Monotonic nanoseconds, the clock of ``deadline`` and of the records.
        watches: Watches that look between batches.
        plugins: Metrics of plug-ins that are measured too.
    """
    run = _Run(target, batch_size, workload, deadline, clock, watches)
    steady = run.warm_up()
    meter, began_ns = EnergyMeter(), clock()
    stopped_by = run.run_until_known(goal, seed, plugins)
    joules = meter.joules()
    batches = run.measured
    ended_ns = clock()
    metrics = summarize(batches, seed, workload.goodput, plugins)
    judged, decisive = stopping_estimate(goal, batches, seed, workload.goodput, plugins)
    differ = False
    if steady is False:
        halves = halves_of(batches, seed, workload.goodput, plugins)
        differ, metrics = halves_differ(halves, judged, workload.precision), widened(metrics, halves)
    tokens = sum(r.output_tokens for batch in batches for r in batch.answered)
    if joules is not None and tokens:
        metrics["energy.per_token"] = Estimate(joules / tokens, None, len(batches), "J")
    reached = half_width(decisive)
    facts = {
        "batches": len(batches),
        "batch_size": batch_size,
        "requests": sum(len(batch.requests) for batch in batches),
        "errors": sum(len(batch.requests) - len(batch.answered) for batch in batches),
        "prompt_tokens": sum(r.prompt_tokens for batch in batches for r in batch.answered),
        "output_tokens": tokens,
        "seconds": sum(batch.seconds for batch in batches),
        "stopped_by": stopped_by,
        "measured_ns": [began_ns, ended_ns],
        "precision_of": judged,
        "precision": None if math.isinf(reached) else reached,
        "precision_reached": reached <= workload.precision,
        "warmup_batches": len(run.warm),
        "warmup_seconds": sum(batch.seconds for batch in run.warm),
        "warmup_rates": [rate_of(batch) for batch in run.warm],
        "warmup_steady": steady,
        "halves_differ": differ,
        "corpus": fingerprint(),
    }
    records = [record for batch in batches for record in batch.records]
    found = validity_of(batches, workload.min_batches)
    return Measured(metrics, records, facts, found.reasons, found.cause)


class _Run:
    """Batches of one measurement while it goes on."""

    def __init__(
        self,
        target: Target,
        batch_size: int,
        workload: Workload,
        deadline: float,
        clock: Callable[[], int],
        watches: Sequence[Watch] = (),
    ) -> None:
        self.target = target
        self.batch_size = batch_size
        self.workload = workload
        self.deadline = deadline
        self.clock = clock
        self.watches = watches
        self.warm: list[Batch] = []
        self.measured: list[Batch] = []

    def warm_up(self) -> bool | None:
        """Run batches until the system is steady; return whether it is, ``None`` for a fixed count."""
        fixed = self.workload.warmup
        start = self.clock()
        while len(self.warm) < (MOST_BATCHES if fixed is None else fixed) and self._another_fits():
            self._one_batch(self.warm, warmup=True)
            if fixed is not None:
                continue
            if self._is_steady():
                return True
            if self.clock() - start > MOST_TIME * self.workload.time * 1e9:
                break
        return None if fixed is not None else False

    def run_until_known(self, goal: str, seed: int, plugins: Sequence[Metric] = ()) -> str:
        """Run timed batches; return what ended them: precision, requests, time or deadline."""
        workload, start = self.workload, self.clock()
        rule = StoppingRule(workload.precision, workload.time, workload.requests)

        def width() -> float:
            found = stopping_estimate(goal, self.measured, seed, workload.goodput, plugins)
            return half_width(found[1])

        while True:
            done = len(self.measured)
            if done >= workload.min_batches:
                seconds = (self.clock() - start) / 1e9
                if reason := rule.reason(done, done * self.batch_size, seconds, width):
                    return reason
            if not self._another_fits():
                return "deadline"
            self._one_batch(self.measured, warmup=False)

    def _is_steady(self) -> bool:
        answered = [batch for batch in self.warm if batch.answered]
        latencies = [sum(r.end_ns - r.send_ns for r in b.answered) / len(b.answered) for b in answered]
        return is_steady([rate_of(batch) for batch in answered], latencies)

    def _another_fits(self) -> bool:
        """Return whether a batch as long as the longest so far, and a little, ends before the deadline."""
        longest = max((b.returned_ns - b.called_ns for b in (*self.warm[1:], *self.measured)), default=0)
        return self.clock() + _SLOWER * longest < self.deadline * 1e9

    def _one_batch(self, into: list[Batch], *, warmup: bool) -> None:
        for watch in self.watches:
            watch.look()
        requests = self.workload.batch(len(into), self.batch_size, warmup=warmup)
        called = self.clock()
        records = self.target.generate(requests, self.deadline)
        into.append(Batch(requests, tuple(records), called, self.clock()))
