"""What the metrics are called, in which unit they are measured and which direction is better.

Only names, units and directions live here, so that a study file can be checked without loading what
measures them; the formulas are in :mod:`autotune.measure.metrics`. A name that is not in the table may
be that of a plug-in's metric, which says its own, or still be measured by a user's own function:
:func:`metric_info` says ``None`` and lets the caller decide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal

from autotune.core.registry import Registry, shown
from autotune.errors import EnvironmentProblem, SpecError, did_you_mean

_SLIP = 0.9  # likeness from which a name is a slip of the pen rather than a name of its own

Direction = Literal["minimize", "maximize"]

STATISTICS = ("mean", "p50", "p95", "p99")
"""Suffixes of a metric that has one value per request or per token."""


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """A metric: its name, unit and direction.

    Args:
        name: Name with its statistic where it has one: ``ttft.p99``.
        unit: Base unit of its values.
        direction: Better direction.
        description: One line for a person.
        statistics: Suffixes the metric can be asked with; empty when it is one number by itself.
        statistic: The suffix in ``name``; empty for the family and for metrics without statistics.
    """

    name: str
    unit: str
    direction: Direction
    description: str
    statistics: tuple[str, ...] = ()
    statistic: str = ""


METRICS: dict[str, MetricInfo] = {
    info.name: info
    for info in (
        MetricInfo("ttft", "s", "minimize", "time from sending a request to its first token", STATISTICS),
        MetricInfo("itl", "s", "minimize", "gap between consecutive output tokens", STATISTICS),
        MetricInfo("tpot", "s", "minimize", "time per output token after the first, per request", STATISTICS),
        MetricInfo("e2e", "s", "minimize", "time from sending a request to its end", STATISTICS),
        MetricInfo("output_throughput", "tokens/s", "maximize", "output tokens per second"),
        MetricInfo("total_throughput", "tokens/s", "maximize", "prompt and output tokens per second"),
        MetricInfo("request_throughput", "requests/s", "maximize", "completed requests per second"),
        MetricInfo("goodput", "requests/s", "maximize", "requests per second that were each fast enough"),
        MetricInfo("max_rate", "requests/s", "maximize", "highest rate of requests that keeps the limits"),
        MetricInfo("fluidity_index", "1", "maximize", "share of token deadlines that were met"),
        MetricInfo("prefill_throughput", "tokens/s", "maximize", "prompt tokens per second of prefill"),
        MetricInfo("decode_throughput", "tokens/s", "maximize", "tokens per second of one request's answer"),
        MetricInfo("error_rate", "1", "minimize", "share of the requests that failed"),
        MetricInfo("idealized_runtime", "s", "minimize", "mean e2e of a request that is alone"),
        MetricInfo("phase.queue", "s", "minimize", "mean time in the server's queue"),
        MetricInfo("phase.prefill", "s", "minimize", "mean time in prefill, as the server counts it"),
        MetricInfo("phase.decode", "s", "minimize", "mean time in decode, as the server counts it"),
        MetricInfo("cost.per_million_tokens", "1", "minimize", "price of a million output tokens"),
        MetricInfo("energy.per_token", "J", "minimize", "energy of the machine per output token"),
        MetricInfo("memory.peak", "B", "minimize", "highest memory use of all the system's processes"),
        MetricInfo("memory.gpu", "B", "minimize", "highest memory use of the GPUs"),
        MetricInfo("memory.weights", "B", "minimize", "memory that the model's weights take"),
        MetricInfo("acceptance_length", "1", "maximize", "tokens per step of the target model when drafting"),
        MetricInfo("acceptance_rate", "1", "maximize", "share of the drafted tokens that was accepted"),
        MetricInfo("quality.perplexity", "1", "minimize", "perplexity on a held-out text"),
        MetricInfo("quality.token_agreement", "1", "maximize", "agreement with the default's greedy answers"),
        MetricInfo("quality.exact_match", "1", "maximize", "share of tasks answered exactly"),
        MetricInfo("quality.score", "1", "maximize", "what the user's own scorer says of the answers"),
    )
}
"""Every metric of the package by its name without statistic."""


UNITS: dict[str, str] = {
    name: info.unit
    for info in METRICS.values()
    for name in ([f"{info.name}.{statistic}" for statistic in info.statistics] or [info.name])
}
"""Base unit of every name that :func:`known_metrics` returns."""


_NUMBERS = ("ratio", "share", "fraction", "percent", "percentage", "accuracy", "probability", "count")


def named_number(name: str) -> bool:
    """Return whether a metric of the user's own says by its last word that it has no unit (``hit_ratio``)."""
    return name not in UNITS and name.replace(".", "_").rpartition("_")[2].lower() in _NUMBERS


