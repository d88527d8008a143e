"""One load while it is put on an endpoint: what has ended, what is under way, since when it is steady."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from autotune.core.request import RequestRecord
from autotune.measure.endpoint.overload import RequestCount
from autotune.measure.load.base import Load
from autotune.measure.metrics import OUTPUT_THROUGHPUT
from autotune.measure.statistics.samples import CUT_OFF, Window, cut_windows, is_answered
from autotune.measure.statistics.steady_state import KEPT, truncation_point
from autotune.measure.watch.base import Watch

STEPS = 100
"""Looks at the load per ``workload.time``: counts of what is under way are taken then."""

LONGEST_STEP_S = 1.0  # a dead server is noticed within this

MOST_WINDOWS = 64  # fewer than twice this many Student factors are within 2 %; requests are not cut finer
_WARM_WINDOWS = 20
_WARM_REQUESTS = 2 * _WARM_WINDOWS  # the rate of a window of one request is noise
_DEAD = 20  # requests in a row that failed: nobody answers any more
_SETTLING_STEPS = 25  # least time for what is under way to end: a quarter of the workload's


@dataclass
class LoadRun:
    """Records of a load so far.

    Args:
        load: Load that runs.
        clock: Monotonic nanoseconds.
        step_s: Seconds between two looks.
        watches: Callables, called at every look.
        concurrency: Requests under way at all times in a closed loop; ``None`` in an open one.
    """

    load: Load
    clock: Callable[[], int]
    step_s: float
    watches: Sequence[Watch] = ()
    concurrency: int | None = None
    records: list[RequestRecord] = field(default_factory=list)
    levels: list[RequestCount] = field(default_factory=list)
    failed_in_a_row: int = 0
    longest_s: float = 0.0  # time an answered request has taken
    _counted: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    @property
    def start_ns(self) -> int:
        """When the schedule began."""
        return self.load.started_ns

    @property
    def dead(self) -> bool:
        """Whether request after request fails, so that going on tells nothing."""
        return self.failed_in_a_row >= _DEAD or 0 < len(self.records) == self.failed_in_a_row >= 3

    def step(self) -> None:
        """Wait one step and take in what ended."""
        until = self.clock() + round(self.step_s * 1e9)
        while True:
            left = (until - self.clock()) / 1e9
            self._take(self.load.poll(max(0.0, left)))
            if self.clock() >= until or self.load.ended or self.dead:
                break
        self.levels.append(RequestCount(self.clock(), len(self.records), self.load.in_flight()))
        for watch in self.watches:
            watch.look()

    def answered(self, since_ns: int, until_ns: int | None = None) -> list[RequestRecord]:
        """Return the answered requests that were sent in a time."""
        last = math.inf if until_ns is None else until_ns
        return [r for r in self.records if is_answered(r) and since_ns <= r.send_ns < last]

    def count_answered(self, since_ns: int) -> int:
        """Return how many answered requests were sent since a time; cheap when asked again and again."""
        return self.count_beyond("", since_ns, lambda record: True)

    def count_beyond(self, name: str, since_ns: int, beyond: Callable[[RequestRecord], bool]) -> int:
        """Return how many answered requests sent since a time are beyond a bound; cheap when asked again.

        Args:
            name: Name of the bound: what was counted before is kept under it.
            since_ns: Monotonic time.
            beyond: Whether a record is.
        """
        since, done, count = self._counted.get(name, (since_ns, 0, 0))
        if since != since_ns:
            since, done, count = since_ns, 0, 0
        fresh = (r for r in self.records[done:] if is_answered(r) and r.send_ns >= since)
        count += sum(beyond(r) for r in fresh)
        self._counted[name] = (since, len(self.records), count)
        return count

    def windows(self, start_ns: int, end_ns: int, least: int) -> list[Window]:
        """Return the time cut into as many windows as the answered requests allow, two for each.

        Args:
            start_ns: Start.
            end_ns: End.
            least: Fewest windows.
        """
        count = len(self.answered(start_ns, end_ns)) // 2
        count = max(least, min(MOST_WINDOWS, count))
        return cut_windows(self.records, start_ns, end_ns, count, self.concurrency)

    def steady_since(self) -> int | None:
        """Return since when the output rate and the latency are steady; ``None`` while they are not.

        Latencies are taken by when requests *end* here: those sent last have not ended, and leaving out the
        slow ones among them would look like a fall. The first request's time is cut in any case.
        """
        now = max(r.end_ns for r in self.records) if self.load.ended and self.records else self.clock()
        done = [r for r in self.records if is_answered(r)]
        if len(done) < _WARM_REQUESTS:
            return None
        windows = cut_windows(self.records, self.start_ns, now, _WARM_WINDOWS)
        rates = [w.flow(OUTPUT_THROUGHPUT.events, partial=True) for w in windows]
        latencies: list[float] = []
        for w in windows:
            ended = [r.end_ns - r.send_ns for r in w.present if is_answered(r) and r.end_ns < w.end_ns]
            latencies.append(sum(ended) / len(ended) if ended else (latencies[-1] if latencies else 0.0))
        cut = max(truncation_point(rates), truncation_point(latencies))
        if len(windows) - cut < KEPT or cut > len(windows) / 2:
            return None
        first = min(r.end_ns for r in done)
        return max(windows[cut].start_ns, first)

    def settle(self, end_ns: int, deadline_ns: float) -> None:
        """Go on with the load until what was sent before ``end_ns`` has ended, so that nothing is left out.

        Args:
            end_ns: End of the measured time: now.
            deadline_ns: Latest end.
        """
        until = min(deadline_ns, end_ns + 1e9 * max(_SETTLING_STEPS * self.step_s, 2 * self.longest_s))
        while self.clock() < until and not self.load.ended and not self.dead:
            if self.load.ended_up_to(end_ns):
                break
            self.step()
        self._take(self.load.poll(0.0))

    def stop(self, drain_s: float = 0.0) -> None:
        """End the load; what is still under way is recorded as cut off."""
        self._take(self.load.stop(drain_s))

    def _take(self, records: Sequence[RequestRecord]) -> None:
        self.records.extend(records)
        for record in records:
            if record.error != CUT_OFF:
                self.failed_in_a_row = 0 if is_answered(record) else self.failed_in_a_row + 1
            if is_answered(record):
                self.longest_s = max(self.longest_s, (record.end_ns - record.send_ns) / 1e9)
