"""Failures of a study by cause and message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from autotune.core.measurement import Cause
from autotune.core.trial import Trial

_MOST_NAMED = 8  # messages


@dataclass(frozen=True)
class FailureGroup:
    """Trials that failed with one cause and one message.

    Args:
        cause: Cause of each failure.
        message: Message of each failure.
        trials: Their numbers, in order.
    """

    cause: Cause
    message: str
    trials: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of the trials."""
        return len(self.trials)

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data."""
        return {**asdict(self), "cause": self.cause.value, "trials": list(self.trials), "count": self.count}


def failure_groups(trials: Sequence[Trial]) -> list[FailureGroup]:
    """Return the failed trials by cause and message: frequent causes first, then frequent messages."""
    found: dict[tuple[Cause, str], list[int]] = {}
    for trial in trials:
        if trial.state.finished and trial.failure is not None:
            found.setdefault((trial.failure.cause, trial.failure.message), []).append(trial.number)
    causes = Counter({cause: 0 for cause, _ in found})
    for (cause, _), numbers in found.items():
        causes[cause] += len(numbers)
    order = [cause for cause, _ in causes.most_common()]
    groups = [FailureGroup(*key, tuple(numbers)) for key, numbers in found.items()]
    return sorted(groups, key=lambda group: (order.index(group.cause), -group.count))


def failure_counts(trials: Sequence[Trial]) -> dict[str, int]:
    """Return the count of failed trials by cause, the most frequent first."""
    causes = Counter(t.failure.cause.value for t in trials if t.state.finished and t.failure is not None)
    return dict(causes.most_common())


def failure_lines(trials: Sequence[Trial]) -> list[str]:
    """Return how many trials failed by cause, then each distinct message with its count; a line each."""
    failures = failure_counts(trials)
    if not failures:
        return []
    shown = ", ".join(f"{count} {cause.replace('_', ' ')}" for cause, count in failures.items())
    groups = [group for group in failure_groups(trials) if group.message]
    lines = [f"failed: {shown}"]
    for group in groups[:_MOST_NAMED]:
        cause, message = group.cause.value.replace("_", " "), " ".join(group.message.split())
        lines.append(f"{group.count} x {cause}: {message}")
    if len(groups) > _MOST_NAMED:
        lines.append(f"and {len(groups) - _MOST_NAMED} other messages")
    return lines
