"""The highest rate of an open loop that keeps the limits: bracket, bisect, then measure there in full.

From the rate that one request after the other would give, the rate is doubled until a probe fails, or halved
until one passes; then the bracket is halved on the logarithmic scale until it is narrower than ``TOLERANCE``.
The highest passing rate is measured in full and reported with all its metrics; if it fails in that longer
look, the bracket moves down and the next one is.

A probe is a short run that ends as soon as its answer is known. It fails when

* the queue grows without bound (:mod:`.overload`), or requests fail;
* more requests are later than a percentile limit lets the whole probe have: it cannot pass any more;
* the 95 % interval of a limited metric lies wholly beyond its bound;

and passes when all intervals lie wholly within their bounds. What is still open at its end is decided by the
values. Limits on what records do not tell (memory, quality) play no part; without any other, the only
question is whether the system keeps up.

``max_rate`` is where the latency curve through all probes, the full measurement among them, crosses the limit
(:mod:`.knee`), the lowest of the crossings where there are several limits; its standard error is that of the
posterior. A probe near the knee does not pass early. Without limits that records tell it is the geometric
middle of the last bracket, with the standard error of a uniform value in it, width / sqrt(12). Where no probe
passed, or none failed, it is a bound without an error, and the facts say so (``max_rate_bound``).

A load begins only when the server is idle again: a lone request takes no longer than one alone did before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from autotune.core.measurement import AT_LEAST, AT_MOST, Estimate
from autotune.core.request import RequestRecord
from autotune.measure.endpoint.knee import ProbePoint, crossing, lowest
from autotune.measure.endpoint.load_run import LoadRun
from autotune.measure.endpoint.overload import overload
from autotune.measure.endpoint.served import (
    LOOK_REQUESTS,
    MeasurementContext,
    UnloadedLatency,
    measure_load,
    measure_unloaded,
    unanswered,
)
from autotune.measure.endpoint.validity import latency_trend
from autotune.measure.metrics import metric_of
from autotune.measure.metrics.e2e import values as e2e_values
from autotune.measure.metrics.errors import error_rate
from autotune.measure.metrics.ttft import values as ttft_values
from autotune.measure.statistics.samples import CUT_OFF, is_answered
from autotune.measure.statistics.stopping import GROWTH, Looks
from autotune.measure.statistics.validity import Measured

TOLERANCE = 0.05  # width of the last bracket; the noise beside it is usually no smaller
_STEP = 2.0
_MOST_PROBES = 24
_WARM_SHARE = 0.2  # of a probe, before which nothing is judged
_EXPECTED_PROBES = 10
_MOST_SPAN = 512.0  # from the first rate down: what fails there fails alone
_FULL_TRIES = 3
_ALONE_TELL = 3  # requests without contention that say what no rate can keep
_LATENCIES = {"ttft": ttft_values, "e2e": e2e_values}
_CERTAIN = 3.0  # standard errors: one look of some ten, each at a short run whose own error is uncertain
_AS_ALONE = 1.25  # times the longest of the requests that were alone: an idle server

Limit = tuple[str, str, float]
"""Metric, ``<=`` or ``>=``, bound in the metric's base unit."""


@dataclass(frozen=True)
class Probe:
    """Result at one rate.

    Args:
        rate: Requests per second.
        passed: Whether all limits hold.
        why: Reason of the decision.
        seconds: Seconds that it took.
        requests: Number of answered requests.
        found: Estimates of the limited metrics, where the queue was stationary.
        idle_s: Seconds that were waited before it until the server was idle; ``None`` if it did not become
            so.
        overloaded: Whether the queue grew without bound.
    """

    rate: float
    passed: bool
    why: str
    seconds: float
    requests: int
    found: dict[str, Estimate] = field(default_factory=dict)
    idle_s: float | None = 0.0
    overloaded: bool = False


def measure_max_rate(
    context: MeasurementContext,
    *,
    goal: str,
    limits: Sequence[Limit],
    low: float | None = None,
    high: float | None = None,
) -> Measured:
    """Find the highest rate that keeps ``limits`` and measure there.

    Args:
        context: System that is measured, and how.
        goal: Metric whose interval ends the measurement at that rate.
        limits: Those that do not depend on another configuration.
        low: Lowest rate to consider in requests/s.
        high: Highest rate to consider.
    """
    unloaded = measure_unloaded(context)
    if unloaded.error:
        return unanswered(unloaded, context.endpoint)
    told = [
        limit
        for limit in limits
        if metric_of(limit[0], context.workload.goodput, context.plugins) or limit[0] == "error_rate"
    ]
    search = _Search(context, told, unloaded, low, high)
    search.bracket()
    search.bisect()
    return search.measure(goal)


