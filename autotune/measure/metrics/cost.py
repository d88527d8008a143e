"""Cost of a million output tokens, from the price of the machines and the throughput.

Formula: cost.per_million_tokens = price per hour / (3600 * output_throughput) * 10^6
Unit: the currency of the price, lower is better. The price is the study file's ``resources: {price: ...}``.
"""

from __future__ import annotations

from collections.abc import Mapping

from autotune.core.measurement import Estimate


def cost(price: float | None, metrics: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Return the metric by its name; empty without a price or a throughput.

    Args:
        price: Price of everything that the configuration occupies, per hour.
        metrics: Measured ones; the standard error follows from the throughput's (delta method).
    """
    throughput = metrics.get("output_throughput")
    if price is None or throughput is None or throughput.value <= 0:
        return {}
    value = price / (3600.0 * throughput.value) * 1e6
    sem = None if throughput.sem is None else value * throughput.sem / throughput.value
    return {"cost.per_million_tokens": Estimate(value, sem, throughput.n, "1")}