METRIC_PLUGINS = Registry("metric", "autotune.metrics", dict.fromkeys(METRICS, ""), method="estimates")
"""Metrics that other packages bring, by family; only those are imported whose names somebody uses."""


def plugin_metric(name: str) -> Any:
    """Return the plug-in's metric that yields ``name`` (``stall.p99``); ``None`` where none does.

    Raises:
        EnvironmentProblem: The plug-in is broken, or says of its metric what cannot be.
    """
    theirs = METRIC_PLUGINS.names()[len(METRICS) :]
    family = next((known for known in (name, name.rpartition(".")[0]) if known in theirs), None)
    if family is None:
        return None
    found = METRIC_PLUGINS.load(family)
    info = getattr(found, "info", None)
    if not isinstance(info, MetricInfo) or (info.name, info.statistic) != (family, ""):
        raise METRIC_PLUGINS.broken(family, f"must have the info of {family!r}, has {shown(info)}")
    return found


def _family(name: str) -> MetricInfo | None:
    """Return what is known of a family; of a plug-in's that is broken nothing is: ledgers stay readable."""
    try:
        found = None if name in METRICS else plugin_metric(name)
    except EnvironmentProblem:
        return None
    return METRICS.get(name) if found is None or found.info.name != name else found.info


def base_unit(name: str) -> str | None:
    """Return the unit that a metric is measured in (``ttft.p99``); ``None`` where nothing says one."""
    info = None if name in UNITS else metric_info(name)
    return UNITS.get(name) if info is None else info.unit


def known_metrics() -> list[str]:
    """Return every name that can be an objective's goal or limit, statistics included."""
    return list(UNITS)


def metric_info(name: str) -> MetricInfo | None:
    """Return what is known about the metric ``name`` (``ttft.p99``), or ``None`` for an unknown name."""
    info = _family(name)
    if info is not None:
        return info if not info.statistics else None
    family, _, statistic = name.rpartition(".")
    info = _family(family)
    if info is None or statistic not in info.statistics:
        return None
    return replace(info, name=name, statistic=statistic)


def check_metric(name: str) -> MetricInfo | None:
    """Return what is known about ``name``, refusing near misses of names that this package measures.

    Returns:
        ``None`` for a name that resembles nothing here: it may be a user's own metric.

    Raises:
        SpecError: The metric exists but not with this statistic (``ttft``, ``ttft.p98``).
        EnvironmentProblem: It is that of a plug-in that is broken.
    """
    plugin_metric(name)
    info = metric_info(name)
    if info is not None:
        return info
    family, _, statistic = name.rpartition(".")
    known = _family(name)
    if known is not None:
        allowed = [f"{name}.{suffix}" for suffix in known.statistics]
        raise SpecError(f"metric {name!r} needs a statistic; allowed: {', '.join(allowed)}")
    known = _family(family)
    if known is not None and known.statistics:
        allowed = [f"{family}.{suffix}" for suffix in known.statistics]
        raise SpecError(
            f"metric {family!r} has no statistic {statistic!r}; allowed: {', '.join(allowed)}",
            hint=did_you_mean(name, allowed),
        )
    if known is not None:
        raise SpecError(f"metric {family!r} is one number and has no statistics, found {name!r}")
    dotted = re.sub(r"[^\w.]", ".", name)
    if dotted != name and (metric_info(dotted) or dotted in METRICS):
        raise SpecError(f"unknown metric {name!r}", hint=f"did you mean {dotted!r}?")
    near = get_close_matches(name, known_metrics(), n=1, cutoff=_SLIP)
    if near:
        raise SpecError(f"unknown metric {name!r}", hint=f"did you mean {near[0]!r}?")
    space = name.partition(".")[0]
    ours = [known for known in METRICS if known.startswith(f"{space}.")]
    if ours:  # a name space of this package: nothing would ever measure it
        raise SpecError(f"unknown metric {name!r}; allowed: {', '.join(ours)}")
    return None
