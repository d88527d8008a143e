"""What a run measured, and why it must not be believed; the rules that hold for every run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from autotune.core.json_object import JsonObject
from autotune.core.measurement import Cause, Estimate
from autotune.core.request import RequestRecord

_ACCIDENT = 0.001  # an invalid run is repeated, so false alarms must be rare; needs 8 values to be reached
_MOST_PAIRS = 400  # values the drift test looks at: it compares all pairs


@dataclass(frozen=True)
class Finding:
    """One reason not to believe a measurement.

    Args:
        text: One line for a person.
        cause: Cause: whose fault it is, and so whether to measure again.
        by_queue: Whether a queue that grows explains it.
    """

    text: str
    cause: Cause = Cause.INVALID_MEASUREMENT
    by_queue: bool = False


@dataclass(frozen=True)
class Validity:
    """Reasons that make a measurement invalid; none for a valid one.

    Args:
        findings: The first says whose fault it is.
    """

    findings: tuple[Finding, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """One line each."""
        return tuple(finding.text for finding in self.findings)

    @property
    def reasons_excluding_overload(self) -> tuple[str, ...]:
        """Those that a growing queue does not explain."""
        return tuple(finding.text for finding in self.findings if not finding.by_queue)

    @property
    def cause(self) -> Cause:
        """Cause of the first reason."""
        return self.findings[0].cause if self.findings else Cause.INVALID_MEASUREMENT


@dataclass(frozen=True)
class Measured:
    """Result of a run.

    Args:
        metrics: Estimates by name; empty when nothing was answered.
        records: Records of the measured requests, in the order they ran; warm-up is not among them.
        facts: Counts, warm-up, why the run ended: plain JSON data.
        invalid: Reasons not to believe the metrics; empty for a valid measurement.
        cause: Cause of the first reason: who is to blame, and so whether to measure again.
    """

    metrics: Mapping[str, Estimate]
    records: list[RequestRecord]
    facts: JsonObject = field(default_factory=dict)
    invalid: tuple[str, ...] = ()
    cause: Cause = Cause.INVALID_MEASUREMENT


def errors(failed: Sequence[str | None], total: int, most: float) -> str:
    """Return a reason if too large a share of the requests failed.

    Args:
        failed: Error of each failed request; ``None`` where nothing came.
        total: Number of all requests.
        most: Share that may fail.
    """
    if len(failed) <= most * total:
        return ""
    first = next(filter(None, failed), "no output tokens")
    return f"{len(failed)} of {total} requests failed, at most {most:.1%} may; first: {first}"


def is_backwards(record: RequestRecord) -> bool:
    """Return whether the times of a request run backwards."""
    times = [record.send_ns, *(time for time, _ in record.arrivals), record.end_ns]
    return any(later < earlier for earlier, later in pairwise(times))


def trend(values: NDArray[np.float64], most: float) -> float | None:
    """Return by which share of its median a series changed from start to end (Theil-Sen).

    Args:
        values: Values in the order they were measured.
        most: Share that is allowed.

    Returns:
        ``None`` for a change that is allowed or, by a Mann-Kendall test, an accident.
    """
    if len(values) > _MOST_PAIRS:
        values = np.array([part.mean() for part in np.array_split(values, _MOST_PAIRS)])
    n = len(values)
    if n < 3:
        return None
    first, second = np.triu_indices(n, 1)
    steps = values[second] - values[first]
    change = float(np.median(steps / (second - first))) * (n - 1) / float(np.median(values))
    size = abs(float(np.sign(steps).sum()))
    # Kendall's normal approximation with continuity correction; two-sided.
    z = max(size - 1, 0) / math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    return change if abs(change) > most and math.erfc(z / math.sqrt(2)) < _ACCIDENT else None