class _Search:
    """The bracket and all probes of a search."""

    def __init__(
        self,
        context: MeasurementContext,
        limits: Sequence[Limit],
        unloaded: UnloadedLatency,
        low: float | None,
        high: float | None,
    ) -> None:
        self.context, self.limits, self.unloaded = context, limits, unloaded
        self.least, self.most = low, high
        runtime = unloaded.metrics().get("idealized_runtime")
        self.first = low or (1 / runtime.value if runtime is not None and runtime.value > 0 else 1.0)
        if high is not None:
            self.first = min(self.first, high)
        self.probes: list[Probe] = []
        # The full measurement at the end needs its own time, warm-up and settling included.
        reserve = min(2.0 * context.workload.time, context.left_s / 2)
        self.probe_s = min(context.workload.time, max(1.0, (context.left_s - reserve) / _EXPECTED_PROBES))
        self.reserve_s = reserve

    @property
    def passing(self) -> Probe | None:
        """The highest rate below every failing one that passed."""
        fail = self.failing
        passed = [p for p in self.probes if p.passed and (fail is None or p.rate < fail.rate)]
        return max(passed, key=lambda p: p.rate, default=None)

    @property
    def failing(self) -> Probe | None:
        """The lowest rate that failed."""
        return min((p for p in self.probes if not p.passed), key=lambda p: p.rate, default=None)

    def _may_go_on(self) -> bool:
        return len(self.probes) < _MOST_PROBES and self.context.left_s > self.reserve_s

    def bracket(self) -> None:
        """Double or halve the rate until one passes and one fails."""
        rate = self.first
        floor = self.least or (self.first if self._late_alone() else self.first / _MOST_SPAN)
        while self._may_go_on():
            probe = self._probe(rate)
            if self.passing is not None and self.failing is not None:
                return
            if probe.passed:
                if self.most is not None and rate >= self.most:
                    return
                rate = min(rate * _STEP, self.most or math.inf)
            else:
                if rate <= floor:
                    return
                rate = max(rate / _STEP, floor)

    def _late_alone(self) -> bool:
        """Return whether every request without contention was beyond a limit: no rate can keep it."""
        for metric, sense, bound in self.limits:
            values = _LATENCIES.get(metric.rpartition(".")[0])
            unloaded = self.unloaded.records
            if sense != "<=" or values is None or len(unloaded) < _ALONE_TELL:
                continue
            if all(_is_late(values, bound, record) for record in unloaded):
                return True
        return False

    def bisect(self) -> None:
        """Halve the bracket until it is narrow."""
        while self._may_go_on():
            low, high = self.passing, self.failing
            if low is None or high is None or high.rate / low.rate <= 1 + TOLERANCE:
                return
            self._probe(math.sqrt(low.rate * high.rate), near=True)

    def measure(self, goal: str) -> Measured:
        """Measure in full at the highest passing rate, and lower where that fails."""
        found: Measured | None = None
        # The rate at the knee is known as well as what limits it is.
        judged = self.limits[0][0] if goal == "max_rate" and self.limits else goal
        for number in range(_FULL_TRIES):
            chosen = self.passing
            rate = chosen.rate if chosen is not None else self._lowest()
            idle_s = self._until_idle()
            # Errors as those of the probes: the curve through all has its own for what a queue remembers.
            found = measure_load(
                self.context,
                self.unloaded,
                goal=judged,
                rate=rate,
                stream=f"measured/{number}",
                queue_memory=False,
            )
            why = "overload" if "overload" in found.facts else self._broken(found.metrics)
            if not found.invalid:
                self.probes.append(self._in_full(rate, why, found, idle_s))
            if chosen is None or found.invalid or not why:
                break
            if self.context.left_s < self.context.workload.time:
                break
            if self.passing is None:
                self._probe(chosen.rate / (1 + TOLERANCE), near=True)
        assert found is not None  # noqa: S101 - at least one try
        shown = [_shown(p) for p in self.probes]
        facts = {**found.facts, "search": shown}
        if self.bound:
            facts["max_rate_bound"] = self.bound
        if any(p.idle_s is None for p in self.probes):
            text = "the server was not idle before a load of the search: work of an earlier load was left"
            facts["warnings"] = [*facts.get("warnings", []), text]
        metrics = {**found.metrics}
        if metrics:
            metrics["max_rate"] = self._estimate()
        return Measured(metrics, found.records, facts, found.invalid, found.cause)

    def _lowest(self) -> float:
        fail = self.failing
        return fail.rate if fail is not None else self.first

    def _in_full(self, rate: float, why: str, found: Measured, idle_s: float | None) -> Probe:
        """Return a full measurement as a probe."""
        over = "overload" in found.facts
        limited = {limit[0]: found.metrics[limit[0]] for limit in self.limits if limit[0] in found.metrics}
        seconds, requests = float(found.facts["seconds"]), int(found.facts["requests"])
        text = f"in full: {why or 'within the limits'}"
        return Probe(rate, not why, text, seconds, requests, {} if over else limited, idle_s, over)

    def _estimate(self) -> Estimate:
        if not self.probes:
            return Estimate(self.first, None, 1, "requests/s")
        return highest_rate(self.probes, self.limits, self.context.seed)

    @property
    def bound(self) -> str:
        """Say what the rate is where no probe passed, or none failed; empty where both did."""
        if all(p.passed for p in self.probes):
            return f"{AT_LEAST}: " + ("no higher rate was tried" if self.most else "no rate failed in time")
        return (
            "" if any(p.passed for p in self.probes) else f"{AT_MOST}: the lowest rate tried breaks a limit"
        )

    def _broken(self, metrics: Mapping[str, Estimate]) -> str:
        for metric, sense, bound in self.limits:
            value = metrics.get(metric)
            if value is not None and (value.value > bound if sense == "<=" else value.value < bound):
                return f"{metric} is {value.value:.4g}, the limit is {sense} {bound:.4g}"
        return ""

    def _until_idle(self) -> float | None:
        """Wait until a lone request takes no longer than one alone did; return the seconds that took.

        What an overload left behind would be added to the next load: servers go on with requests whose client
        has gone.

        Returns:
            ``None`` if the server did not become idle in the workload's time.
        """
        usual = max(self.unloaded.seconds, default=0.0)
        if not usual:
            return 0.0
        began = self.context.clock()
        run = self.context.start(f"idle/{len(self.probes)}", concurrency=1)
        try:
            while self.context.left_s > 0 and not (run.dead or run.load.ended):
                run.step()
                waited = (self.context.clock() - began) / 1e9
                if any(
                    r.end_ns - r.send_ns <= _AS_ALONE * usual * 1e9 for r in run.records if is_answered(r)
                ):
                    return waited
                if waited > self.context.workload.time:
                    break
        finally:
            run.stop()
        return None

    def _probe(self, rate: float, *, near: bool = False) -> Probe:
        """Put one load on the server and return its answer.

        Args:
            rate: Rate in requests/s.
            near: Whether the knee is near. Then no probe passes early: the one that does had few bouts of
                lateness by chance, and its estimates are the ones that the rate is computed from.
        """
        idle_s = self._until_idle()
        run = self.context.start(f"search/{len(self.probes)}", rate)
        began = self.context.clock()
        try:
            passed, why, found = self._judge(run, rate, near)
        finally:
            run.stop()
        answered = sum(is_answered(r) for r in run.records)
        seconds = (self.context.clock() - began) / 1e9
        over = why.startswith("overload")
        probe = Probe(rate, passed, why, seconds, answered, found, idle_s, over)
        self.probes.append(probe)
        return probe

    def _judge(self, run: LoadRun, rate: float, near: bool) -> tuple[bool, str, dict[str, Estimate]]:
        context, start = self.context, run.start_ns
        warm_ns = start + round(_WARM_SHARE * self.probe_s * 1e9)
        looks = Looks(_WARM_SHARE * self.probe_s * GROWTH)
        # A slow system needs a while until enough has ended to judge it by.
        longest = max(self.probe_s, (LOOK_REQUESTS + 10) / rate)
        while True:
            run.step()
            elapsed = (context.clock() - start) / 1e9
            over = overload(run.levels)
            if over is not None:
                return False, f"overload: {over}", {}
            if run.dead or context.left_s <= 0:
                return False, "requests fail" if run.dead else "no time left", {}
            late = self._too_late(run, warm_ns, rate * (longest - (warm_ns - start) / 1e9))
            if late:
                return False, late, self._found(run, warm_ns, self._ended_by_now(run, warm_ns))
            if elapsed >= longest or run.load.ended:
                break
            if run.count_answered(warm_ns) >= LOOK_REQUESTS and looks.due(elapsed):
                decided = self._certain(self._found(run, warm_ns, self._ended_by_now(run, warm_ns)))
                if decided is not None and not (near and decided[0]):
                    return decided
        end = context.clock()
        run.settle(end, context.deadline * 1e9)
        return self._final(run, warm_ns, end)

    def _ended_by_now(self, run: LoadRun, start_ns: int) -> int:
        """Return up to when requests were sent of which all have ended, as far as one can tell."""
        now = self.context.clock()
        return now - min(round(run.longest_s * 1e9), (now - start_ns) // 2)

    def _found(self, run: LoadRun, start_ns: int, end_ns: int) -> dict[str, Estimate]:
        windows = run.windows(start_ns, max(end_ns, start_ns + 1), self.context.workload.min_batches)
        sent = [r for w in windows for r in w.sent]
        found: dict[str, Estimate] = {}
        for name, _, _ in self.limits:
            metric = metric_of(name, self.context.workload.goodput, self.context.plugins)
            measured = error_rate(sent) if metric is None else metric.estimates(windows, self.context.seed)
            found |= {name: measured[name]} if name in measured else {}
        return found

    def _certain(self, found: dict[str, Estimate]) -> tuple[bool, str, dict[str, Estimate]] | None:
        """Return the answer if the intervals leave no doubt."""
        clear = bool(self.limits)
        for metric, sense, bound in self.limits:
            if metric not in found or found[metric].sem is None:
                clear = False
                continue
            low, high = found[metric].interval(_CERTAIN)
            if (low > bound) if sense == "<=" else (high < bound):
                return False, f"{metric} is clearly beyond {bound:.4g}", found
            clear = clear and ((high < bound) if sense == "<=" else (low > bound))
        return (True, "clearly within the limits", found) if clear else None

    def _final(self, run: LoadRun, start_ns: int, end_ns: int) -> tuple[bool, str, dict[str, Estimate]]:
        windows = run.windows(start_ns, end_ns, self.context.workload.min_batches)
        sent = [r for w in windows for r in w.sent]
        failed = sum(not is_answered(r) and r.error != CUT_OFF for r in sent)
        if failed > self.context.max_error_rate * len(sent):
            return False, f"{failed} of {len(sent)} requests failed", {}
        if any(r.error == CUT_OFF for r in sent) or not sent:
            return False, "requests did not end", {}
        rise = latency_trend(windows)
        if rise is not None and rise > 0:
            return False, f"the latency rose by {rise:.0%} through the probe", {}
        found = self._found(run, start_ns, end_ns)
        broken = self._broken(found)
        return (not broken), broken or "within the limits", found

    def _too_late(self, run: LoadRun, start_ns: int, planned: float) -> str:
        """Return a reason once more requests are late than a percentile lets the whole probe have."""
        for metric, sense, bound in self.limits:
            family, _, statistic = metric.rpartition(".")
            values = _LATENCIES.get(family)
            if sense != "<=" or values is None or not statistic.startswith("p"):
                continue
            allowed = (1 - int(statistic[1:]) / 100) * planned
            # Bouts of lateness are more frequent by chance than their share: three standard deviations.
            allowed += 3 * math.sqrt(allowed) + 1
            count = run.count_beyond(metric, start_ns, partial(_is_late, values, bound))
            if count > allowed:
                return f"{count} requests are beyond {metric} {sense} {bound:.4g}, {allowed:.0f} may be"
        return ""


def _shown(probe: Probe) -> dict[str, Any]:
    """Return a probe as a fact, whole: the rate can be computed from the facts again."""
    found = {name: [e.value, e.sem, e.n, e.unit] for name, e in probe.found.items()}
    return asdict(probe) | {"seconds": round(probe.seconds, 3), "found": found}


def highest_rate(probes: Sequence[Probe], limits: Sequence[Limit], seed: int) -> Estimate:
    """Return the highest rate that keeps the limits, with its error; see the module's head.

    Args:
        probes: All of a search, at least one.
        limits: Limits that they were judged by.
        seed: Seed of the pairing of several limits.
    """
    n = len(probes)
    passed, failed = [p.rate for p in probes if p.passed], [p.rate for p in probes if not p.passed]
    if not passed or not failed:
        edge, bound = (max(passed), AT_LEAST) if passed else (min(failed), AT_MOST)
        return Estimate(edge, None, n, "requests/s", bound=bound)
    high = min(failed)
    low = max((rate for rate in passed if rate < high), default=high)  # what passed higher did so by chance
    middle = math.sqrt(low * high)
    found = [crossing(_points(probes, limit), middle) for limit in limits]
    told = [quantiles for quantiles in found if quantiles is not None]
    if told:
        value, sem = lowest(told, seed)
        return Estimate(value, sem, n, "requests/s")
    if high in passed:  # in short, and failed in full: the edge itself
        low = middle = high
    return Estimate(middle, max(high - low, TOLERANCE * middle) / math.sqrt(12), n, "requests/s")


def _points(probes: Sequence[Probe], limit: Limit) -> list[ProbePoint]:
    """Return what every probe says of one limit."""
    metric, sense, bound = limit
    points = []
    for p in probes:
        point = ProbePoint(p.rate, p.seconds, p.passed, overloaded=p.overloaded)
        e = p.found.get(metric)
        if e is not None and e.sem is not None and e.value > 0 and bound > 0:
            excess = math.log(e.value / bound) * (1 if sense == "<=" else -1)
            point = replace(point, excess=excess, error=e.sem / e.value)
        points.append(point)
    return points


def _is_late(values: Callable[[RequestRecord], Sequence[float]], bound: float, record: RequestRecord) -> bool:
    return values(record)[0] > bound
