"""Which valid measurements are not to be relied on by themselves, and why.

* Precision: the half-width of the goal's 95 % interval is more than ``SEVERAL`` times what was asked for. It
  falls with the square root of the time, so that three times too wide means a ninth of the time that would
  have been needed: not a little short, but another kind of noise than the workload was planned for. Of the
  tables in ``benchmarks/tables``, at 5 %, 4, 14 and 18 % of the measurements are beyond it on OpenVINO,
  llama.cpp and transformers, and 77 % on vLLM on two CPUs that others used.
* Steadiness: warm-up ended by its limit, and the two halves of what was measured differ by more than their
  errors and by more than the precision asked for. A slow configuration has too few batches of warm-up to show
  that it is steady; one whose halves agree is.

* Memory: in an open loop the run spans fewer relaxation times of its queue than tell a stationary queue from
  one that grows (:mod:`.queue_memory`), and a goal or a limit is on a latency whose half-width is more than
  ``USUAL``. Of such intervals fewer hold the truth than say so, however wide they are.

Where warm-up never became steady the errors are widened by what the halves say: with :math:`d` their
difference the standard error is at least :math:`|d| / 2`. The difference of two independent halves of one
mean has a standard deviation of twice the standard error of the whole, so that little is widened by chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from autotune.core.json_object import JsonObject
from autotune.core.measurement import DOUBT, SHORTFALL, Estimate
from autotune.core.quantiles import NORMAL
from autotune.measure.statistics.queue_memory import LEAST_RELAXATIONS
from autotune.measure.statistics.stopping import half_width

SEVERAL = 3.0
"""Half-widths in units of the precision asked for, from which a measurement is doubtful."""

USUAL = 0.05
"""Half-width up to which nothing is doubtful, whatever was asked for: launches differ by as much anyway."""

_WAITED = ("ttft.", "e2e.")  # metrics in which the time in a queue is
_BUSY_SHARE = 0.25  # of the CPUs: from here on other programs may well be the reason


Halves = Mapping[str, tuple[Estimate, Estimate]]
"""By metric what the first and the second half of a run gave."""


def widened(metrics: Mapping[str, Estimate], halves: Halves) -> dict[str, Estimate]:
    """Return metrics of a run that never became steady: errors are at least half of what its halves differ.

    Args:
        metrics: Metrics of the whole run.
        halves: Halves of the same run.
    """
    result = dict(metrics)
    for name, (first, second) in halves.items():
        found = metrics[name]
        if found.sem is not None:
            result[name] = replace(found, sem=max(found.sem, abs(second.value - first.value) / 2))
    return result


def halves_differ(halves: Halves, metric: str, precision: float) -> bool:
    """Return whether the halves of a run differ by more than by chance, and by more than is of no matter.

    Args:
        halves: Halves of the run.
        metric: Metric to compare.
        precision: Relative precision asked for: the whole run is off by half of the difference.
    """
    if metric not in halves:
        return False
    first, second = halves[metric]
    apart, middle = abs(second.value - first.value), abs(first.value + second.value) / 2
    return apart > NORMAL * math.hypot(first.sem or 0.0, second.sem or 0.0) and apart / 2 > precision * middle


def judged(
    facts: JsonObject,
    metrics: Mapping[str, Estimate],
    goal: str,
    precision: float,
    also: Sequence[str] = (),
) -> dict[str, str]:
    """Return the facts :data:`DOUBT` and :data:`SHORTFALL` of a valid measurement; none for a good one.

    Args:
        facts: Facts of the measurement. One that was overloaded says so with certainty: its queue grew.
        metrics: Measured metrics.
        goal: Metric that is optimized.
        precision: Half-width asked for, relative.
        also: Further metrics of the objective, those that are limited among them.
    """
    own = half_width(metrics.get(goal))
    reached = own if math.isfinite(own) else half_width(metrics.get(str(facts.get("precision_of"))))
    if "overload" in facts and (math.isinf(own) or goal != "max_rate"):
        return {}
    short = []
    if math.isfinite(reached) and reached > precision:
        short.append(f"half-width {_percent(reached)} where {_percent(precision)} was asked")
    unsteady = bool(facts.get("halves_differ"))
    if unsteady:
        short.append(f"not steady after {float(facts.get('warmup_seconds') or 0.0):.0f} s of warm-up")
    if remembered := _beyond_memory(facts, metrics, (goal, *also)):
        short.append(remembered)
    if not short:
        return {}
    text = "; ".join(short)
    within = math.isinf(reached) or reached <= max(SEVERAL * precision, USUAL)
    if within and not unsteady and not remembered:
        return {SHORTFALL: text}
    cores = dict(facts.get("machine") or {}).get("cores") or {}
    share = cores["others"] / cores["cpus"] if cores else 0.0
    if share >= _BUSY_SHARE:
        text += f"; other programs took {_percent(share)} of the CPUs"
    return {SHORTFALL: text, DOUBT: text}


def _beyond_memory(facts: JsonObject, metrics: Mapping[str, Estimate], names: Sequence[str]) -> str:
    """Return a reason if latencies rest on a run that is short beside what its queue remembers.

    Args:
        facts: Facts of the measurement.
        metrics: Measured metrics.
        names: Metrics of the objective.
    """
    spans = facts.get("relaxations")
    if spans is None or spans >= LEAST_RELAXATIONS:
        return ""
    for name in names:
        if name.startswith(_WAITED) and USUAL < half_width(metrics.get(name)) < math.inf:
            seconds = float(facts.get("seconds") or 0.0)
            text = f"{seconds:.0f} s are too short for {name}: the queue still remembers how the run began"
            return f"{text}{_enough(facts, seconds, spans)}"
    return ""


def _enough(facts: JsonObject, seconds: float, spans: float) -> str:
    """Return what ended a run that was too short for its queue, and what would be long enough.

    Args:
        facts: Facts of the measurement.
        seconds: Length of the run.
        spans: Relaxation times of the queue that it spans.
    """
    ended = str(facts.get("stopped_by") or "")
    if spans <= 0 or seconds <= 0:
        return f", `workload.{ended}` ended the run: raise it" if ended in ("requests", "time") else ""
    times = LEAST_RELAXATIONS / spans
    enough = f"about {_upwards(times * seconds)} s would do"
    if ended == "requests":
        count = _upwards(times * float(facts.get("requests") or 0))
        both = f"raise it to {count} and `workload.time` to at least that"
        return f", {enough}: `workload.requests` ended the run, {both}"
    if ended == "precision":
        return f", {enough}: `workload.precision` ended the run, ask for a smaller one"
    return f", {enough}: raise `workload.time`"


def _upwards(value: float) -> int:
    """Return a number rounded up to two digits."""
    unit = int(10 ** max(0, math.floor(math.log10(max(value, 1.0))) - 1))
    return math.ceil(value / unit) * unit


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 or not math.isfinite(share) else f"{100 * share:.0f} %"
