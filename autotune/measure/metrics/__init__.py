"""Metrics that follow from the records of requests; one module per metric or per tight family.

Owns each metric's formula and unit. May import ``statistics`` and ``workload``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autotune.core.measurement import Estimate
from autotune.core.metric import METRIC_PLUGINS, plugin_metric
from autotune.core.registry import shown
from autotune.measure.metrics.base import Latency, Metric, Rate, Share
from autotune.measure.metrics.e2e import E2E
from autotune.measure.metrics.fluidity import fluidity
from autotune.measure.metrics.goodput import goodput
from autotune.measure.metrics.itl import ITL
from autotune.measure.metrics.phase_rates import DECODE_THROUGHPUT, PREFILL_THROUGHPUT
from autotune.measure.metrics.throughput import OUTPUT_THROUGHPUT, REQUEST_THROUGHPUT, TOTAL_THROUGHPUT
from autotune.measure.metrics.tpot import TPOT
from autotune.measure.metrics.ttft import TTFT
from autotune.measure.statistics.doubt import Halves
from autotune.measure.statistics.samples import Sample
from autotune.measure.workload import RequestLimits

MEASURED: tuple[Metric, ...] = (
    OUTPUT_THROUGHPUT,
    TOTAL_THROUGHPUT,
    REQUEST_THROUGHPUT,
    PREFILL_THROUGHPUT,
    DECODE_THROUGHPUT,
    TTFT,
    ITL,
    TPOT,
    E2E,
)
"""Metrics that need no limits of the workload."""

__all__ = [
    "MEASURED",
    "OUTPUT_THROUGHPUT",
    "Latency",
    "Metric",
    "Rate",
    "Share",
    "halves_of",
    "metric_of",
    "plugin_metrics",
    "stopping_estimate",
    "summarize",
]


@dataclass(frozen=True)
class _PlugIn:
    """A metric of a plug-in's; what it gives is looked at.

    Args:
        name: Name of the family.
        part: The metric itself.
    """

    name: str
    part: Metric

    def estimates(self, samples: Sequence[Sample], seed: int = 0) -> dict[str, Estimate]:
        """Return what the plug-in gives.

        Raises:
            EnvironmentProblem: It raised something, or gave what are no estimates of its own metric.
        """
        found = METRIC_PLUGINS.call(self.name, lambda: self.part.estimates(samples, seed))
        if not isinstance(found, dict) or not all(
            isinstance(estimate, Estimate) and (name == self.name or name.startswith(f"{self.name}."))
            for name, estimate in found.items()
        ):
            raise METRIC_PLUGINS.broken(
                self.name, f"gave {shown(found)} in place of estimates of {self.name!r}"
            )
        return found


def plugin_metrics(names: Iterable[str]) -> tuple[Metric, ...]:
    """Return the metrics of plug-ins that yield some of these names; no other plug-in is imported.

    Raises:
        EnvironmentProblem: One of these is broken.
    """
    parts = [part for part in map(plugin_metric, names) if part is not None]
    return tuple(_PlugIn(name, part) for name, part in {part.info.name: part for part in parts}.items())


def known(limits: RequestLimits | None = None, plugins: Sequence[Metric] = ()) -> tuple[Metric, ...]:
    """Return every metric that records tell, with those that need the workload's limits of a request."""
    limits = limits or RequestLimits()
    fluid = fluidity(limits)
    return (*MEASURED, goodput(limits), *(() if fluid is None else (fluid,)), *plugins)


def metric_of(
    name: str, limits: RequestLimits | None = None, plugins: Sequence[Metric] = ()
) -> Metric | None:
    """Return the metric that yields ``name`` (``ttft.p99``), or ``None`` if records do not tell it."""
    return next((m for m in known(limits, plugins) if name == m.name or name.startswith(f"{m.name}.")), None)


def stopping_estimate(
    goal: str,
    samples: Sequence[Sample],
    seed: int = 0,
    limits: RequestLimits | None = None,
    plugins: Sequence[Metric] = (),
) -> tuple[str, Estimate | None]:
    """Return the metric whose interval ends a run, and its estimate: the goal, or the output throughput.

    Args:
        goal: Metric that is optimized; the output throughput stands in for one that records do not tell.
        samples: Measured batches or windows in the order they ran.
        seed: Seed of the bootstrap.
        limits: Bounds that a request must keep to count for the goodput.
        plugins: Metrics of plug-ins that are measured too.
    """
    for name in (goal, OUTPUT_THROUGHPUT.name):
        metric = metric_of(name, limits, plugins)
        found = None if metric is None else metric.estimates(samples, seed).get(name)
        if found is not None:
            return name, found
    return OUTPUT_THROUGHPUT.name, None


def summarize(
    samples: Sequence[Sample],
    seed: int = 0,
    limits: RequestLimits | None = None,
    plugins: Sequence[Metric] = (),
) -> dict[str, Estimate]:
    """Return every metric that the records tell, by name.

    Args:
        samples: Measured batches or windows in the order they ran.
        seed: Seed of the bootstrap.
        limits: Limits that a request must keep to count for the goodput; by default the workload's.
        plugins: Metrics of plug-ins that are measured too.
    """
    every = known(limits, plugins)
    return {name: found for metric in every for name, found in metric.estimates(samples, seed).items()}


def halves_of(
    samples: Sequence[Sample], seed: int, limits: RequestLimits | None, plugins: Sequence[Metric] = ()
) -> Halves:
    """Return what each half of a run gave, for the metrics that both tell.

    Args:
        samples: Measured batches or windows in the order they ran.
        seed: Seed of the bootstrap.
        limits: Limits that a request must keep to count for the goodput.
        plugins: Metrics of plug-ins that are measured too.
    """
    middle = len(samples) // 2
    first, second = (summarize(part, seed, limits, plugins) for part in (samples[:middle], samples[middle:]))
    return {name: (found, second[name]) for name, found in first.items() if name in second}
