"""The distribution of latencies of a configuration, from what its launches keep of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from autotune.analysis.study_view import StudyView
from autotune.core.ranking import Contender
from autotune.core.trial import Trial, config_key

FAMILIES = ("ttft", "tpot", "itl", "e2e")
"""Latencies that have a distribution."""

_RANK = re.compile(r"p(\d+)")
_LEAST = 2  # quantiles that make a line


@dataclass(frozen=True)
class Distribution:
    """Quantiles of a latency of one configuration.

    Args:
        metric: Family of the metric, such as ``ttft``.
        side: ``recommended`` (``nearest`` where nothing is) or ``default``.
        trial: Trial that stands for the configuration.
        levels: Probabilities, rising.
        seconds: Quantiles at these, the median of its launches.
        launches: Number of launches behind them.
    """

    metric: str
    side: str
    trial: int
    levels: tuple[float, ...]
    seconds: tuple[float, ...]
    launches: int


def latency_distributions(view: StudyView) -> list[Distribution]:
    """Return the latencies of the recommended and of the default configuration.

    Measurements of earlier versions keep only the percentiles among their metrics.
    """
    best, default = view.best, view.default
    sides: list[tuple[str, Contender]] = [] if best is None else [(view.best_role, best)]
    if default is not None and (best is None or best.trial.key != config_key(view.default_config)):
        sides.append(("default", default))
    result = []
    for metric in FAMILIES:
        for name, side in sides:
            found = [q for trial in side.counted if len(q := quantiles(trial, metric)) >= _LEAST]
            if not found:
                continue
            levels = sorted(set.intersection(*(set(q) for q in found)))
            if len(levels) < _LEAST:
                continue
            middle = np.median([[q[level] for level in levels] for q in found], axis=0)
            seconds = tuple(float(v) for v in np.maximum.accumulate(middle))
            result.append(Distribution(metric, name, side.trial.number, tuple(levels), seconds, len(found)))
    return result


def quantiles(trial: Trial, metric: str) -> dict[float, float]:
    """Return what a trial keeps of a latency's distribution: seconds by probability."""
    facts = {} if trial.measurement is None else dict(trial.measurement.facts.get("measured") or {})
    kept = facts.get("latency_quantiles") or {}
    if metric in kept:
        return {float(p): float(q) for p, q in zip(kept["levels"], kept[metric], strict=True)}
    found = {}
    for name, estimate in trial.metrics.items():
        family, _, statistic = name.rpartition(".")
        rank = _RANK.fullmatch(statistic)
        if family == metric and rank is not None:
            found[int(rank[1]) / 10 ** max(2, len(rank[1]))] = estimate.value
    return dict(sorted(found.items()))
