"""What a model says of a study: how much is left to gain, and how well it explains what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

STOP_WHEN = ("budget", "converged")
"""When a study may end: at the end of its budget, or earlier, once nothing worth a trial is left."""


@dataclass(frozen=True)
class Assessment:
    """Assessment of a search: bound on the simple regret, and whether to search on.

    Percentages are of the goal of the best configuration found: what its value may still rise (maximize) or
    fall (minimize) by; with several goals, of the hypervolume that the best configurations dominate. They
    are ``None`` where nothing feasible was measured, or too little.

    Args:
        bound: Upper bound of what is left, kept with a probability of 90 %.
        median: Median of what is left.
        improvement: Expected gain of one more trial, noise taken into account.
        noise: Standard deviation of one measurement.
        converged: Whether the bound on simple regret and the expected improvement of one more trial are below
            their thresholds.
        reason: The same in words.
    """

    bound: float | None = None
    median: float | None = None
    improvement: float | None = None
    noise: float | None = None
    converged: bool = False
    reason: str = ""

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data."""
        return asdict(self)


@dataclass(frozen=True)
class ModelQuality:
    """Leave-one-out quality of the model of one metric.

    Args:
        metric: Metric that is modelled.
        r2: Share of the variance that is explained; 1 is all of it, below 0 worse than the mean.
        coverage: Share of the values inside their predicted 90 % intervals.
        log_density: Mean logarithm of the predicted density, of standardized values.
        n: Trials.
    """

    metric: str
    r2: float
    coverage: float
    log_density: float
    n: int

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data."""
        return asdict(self)


def describe(qualities: Mapping[str, ModelQuality]) -> str:
    """Return in one line such as ``explains 87 % of throughput (leave-one-out), 92 % of values ...``."""
    parts = []
    for quality in qualities.values():
        share = f"explains {100 * quality.r2:.0f} % of" if quality.r2 > 0 else "does not explain"
        parts.append(
            f"{share} {quality.metric} (leave-one-out), "
            f"{100 * quality.coverage:.0f} % of values inside their 90 % interval"
        )
    return "; ".join(parts)
