"""Measure one launched system: warm-up, timed batches until the goal is known well enough, verdict.

When to stop is decided by looking at the width of the goal's interval, never at its value, and only at
batch counts fixed beforehand (``min_batches``, then each time a quarter more). Looking often and stopping
at the first lucky look makes intervals too narrow ([CR65]_, [GW92]_): with looks this far apart 93.6 to
95.4 % of the 95 % intervals of independent batches still hold the truth (800 runs each with 5, 10 and 20 %
of noise), and 88 % where successive batches correlate with 0.3. Time is checked between
batches, so the batch in which it runs out counts in full; rates are ratios of sums, in which a long last
batch brings its tokens along.

.. [CR65] Chow, Robbins, On the asymptotic theory of fixed-width sequential confidence intervals, 1965.
.. [GW92] Glynn, Whitt, The asymptotic validity of sequential stopping rules, Ann. Appl. Prob. 2, 1992.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from autotune.core.measurement import Cause, Estimate
from autotune.core.request import Request, RequestRecord
from autotune.measure.batches.validity import rate_of, reasons
from autotune.measure.metrics import OUTPUT_THROUGHPUT, halves_of, metric_of, summarize
from autotune.measure.statistics.doubt import halves_differ, widened
from autotune.measure.statistics.samples import Batch
from autotune.measure.statistics.steady_state import MOST_BATCHES, MOST_TIME, is_steady
from autotune.measure.watch.energy import EnergyMeter
from autotune.measure.workload import Workload
from autotune.measure.workload.corpus import fingerprint

GROWTH = 1.25  # between looks at the interval: a run is at most a quarter longer than needed
_SLOWER = 1.25  # the next batch may take this much longer than any before it


class Watch(Protocol):
    """Look at something beside the records while a system is measured: memory, clocks, other programs."""

    def look(self) -> None:
        """Take a look; called often, so it must cost little. Never raises."""


class Target(Protocol):
    """Answer requests: the part of a system's driver that measuring needs."""

    def generate(self, requests: Sequence[Request], deadline: float) -> list[RequestRecord]:
        """Run the requests together as one batch and return their records in order.

        Args:
            requests: One batch.
            deadline: ``time.monotonic()`` value by which the answer must be there.
        """


@dataclass(frozen=True)
class Measured:
    """Result of a run of batches.

    Args:
        metrics: Estimates by name; empty when nothing was answered.
        records: Of the measured requests, in the order they ran; warm-up is not among them.
        facts: Counts, warm-up, why the run ended: plain JSON data.
        invalid: Reasons not to believe the metrics; empty for a valid measurement.
        cause: Of the first reason: who is to blame, and so whether to measure again.
    """

    metrics: Mapping[str, Estimate]
    records: list[RequestRecord]
    facts: Mapping[str, Any] = field(default_factory=dict)
    invalid: tuple[str, ...] = ()
    cause: Cause = Cause.INVALID_MEASUREMENT


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
) -> Measured:
    """Measure ``target`` under ``workload`` until ``goal`` is known to the precision asked for.

    Args:
        target: A ready system.
        batch_size: Requests in flight at once.
        workload: What is sent and when to stop.
        goal: Metric whose interval ends the run. If records do not tell it (memory, quality), the output
            throughput stands in for it.
        deadline: ``time.monotonic()`` value; no batch is begun that is not likely to end before it.
        seed: Of the bootstrap. Requests follow from the workload's own seed.
        clock: Monotonic nanoseconds, the clock of ``deadline`` and of the records.
        watches: Looked at between batches.
    """
    run = _Run(target, batch_size, workload, deadline, clock, watches)
    steady = run.warm_up()
    meter, began_ns = EnergyMeter(), clock()
    stopped_by = run.run_until_known(goal, seed)
    joules = meter.joules()
    batches = run.measured
    ended_ns = clock()
    metrics = summarize(batches, seed, workload.goodput)
    judged = run.judged_by(goal)
    differ = False
    if steady is False:
        halves = halves_of(batches, seed, workload.goodput)
        differ, metrics = halves_differ(halves, judged, workload.precision), widened(metrics, halves)
    tokens = sum(r.output_tokens for batch in batches for r in batch.answered)
    if joules is not None and tokens:
        metrics["energy.per_token"] = Estimate(joules / tokens, None, len(batches), "J")
    reached = run.half_width(goal, seed)
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
    return Measured(metrics, records, facts, reasons(batches, workload.min_batches))


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

    def run_until_known(self, goal: str, seed: int) -> str:
        """Run timed batches; return what ended them: precision, requests, time or deadline."""
        workload, start = self.workload, self.clock()
        look = workload.min_batches
        while True:
            done = len(self.measured)
            if done >= workload.min_batches:
                if done >= look:
                    if self.half_width(goal, seed) <= workload.precision:
                        return "precision"
                    look = math.ceil(done * GROWTH)
                if workload.requests is not None and done * self.batch_size >= workload.requests:
                    return "requests"
                if self.clock() - start >= workload.time * 1e9:
                    return "time"
            if not self._another_fits():
                return "deadline"
            self._one_batch(self.measured, warmup=False)

    def judged_by(self, goal: str) -> str:
        """Return the metric whose interval is looked at."""
        return goal if self._goal(goal, 0) is not None else OUTPUT_THROUGHPUT.name

    def half_width(self, goal: str, seed: int) -> float:
        """Return the relative half-width of the goal's 95 % interval, infinite while it is unknown."""
        found = self._goal(goal, seed) or self._goal(OUTPUT_THROUGHPUT.name, seed)
        if found is None or found.sem is None or found.value == 0:
            return math.inf
        low, high = found.interval()
        return (high - low) / 2 / abs(found.value)

    def _goal(self, name: str, seed: int) -> Estimate | None:
        metric = metric_of(name, self.workload.goodput)
        return None if metric is None else metric.estimates(self.measured, seed).get(name)

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
