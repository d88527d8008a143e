"""Measure a served system: a load is put on its endpoint until the goal is known well enough.

1. A request alone, several times, one after the other: wakes what is lazy (compilation, caches) without a
   queue that would have to be worked off later, and gives the time of a request without contention.
2. The load itself begins, and goes on without a break until the end. Its first part is cut off: the Marginal
   Standard Error Rule (:mod:`autotune.measure.statistics.steady_state`) on twenty windows of the output rate
   and the latency says where.
3. Windows of what follows are the observations; errors come from their spread
   (:mod:`autotune.measure.statistics.estimate`). Looks at the interval of the goal are taken at times fixed
   beforehand, each a quarter later than the one before, for the reasons in
   :mod:`autotune.measure.statistics.stopping`. ``precision``, ``requests``, ``time`` or the deadline end it.
   The error of a rate comes from few frequencies and scatters, so that precision ends a run only when
   ``NARROW_LOOKS`` looks in a row find the interval narrow; it is then of the width asked for
   (:func:`autotune.measure.statistics.estimate.fixed_width`), and in the second half of the time at least of
   that which the last looks let one expect.
4. The load goes on until what was sent in the measured time has ended, so that slow requests are in the
   measurement and nothing is served at a lighter load than the one measured.

An open loop that the system cannot keep up with ends as soon as that is certain, as a valid measurement of
another kind (:mod:`.overload`).
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from autotune.core.endpoint import Endpoint, explained
from autotune.core.measurement import Cause, Estimate
from autotune.core.request import RequestRecord, is_malformed
from autotune.measure.endpoint.load_run import LONGEST_STEP_S, STEPS, LoadRun
from autotune.measure.endpoint.overload import HORIZON_S, Overload, between, is_projected, overload, projected
from autotune.measure.endpoint.validity import LEAST_REQUESTS, validity_of
from autotune.measure.load.base import NICE, REALTIME, LoadGenerator, LoadPlan
from autotune.measure.metrics import OUTPUT_THROUGHPUT, Metric, halves_of, stopping_estimate, summarize
from autotune.measure.metrics.errors import error_rate
from autotune.measure.metrics.goodput import goodput
from autotune.measure.statistics.doubt import halves_differ, widened
from autotune.measure.statistics.estimate import fixed_width, usual_width
from autotune.measure.statistics.queue_memory import relaxations
from autotune.measure.statistics.samples import CUT_OFF, Window, is_answered
from autotune.measure.statistics.steady_state import MOST_TIME
from autotune.measure.statistics.stopping import Looks, StoppingRule, half_width
from autotune.measure.statistics.validity import Measured
from autotune.measure.watch.base import Watch
from autotune.measure.watch.cpu_time import SpareCpus
from autotune.measure.workload import Workload

OVERLOAD_SHARE = 0.25  # of the workload's time, the least that a load goes on which is too much
LEAST_SPARE = 1.0  # idle CPUs from which the generator takes precedence: it never fills more than one
ALONE_SHARE = 0.1  # of the workload's time for requests that are alone
NARROW_LOOKS = 2  # in a row; a third would make runs another quarter longer
LOOK_REQUESTS = 40  # before them a spread may be small for want of the slow ones
_ALONE_MOST = 9  # requests: the first wakes the system and does not count
_ALONE_LEAST = 3
_REFUSED = re.compile(r"^HTTP (?:3\d\d|40[1345])\b|^no stream|^no output tokens but")
"""What no configuration mends: no key, no such path, another address, no streams, reasoning without end."""

_NONE_ENDED = "none ended in time"
_RESERVE = 1.25  # what is under way at the end may take this much longer than any before it


@dataclass(frozen=True)
class MeasurementContext:
    """Context of a measurement: what is measured and by which means.

    Args:
        generator: Generator that sends the requests.
        endpoint: Endpoint of the server.
        workload: Requests to send, and when to stop.
        deadline: Value of ``clock`` in seconds by which all must be over.
        clock: Monotonic nanoseconds, the clock of the records.
        watches: Watches that look while a load runs.
        seed: Seed of the bootstrap.
        max_error_rate: Share of the requests that may fail in a valid measurement.
        spare: Least number of CPUs that the system left idle so far; ``None`` if nobody looked.
        plugins: Metrics of plug-ins that are measured too.
    """

    generator: LoadGenerator
    endpoint: Endpoint
    workload: Workload
    deadline: float
    clock: Callable[[], int] = time.monotonic_ns
    watches: Sequence[Watch] = ()
    seed: int = 0
    max_error_rate: float = 0.001
    spare: SpareCpus | None = None
    plugins: Sequence[Metric] = ()

    @property
    def precedence(self) -> str:
        """How the generator is scheduled: at real-time priority only where that takes no CPU from the system.

        A real-time process is woken for every token and interrupts the server each time: on two cores that an
        OpenVINO server filled (16 streams, 28 rounds in random order), its throughput was 16 % [11, 26] lower
        than with an ordinary generator and 20 % [11, 25] lower than with one of nice -10, which cost nothing
        (+3 % [-2, 9]); the generator itself used 0.18 in place of 0.08 cores.
        """
        least = None if self.spare is None else self.spare.least
        return REALTIME if least is not None and least >= LEAST_SPARE else NICE

    def start(self, stream: str, rate: float | None = None, concurrency: int | None = None) -> LoadRun:
        """Begin a load."""
        left_s = max(0.0, self.left_s)
        plan = LoadPlan(self.endpoint, self.workload, rate, concurrency, stream, self.precedence, left_s)
        step_s = min(LONGEST_STEP_S, self.workload.time / STEPS)
        return LoadRun(self.generator.start(plan), self.clock, step_s, self.watches, concurrency)

    @property
    def left_s(self) -> float:
        """Seconds to the deadline."""
        return self.deadline - self.clock() / 1e9


@dataclass(frozen=True)
class UnloadedLatency:
    """Latency of requests sent one at a time.

    Args:
        seconds: Duration of each but the first.
        asked: Number of requests sent.
        error: Reason of the last failure, if all failed.
        records: Records of those that were answered, but for the first.
    """

    seconds: list[float] = field(default_factory=list)
    asked: int = 0
    error: str = ""
    records: list[RequestRecord] = field(default_factory=list)

    def metrics(self) -> dict[str, Estimate]:
        """Return the mean as ``idealized_runtime``; empty without at least two."""
        return {} if len(self.seconds) < 2 else {"idealized_runtime": Estimate.mean_of(self.seconds, "s")}


def measure_served(
    context: MeasurementContext, *, goal: str, rate: float | None = None, concurrency: int | None = None
) -> Measured:
    """Measure an endpoint under one load until ``goal`` is known to the workload's precision.

    Args:
        context: System that is measured, and how.
        goal: Metric whose interval ends the run; the output throughput stands in for one that records do
            not tell.
        rate: Requests per second of an open loop; ``None`` for a trace, which has its own.
        concurrency: Requests under way at once of a closed loop; ``None`` for an open one.
    """
    unloaded = measure_unloaded(context)
    if unloaded.error:
        return unanswered(unloaded, context.endpoint)
    return measure_load(context, unloaded, goal=goal, rate=rate, concurrency=concurrency)


def unanswered(unloaded: UnloadedLatency, endpoint: Endpoint) -> Measured:
    """Return the measurement of a server that answered no request, with whose fault that is."""
    cause = Cause.WRONG_OUTPUT if is_malformed(unloaded.error) else Cause.CRASHED_UNDER_LOAD
    if _REFUSED.search(unloaded.error):
        cause = Cause.OWNER_MISTAKE
    elif unloaded.error == _NONE_ENDED:
        cause = Cause.TIME_LIMIT
    said = f"no request was answered: {explained(unloaded.error, endpoint)}"
    return Measured({}, [], {"requests": unloaded.asked}, (said,), cause)


def measure_unloaded(context: MeasurementContext) -> UnloadedLatency:
    """Send one request after the other for a small share of the time."""
    run = context.start("warmup", concurrency=1)
    began = context.clock()
    longest = began + context.workload.time * ALONE_SHARE * 1e9
    while not (run.dead or run.load.ended) and context.left_s > 0:
        count = len(run.records)
        if count >= _ALONE_MOST or (count >= _ALONE_LEAST and context.clock() >= longest):
            break
        run.step()
    run.stop()
    answered = [r for r in run.records if is_answered(r)]
    failed = (r.error for r in run.records if r.error and r.error != CUT_OFF)
    error = "" if answered else next(failed, _NONE_ENDED)
    answered.sort(key=lambda r: r.send_ns)
    seconds = [(r.end_ns - r.send_ns) / 1e9 for r in answered[1:]]
    return UnloadedLatency(seconds, len(run.records), error, answered[1:])


def measure_load(
    context: MeasurementContext,
    unloaded: UnloadedLatency,
    *,
    goal: str,
    rate: float | None = None,
    concurrency: int | None = None,
    stream: str = "measured",
    queue_memory: bool = True,
) -> Measured:
    """Measure under one load; what :func:`measure_served` does once the system is awake.

    Args:
        context: System that is measured, and how.
        unloaded: Time that requests took without contention.
        goal: Goal as for :func:`measure_served`.
        rate: The same.
        concurrency: The same.
        stream: Stream of the random numbers of arrivals and requests.
        queue_memory: Whether the errors of an open loop's latencies take in how long its queue remembers.
    """
    measuring = _Measuring(context, context.start(stream, rate, concurrency), goal, rate, concurrency)
    measuring.remembers = queue_memory and concurrency is None
    try:
        measuring.warm_up()
        measuring.until_known()
    finally:
        measuring.run.stop()
    return measuring.result(unloaded)


class _Measuring:
    """One measurement while it goes on."""

    def __init__(
        self,
        context: MeasurementContext,
        run: LoadRun,
        goal: str,
        rate: float | None,
        concurrency: int | None,
    ) -> None:
        self.context, self.run, self.goal, self.rate, self.concurrency = context, run, goal, rate, concurrency
        self.open_loop = concurrency is None
        self.remembers = self.open_loop
        self.steady: bool | None = False
        self.start_ns = run.start_ns
        self.end_ns = run.start_ns
        self.stopped_by = ""
        self.overload: Overload | None = None
        self.looks: list[tuple[float, float]] = []  # seconds and relative half-width of the goal

    def warm_up(self) -> None:
        """Run until the system is steady, or for as long as warm-up may take."""
        run, workload = self.run, self.context.workload
        looks = Looks()
        while self._goes_on():
            run.step()
            elapsed = (self.context.clock() - run.start_ns) / 1e9
            if workload.warmup is not None:
                if len(run.records) >= workload.warmup * (self.concurrency or 1):
                    self.steady, self.start_ns = None, self.context.clock()
                    return
                continue
            if looks.due(elapsed):
                since = run.steady_since()
                if since is not None:
                    self.steady, self.start_ns = True, since
                    return
            if (
                elapsed >= MOST_TIME * workload.time
                and not run.load.ended
                and any(map(is_answered, run.records))
            ):
                break
        # What ends a run this early is judged by all that there is.
        self.start_ns = run.start_ns if self.stopped_by else self.context.clock()

    def until_known(self) -> None:
        """Run until something ends the measurement, then until what was sent in it has ended."""
        run, workload, clock = self.run, self.context.workload, self.context.clock
        looks = Looks((clock() - self.start_ns) / 1e9)
        rule = StoppingRule(workload.precision, workload.time, workload.requests, looks, NARROW_LOOKS)

        def width() -> float:
            half = self.half_width(self.windows(clock(), unfinished=True))
            self.looks.append(((clock() - self.start_ns) / 1e9, half))
            return half

        while self._goes_on():
            run.step()
            elapsed = (clock() - self.start_ns) / 1e9
            count = run.count_answered(self.start_ns)
            if count < LEAST_REQUESTS:
                continue
            self.stopped_by = rule.reason(elapsed, count, elapsed, width if count >= LOOK_REQUESTS else None)
            if not self.stopped_by:
                continue
            self._settle()
            if self.stopped_by == "precision" and self.half_width(self.windows(self.end_ns)) > rule.precision:
                self.stopped_by = ""  # the slow ones among the last have ended now, and count
                rule.narrow = 0
                continue
            return
        self._settle()

    def _settle(self) -> None:
        """Wait until what was sent so far has ended; what is sent meanwhile is not measured."""
        end_ns = self.context.clock()
        if (
            self.run.load.ended and self.run.records
        ):  # a trace is over, or a tool's own run: with the last one
            end_ns = max(r.send_ns for r in self.run.records) + 1
        self.end_ns = max(end_ns, self.start_ns + 1)
        if self.overload is None and not self.run.dead:
            self.run.settle(self.end_ns, self.context.deadline * 1e9)

    def _goes_on(self) -> bool:
        """Return whether the load goes on; say what ended it."""
        run = self.run
        if self.stopped_by:
            return False
        if run.dead:
            self.stopped_by = "errors"
        elif run.load.ended:
            self.stopped_by = "end of the trace"
        elif self.context.left_s <= _RESERVE * run.longest_s:
            self.stopped_by = "deadline"
        elif self.open_loop and self._long_enough() and (found := overload(run.levels)) is not None:
            self.overload, self.stopped_by = found, "overload"
        return not self.stopped_by

    def _long_enough(self) -> bool:
        """Return whether what the system does when it is full could be seen by now."""
        full = (self.context.clock() - self.run.start_ns) / 1e9 >= OVERLOAD_SHARE * self.context.workload.time
        return full and self.run.count_answered(self.run.start_ns) >= LEAST_REQUESTS

    def windows(self, end_ns: int, *, unfinished: bool = False) -> list[Window]:
        """Return the windows up to ``end_ns``; while requests are under way, without the last of them."""
        start, last = self.start_ns, end_ns
        if unfinished:  # the quick ones among those sent last would stand for all
            last -= min(round(self.run.longest_s * 1e9), (end_ns - start) // 2)
        last = max(last, start + 1)
        windows = self.run.windows(start, last, self.context.workload.min_batches)
        if not self.remembers:
            return windows
        answered = [r for r in self.run.records if is_answered(r) and r.send_ns < last and r.end_ns > start]
        sent = np.array([r.send_ns - start for r in answered], np.float64)
        took = np.array([r.end_ns - r.send_ns for r in answered], np.float64)
        memory = relaxations(sent / 1e9, took / 1e9, (last - start) / 1e9)
        return [replace(window, relaxations=memory) for window in windows]

    def half_width(self, windows: Sequence[Window]) -> float:
        """Return the relative half-width of the goal's 95 % interval, infinite while it is unknown."""
        return half_width(self._decisive(windows)[1])

    def _decisive(self, windows: Sequence[Window]) -> tuple[str, Estimate | None]:
        context = self.context
        return stopping_estimate(self.goal, windows, context.seed, context.workload.goodput, context.plugins)

    def _explained(self, record: RequestRecord) -> RequestRecord:
        error = explained(record.error or "", self.context.endpoint)
        return record if error == (record.error or "") else replace(record, error=error)

    def result(self, unloaded: UnloadedLatency) -> Measured:
        """Return what was measured, and whether it is to be believed."""
        context, run, workload = self.context, self.run, self.context.workload
        if self.overload is not None:
            self.start_ns = run.start_ns
        windows = self.windows(self.end_ns)
        sent = [self._explained(r) for w in windows for r in w.sent]
        judged = validity_of(windows, sent, context.max_error_rate, self.stopped_by, open_loop=self.open_loop)
        if judged.rising and self.overload is None:
            measured = [level for level in run.levels if self.start_ns <= level.time_ns <= self.end_ns]
            self.overload = between(measured)
        metrics = summarize(windows, context.seed, workload.goodput, context.plugins)
        name = self.goal if self.goal in metrics else OUTPUT_THROUGHPUT.name
        differ = False
        if self.steady is False and self.overload is None:
            halves = halves_of(windows, context.seed, workload.goodput, context.plugins)
            differ, metrics = halves_differ(halves, name, workload.precision), widened(metrics, halves)
        precision_of, decisive = self._decisive(windows)
        reached, usual = half_width(decisive), usual_width(self.looks, workload.time)
        lucky = self.stopped_by in ("precision", "time") and reached <= workload.precision < usual < math.inf
        if self.stopped_by == "precision" or lucky:
            metrics = {**metrics, name: fixed_width(metrics[name], workload.precision, usual)}
        reached = usual if lucky else reached
        if self.overload is not None:
            late = goodput(workload.goodput).estimates(windows[len(windows) // 2 :], context.seed)
            last_ns = max((r.send_ns for r in sent if is_answered(r)), default=run.start_ns)
            metrics = projected(metrics, self.overload, (last_ns - run.start_ns) / 1e9) | late
        invalid = judged.reasons if self.overload is None else judged.reasons_excluding_overload
        memory = windows[0].relaxations if self.overload is None else None
        metrics |= {**error_rate(sent), **unloaded.metrics()}
        facts: dict[str, object] = {
            "windows": len(windows),
            "window_s": windows[0].seconds,
            "requests": len(sent),
            "errors": sum(not is_answered(r) for r in sent),
            "rate": self.rate,
            "concurrency": self.concurrency,
            "seconds": (self.end_ns - self.start_ns) / 1e9,
            "measured_ns": [self.start_ns, self.end_ns],
            "prompt_tokens": sum(r.prompt_tokens for r in sent if is_answered(r)),
            "output_tokens": sum(r.output_tokens for r in sent if is_answered(r)),
            "in_flight_at_end": run.levels[-1].in_flight if run.levels else 0,
            "slip_p99_s": judged.slip_p99_s,
            "stopped_by": self.stopped_by,
            "precision_of": precision_of,
            "precision": None if math.isinf(reached) else reached,
            "precision_reached": reached <= workload.precision,
            "warmup_seconds": (self.start_ns - run.start_ns) / 1e9,
            "warmup_steady": self.steady,
            "halves_differ": differ,
            "relaxations": None if memory is None or math.isinf(memory) else memory,
            "alone_requests": unloaded.asked,
        }
        if self.overload is not None:
            facts["overload"] = {"sent": self.overload.sent, "served": self.overload.served,
                                 "growth": self.overload.growth, "growth_error": self.overload.error,
                                 "horizon_s": HORIZON_S, "projected": [n for n in metrics if is_projected(n)],
                                 "text": str(self.overload)}  # fmt: skip
            facts["warnings"] = [
                f"{self.overload}: ttft and e2e are projected to {HORIZON_S:.0f} s of this load"
            ]
        return Measured(metrics, sent, facts, invalid, judged.cause)
